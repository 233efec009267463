"""What a node's kernel does with a destination, read back in each mode: `READERS` has one for each.

This is for people who look at one Service, so it asks the modes' own tools and shows what they say, counters included.
"""

import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing

from sampan.kernel import commands
from sampan.kernel.nft import Nft
from sampan.proxy.backends import keys
from sampan.proxy.backends.iptables import names
from sampan.proxy.backends.nftables import chains, layout
from sampan.proxy.backends.userspace import rules as userspace
from sampan.proxy.backends.userspace.text import TABLE as USERSPACE_TABLE
from sampan.proxy.explain.facts import DROPPED, ENDPOINTS, MISSING, REFUSED, Destination, Rule
from sampan.proxy.explain.ipvs import read_ipvs

Reader = Callable[[Destination, bool], Awaitable[Rule]]

_ELEMENT = re.compile(r"elements = \{ (.*?) \}", re.DOTALL)


async def read_nftables(destination: Destination, outside: bool) -> Rule:
    """From verdict maps, and the map of endpoints that the verdict leads to."""
    looked = (layout.EXTERNAL_SERVICES, layout.LOCAL_SERVICES, layout.SERVICES, layout.CONNECTIONS, layout.TRAFFIC)
    found = {name: await _nft_element(layout.TABLE, name, destination) for name in looked}
    lines = tuple(f"{name}: {text}" for name, text in found.items() if text)
    local = outside and found[layout.EXTERNAL_SERVICES].endswith(layout.LOCAL)
    text = found[layout.LOCAL_SERVICES if local else layout.SERVICES]
    chain = text.rpartition(" ")[2]
    if not text:
        return Rule(destination=destination, outcome=DROPPED if local else MISSING, lines=lines)
    if chain in (layout.REFUSE, layout.DISCARD):
        return Rule(destination=destination, outcome=REFUSED if chain == layout.REFUSE else DROPPED, lines=lines)
    spread = chains.parse(chain)
    targets = _nft_targets(destination, spread.endpoints, spread.local) if spread else None
    return Rule(destination=destination, outcome=ENDPOINTS, targets=targets, lines=lines)


def _nft_targets(destination: Destination, count: int, local: bool) -> tuple[str, ...]:
    key = keys.service_key(destination.ip, destination.protocol, destination.port)
    family = 6 if ":" in destination.ip else 4
    with closing(Nft()) as nft:
        found = [
            layout.slot_text(data).replace(" . ", ":")
            for at, data in nft.elements(family, layout.TABLE, layout.endpoint_map(count))
            if at.startswith(key) and (int.from_bytes(at[len(key) :], sys.byteorder) >= layout.LOCAL_OFFSET) == local
        ]
    return tuple(sorted(found))


async def _nft_element(table: str, name: str, destination: Destination) -> str:
    """An element as nft prints it; empty if there is none."""
    ip = "ip6" if ":" in destination.ip else "ip"
    key = f"{destination.ip} . {destination.protocol.lower()} . {destination.port}"
    ended = await commands.run(["nft", "get", "element", ip, table, name, f"{{ {key} }}"])
    match = _ELEMENT.search(ended.output.decode(errors="replace"))
    return " ".join(match[1].split()) if match and not ended.status else ""


async def read_userspace(destination: Destination, outside: bool) -> Rule:
    """From the maps; which endpoints a listener has only its process knows."""
    found = {
        name: await _nft_element(USERSPACE_TABLE, name, destination)
        for name in (userspace.VERDICTS, userspace.OUTSIDE_VERDICTS, userspace.OUTSIDE_LISTENERS, userspace.LISTENERS)
    }
    lines = tuple(f"{name}: {text}" for name, text in found.items() if text)
    order = list(found) if outside else [userspace.VERDICTS, userspace.LISTENERS]
    first = next((found[name] for name in order if found[name]), "")
    if first.endswith((userspace.REFUSE, userspace.DISCARD)):
        outcome = REFUSED if first.endswith(userspace.REFUSE) else DROPPED
        return Rule(destination=destination, outcome=outcome, lines=lines)
    if not first:
        return Rule(destination=destination, lines=lines)
    return Rule(destination=destination, outcome=ENDPOINTS, targets=None, lines=lines)


async def read_iptables(destination: Destination, outside: bool) -> Rule:
    """From `iptables-save -c`, chain by chain."""
    command = "ip6tables-save" if ":" in destination.ip else "iptables-save"
    saved = (await commands.run([command, "-c"])).output.decode(errors="replace").splitlines()
    return iptables_rule(saved, destination, outside)


def iptables_rule(saved: Sequence[str], destination: Destination, outside: bool) -> Rule:
    """What the saved rules do with a destination."""
    entry = [line for line in saved if _leads_to(line, destination)]
    refusals = [line for line in entry if " -j REJECT" in line or " -j DROP" in line]
    if refusals:
        outcome = REFUSED if " -j REJECT" in refusals[0] else DROPPED
        return Rule(destination=destination, outcome=outcome, lines=tuple(refusals))
    first = [line.rpartition(" -j ")[2].split()[0] for line in entry if names.MARK_MASQ not in line]
    lines, targets = list(entry), list[str]()
    for chain in first[:1]:
        more, targets = _follow(saved, chain, outside, depth=4)
        lines += more
    outcome = ENDPOINTS if targets else MISSING
    return Rule(destination=destination, outcome=outcome, targets=tuple(sorted(set(targets))), lines=tuple(lines))


def _leads_to(line: str, destination: Destination) -> bool:
    words = f"{line} "
    port = f"--dport {destination.port} "
    if f"-p {destination.protocol.lower()} " not in words or port not in words:
        return False
    in_chain = words.split(" -A ")[-1].split()[0]
    if in_chain == names.NODE_PORTS or "--dst-type LOCAL" in words:
        return " -d " not in words
    return f"-d {destination.ip}/" in words


def _follow(saved: Sequence[str], chain: str, outside: bool, depth: int) -> tuple[list[str], list[str]]:
    """The rules of a chain and of those below, and where they end. From outside, SVL chains go first."""
    rules = [line for line in saved if f" -A {chain} " in line or line.startswith(f"-A {chain} ")]
    lines, targets = list(rules), list[str]()
    onward = [(rule, rule.rpartition(" -j ")[2].split()[0]) for rule in rules if " -j " in rule]
    local = [target for _, target in onward if target.startswith("KUBE-SVL-")]
    for rule, target in onward:
        if "--to-destination " in rule:
            targets.append(rule.rpartition("--to-destination ")[2].split()[0])
        elif target.startswith("KUBE-") and target != names.MARK_MASQ and depth:
            if outside and local and target not in local:
                continue
            more, found = _follow(saved, target, outside, depth - 1)
            lines += more
            targets += found
    return lines, targets


READERS: dict[str, Reader] = {
    "nftables": read_nftables,
    "iptables": read_iptables,
    "ipvs": read_ipvs,
    "userspace": read_userspace,
}
