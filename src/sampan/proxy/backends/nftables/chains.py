"""The chains and maps that spread connections over endpoints, made when the first Service needs them.

`pick-3` serves every Service with three endpoints: these are in the map `endpoints-3` under the Service's key and an
index, and the index is a random number. `sticky-3` looks first for what is remembered of the client. Both forms exist
with the prefix `local-` for the endpoints of the Local policy. `remember-10800` notes, when the packet leaves, which
endpoint its client got, and for how many seconds that holds. A name says everything: the rules follow from it.

A map for each number, because the kernel walks a whole map when another chain begins to use it and checks each new
element against every user of its map: with one map for all, that is 100 ms for a first Service with 51 endpoints.
"""

import re
from typing import NamedTuple

from sampan.kernel import nftexpressions as nft
from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import layout

_SPREAD = re.compile(r"(local-)?(pick|sticky)-(\d+)")
_REMEMBER = re.compile(rf"{layout.REMEMBER}-(\d+)")

Rule = list[bytes]

_NETWORK, _TRANSPORT = 1, 2
_SADDR_OFFSET = {4: 12, 6: 8}
_DADDR_OFFSET = {4: 16, 6: 24}


class Spread(NamedTuple):
    """What a spreading chain's name says."""

    endpoints: int
    sticky: bool = False
    local: bool = False

    @property
    def chain(self) -> str:
        return f"{'local-' if self.local else ''}{'sticky' if self.sticky else 'pick'}-{self.endpoints}"


def parse(name: str) -> Spread | None:
    """A spreading chain's name taken apart; None for any other chain."""
    match = _SPREAD.fullmatch(name)
    return Spread(int(match[3]), match[2] == "sticky", bool(match[1])) if match else None


def remember_chain(seconds: int) -> str:
    return f"{layout.REMEMBER}-{seconds}"


def remembered_seconds(name: str) -> int:
    """How long a remembering chain makes a choice hold; 0 for any other chain."""
    match = _REMEMBER.fullmatch(name)
    return int(match[1]) if match else 0


def is_made_on_demand(name: str) -> bool:
    return parse(name) is not None or remembered_seconds(name) > 0


def rules(name: str, family: int) -> list[Rule]:
    """The rules of a chain made on demand, as netlink expressions. A packet that finds no entry passes through."""
    spread = parse(name)
    if spread is None:
        return [_remember(remembered_seconds(name), family)]
    return [*([_follow(family)] if spread.sticky else []), _pick(spread, family)]


def dispatch_remembering(family: int) -> Rule:
    """The rule by which a packet of a Service with affinity finds its remembering chain."""
    return [
        *nft.original_service(nft.FIRST_REGISTER, family),
        nft.verdict_lookup(layout.STICKY_SERVICES, nft.FIRST_REGISTER),
    ]


def counting(family: int) -> Rule:
    """The rule that counts a packet of a connection to a Service."""
    return [
        *nft.original_service(nft.FIRST_REGISTER, family),
        nft.set_lookup(layout.TRAFFIC, nft.FIRST_REGISTER),
    ]


def rules_text(name: str, family: int) -> list[str]:
    """The same rules in nft's language. (nft 1.0 prints but does not read the remembering one: a comment there.)"""
    ip = "ip" if family == 4 else "ip6"
    key = f"{ip} daddr . meta l4proto . th dport"
    spread = parse(name)
    if spread is None:
        client = f"{ip} saddr . ct original {ip} daddr . meta l4proto . ct original proto-dst"
        timeout = f"timeout {remembered_seconds(name)}s"
        return [f"# update @{layout.AFFINITY} {{ {client} {timeout} : {ip} daddr . th dport }}"]
    offset = f" offset {layout.LOCAL_OFFSET}" if spread.local else ""
    number = f"numgen random mod {spread.endpoints}{offset}"
    pick = f"dnat {ip} addr . port to {key} . {number} map @{layout.endpoint_map(spread.endpoints)}"
    follow = f"dnat {ip} addr . port to {ip} saddr . {key} map @{layout.AFFINITY}"
    return [follow, pick] if spread.sticky else [pick]


def _pick(spread: Spread, family: int) -> Rule:
    """Send to a random endpoint."""
    words = keys.ADDRESS_BYTES[family] // 4
    first = nft.FIRST_REGISTER
    return [
        *_load_service_key(family, first),
        nft.numgen_random(first + words + 2, spread.endpoints, _offset(spread)),
        nft.map_lookup(layout.endpoint_map(spread.endpoints), first, first),
        nft.dnat(family, first, first + words),
    ]


def _remember(seconds: int, family: int) -> Rule:
    """Note where the client was sent; for one that is known already only the time starts again."""
    size = keys.ADDRESS_BYTES[family]
    words = size // 4
    first = nft.FIRST_REGISTER
    chosen = first + 2 * words + 2
    return [
        _load_source(family, first),
        *nft.original_service(first + words, family),
        nft.payload(chosen, _NETWORK, _DADDR_OFFSET[family], size),
        nft.payload(chosen + words, _TRANSPORT, 2, 2),
        nft.dynset_update(layout.AFFINITY, first, chosen, seconds),
    ]


def _follow(family: int) -> Rule:
    """Send to the endpoint that is remembered for this client."""
    words = keys.ADDRESS_BYTES[family] // 4
    first = nft.FIRST_REGISTER
    return [
        _load_source(family, first),
        *_load_service_key(family, first + words),
        nft.map_lookup(layout.AFFINITY, first, first),
        nft.dnat(family, first, first + words),
    ]


def _load_source(family: int, register: int) -> bytes:
    return nft.payload(register, _NETWORK, _SADDR_OFFSET[family], keys.ADDRESS_BYTES[family])


def _load_service_key(family: int, register: int) -> list[bytes]:
    words = keys.ADDRESS_BYTES[family] // 4
    return [
        nft.payload(register, _NETWORK, _DADDR_OFFSET[family], keys.ADDRESS_BYTES[family]),
        nft.meta_l4proto(register + words),
        nft.payload(register + words + 1, _TRANSPORT, 2, 2),
    ]


def _offset(spread: Spread) -> int:
    return layout.LOCAL_OFFSET if spread.local else 0
