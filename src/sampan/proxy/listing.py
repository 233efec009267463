"""What of each mode is in the kernel, line by line, as the mode's own tools tell it: for comparing, never for syncing.

Lines are made comparable between two kernels: elements of sets are sorted, one to a line; counters, remembered clients
and the ports of userspace listeners, which differ from one run to the next, are left out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from sampan.kernel import commands

Command = tuple[str, ...]


class Listing(NamedTuple):
    """How to list a mode: commands, in which {ip} and {iptables} stand for the family's, and how to read the output."""

    commands: tuple[Command, ...]
    read: Callable[[str], Iterable[str]]


_COUNTER = re.compile(r" ?counter packets \d+ bytes \d+| packets \d+ bytes \d+")
_ELEMENTS = re.compile(r"elements = \{(.*?)\}", re.DOTALL)
_SET = re.compile(r"\t(?:set|map) (\S+) \{.*?^\t\}\n", re.DOTALL | re.MULTILINE)
_LISTENER_PORT = re.compile(r"( : \S+|^listener-ports: \S+) \. \d+$")
_SET_STORAGE = re.compile(r" (?:hashsize|bucketsize|initval) \S+")
_DYNAMIC = "flags dynamic"


def read_nft(text: str) -> Iterator[str]:
    """`nft list table` with one element to a line, in order, under the name of its set."""
    text = _COUNTER.sub("", text)
    for found in _SET.finditer(text):
        name, body = found[1], found[0]
        elements = _ELEMENTS.search(body)
        if elements and _DYNAMIC not in body:
            yield from sorted(f"{name}: {' '.join(each.split())}" for each in elements[1].split(","))
    for line in _SET.sub("", text).splitlines():
        if line.strip() not in ("", "}"):
            yield line.expandtabs(4)


def read_userspace(text: str) -> Iterator[str]:
    """As read_nft; a listener is the same whatever its port."""
    for line in read_nft(text):
        yield _LISTENER_PORT.sub(r"\1 . listener", line)


def read_iptables(text: str) -> Iterator[str]:
    """The rules of `iptables-save` that are in, or lead to, our chains: chain by chain, each in its order."""
    table = ""
    chains: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":KUBE-"):
            chains.setdefault((table, line.split()[0][1:]), [])
        elif line.startswith("-A") and "KUBE-" in line:
            chains.setdefault((table, line.split()[1]), []).append(line)
    for (table, chain), rules in sorted(chains.items()):
        yield f"{table} {chain}"
        yield from rules


def read_sorted(text: str) -> Iterator[str]:
    """Lines in order; how the kernel stores a set depends on what was in it before, and is left out."""
    text = _SET_STORAGE.sub("", text)
    yield from sorted(line.strip() for line in text.splitlines() if line.strip())


LISTINGS: dict[str, tuple[Listing, ...]] = {
    "nftables": (Listing((("nft", "list", "table", "{ip}", "sampan-proxy"),), read_nft),),
    "iptables": (
        Listing((("{iptables}-save",),), read_iptables),
        Listing((("nft", "list", "table", "{ip}", "sampan-accounting"),), read_nft),
    ),
    "ipvs": (
        Listing((("{iptables}-save",),), read_iptables),
        Listing(
            (("ipvsadm", "-Sn"), ("ipset", "save"), ("ip", "-o", "addr", "show", "dev", "kube-ipvs0")), read_sorted
        ),
    ),
    "userspace": (Listing((("nft", "list", "table", "{ip}", "sampan-proxy-userspace"),), read_userspace),),
}
"""By mode. A mode whose tool is not installed, or has nothing, lists nothing."""


async def listing(mode: str, family: int, *, beside: str = "") -> list[str]:
    """What is in the network namespace of the calling thread; without what the mode `beside` would list, too."""
    known = {command for each in LISTINGS.get(beside, ()) for command in each.commands}
    words = {"ip": "ip", "iptables": "iptables"} if family == 4 else {"ip": "ip6", "iptables": "ip6tables"}
    lines: list[str] = []
    for each in LISTINGS.get(mode, ()):
        for command in (command for command in each.commands if command not in known):
            lines += each.read(await _output([word.format(**words) for word in command]))
    return lines


async def _output(command: Sequence[str]) -> str:
    """What a command prints; nothing if it fails or is not there."""
    try:
        ended = await commands.run(command)
    except FileNotFoundError:
        return ""
    return "" if ended.status else ended.output.decode(errors="replace")
