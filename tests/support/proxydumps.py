"""What a proxy mode has in the kernel, in a form that is equal if and only if the rules mean the same.

Order that means nothing (elements of a set, chains of a table) is sorted away; what a mode keeps for later (empty maps,
chains that nothing goes to) and what packets wrote is left out.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from sampan.proxy.listing import listing

Dump = dict[str, list[str]]

_BLOCK = re.compile(r"\t(map|set|chain) (\S+) \{\n(.*?)\n\t\}", re.DOTALL)
_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)
_COUNTER = re.compile(r" counter packets \d+ bytes \d+")
_WRITTEN_BY_PACKETS = "affinity-"


async def nftables() -> Dump:
    """Sets' elements, and the rules of the chains that some element or rule goes to."""
    text = await _output("nft list table ip sampan-proxy")
    found: Dump = {}
    chains: Dump = {}
    for kind, name, body in _BLOCK.findall(text):
        if kind == "chain":
            chains[name] = [line.strip() for line in body.splitlines()]
        elif not name.startswith(_WRITTEN_BY_PACKETS) and (elements := _ELEMENTS.search(body)):
            found[name] = sorted(_COUNTER.sub("", each).strip() for each in elements[1].split(","))
    mentioned = " ".join(line for lines in (*found.values(), *chains.values()) for line in lines)
    used = set(re.findall(r"(?:jump|goto) (\S+)", mentioned))
    return found | {name: lines for name, lines in chains.items() if name in used or "hook" in lines[0]}


async def iptables() -> Dump:
    """Every chain's rules, in their order."""
    found: Dump = {}
    for table in ("filter", "nat"):
        for line in (await _output(f"iptables-save -t {table}")).splitlines():
            if line[:1] in (":", "-"):
                chain = line.split()[0][1:] if line[0] == ":" else line.split()[1]
                found.setdefault(f"{table} {chain}", []).extend([line] if line[0] == "-" else [])
    return found


async def userspace() -> Dump:
    """The redirections to listeners, whose own ports differ from process to process."""
    return {"all": await listing("userspace", 4)}


async def ipvs() -> Dump:
    """Fixed rules, virtual servers, members of sets and addresses."""
    return {"all": await listing("ipvs", 4)}


DUMPS: dict[str, Callable[[], Awaitable[Dump]]] = {
    "nftables": nftables,
    "iptables": iptables,
    "ipvs": ipvs,
    "userspace": userspace,
}
"""By mode."""


async def _output(command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command.split(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode()
