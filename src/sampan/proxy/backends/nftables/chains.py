"""Chains and maps that distribute connections over endpoints (DNAT), created when the first Service needs them.

`pick-3` serves every Service with three endpoints: these are in the map `endpoints-3` under the Service's key and an
index, and the index is a random number. `sticky-3-ID` serves one service port with ClientIP affinity: `affinity-ID`
remembers a number for each client, and `slots-ID` has the endpoint with that number; where there is none, the client is
forgotten and goes to `pick-3`. Both forms exist with the prefix `local-` for the endpoints of the Local policy.
`remember-10800-ID` notes, when the packet leaves, which endpoint its client got, and for how many seconds that holds.
The rules of a chain follow from its name alone.

The number is passed from one rule to the next in `meta priority`, only of a connection's first packet, and is reset
when the packet leaves: nft 1.0 cannot list a rule that looks up the result of one map in another.

The entry of a client whose endpoint is gone is deleted by its next packet, so that a change of endpoints is one
transaction however many clients are remembered. Each Service has its own map, whose size limit is its own.

There is one map for each number of endpoints, because the kernel walks a whole map when another chain starts to use it,
and checks each new element against every chain that uses the map: with one map for all, that takes 100 ms for the first
Service with 51 endpoints.
"""

import hashlib
import re
from typing import NamedTuple

from sampan.kernel import nftexpressions as nft
from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import layout
from sampan.proxy.state import ServicePortName

_SERVICE = r"(?:tcp|udp|sctp)-[0-9a-f]+"
_SPREAD = re.compile(rf"(local-)?(?:pick-(\d+)|sticky-(\d+)-({_SERVICE}))")
_REMEMBER = re.compile(rf"{layout.REMEMBER}-(\d+)-({_SERVICE})")

Rule = list[bytes]

_NETWORK, _TRANSPORT = 1, 2
_SADDR_OFFSET = {4: 12, 6: 8}
_DADDR_OFFSET = {4: 16, 6: 24}


class Spread(NamedTuple):
    """A chain that distributes connections, from its name. `service` is the id of a service port with affinity."""

    endpoints: int
    service: str = ""
    local: bool = False

    @property
    def chain(self) -> str:
        prefix = "local-" if self.local else ""
        return f"{prefix}sticky-{self.endpoints}-{self.service}" if self.service else f"{prefix}pick-{self.endpoints}"


class Remember(NamedTuple):
    """A chain that remembers clients, from its name: for how many seconds, and of which service port."""

    seconds: int
    service: str

    @property
    def chain(self) -> str:
        return f"{layout.REMEMBER}-{self.seconds}-{self.service}"


def service_id(name: ServicePortName) -> str:
    """What stands for a service port in names of chains and maps: its protocol and a hash of its name."""
    return f"{name.protocol.lower()}-{hashlib.sha256('/'.join(name).encode()).hexdigest()[:20]}"


def parse(name: str) -> Spread | None:
    """A spreading chain's name taken apart; None for any other chain."""
    match = _SPREAD.fullmatch(name)
    return Spread(int(match[2] or match[3]), match[4] or "", bool(match[1])) if match else None


def parse_remember(name: str) -> Remember | None:
    """A remembering chain's name taken apart; None for any other chain."""
    match = _REMEMBER.fullmatch(name)
    return Remember(int(match[1]), match[2]) if match else None


def is_made_on_demand(name: str) -> bool:
    return parse(name) is not None or parse_remember(name) is not None


def rules(name: str, family: int) -> list[Rule]:
    """The rules of a chain made on demand, as netlink expressions. A packet that finds no entry passes through."""
    if remember := parse_remember(name):
        return _remember(remember, family)
    spread = parse(name)
    if spread is None:
        raise ValueError(f"{name} is not a chain made on demand")
    if not spread.service:
        return [_pick(spread, family)]
    affinity, first = layout.AFFINITY + spread.service, nft.FIRST_REGISTER
    words = keys.ADDRESS_BYTES[family] // 4
    protocol = spread.service.partition("-")[0]
    return [
        _set_number(0),
        [_load_source(family, first), nft.map_lookup(affinity, first, first), nft.set_meta_priority(first)],
        [
            nft.meta_l4proto(first),
            nft.equals(first, bytes((keys.PROTOCOLS[protocol.upper()],))),
            nft.meta_priority(first),
            nft.map_lookup(_slots(spread), first, first),
            nft.dnat(family, first, first + words),
        ],
        [
            _load_source(family, first),
            nft.meta_priority(first + words),
            nft.dynset_delete(affinity, first, first + words),
        ],
        [nft.goto(spread._replace(service="").chain)],
    ]


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
    """The same rules in nft's language."""
    ip = "ip" if family == 4 else "ip6"
    if remember := parse_remember(name):
        return [
            f"meta priority set {ip} daddr . th dport map @{layout.NUMBERS}{remember.service}",
            f"update @{layout.AFFINITY}{remember.service} {{ {ip} saddr timeout {remember.seconds}s : meta priority }}",
            "meta priority set 0",
        ]
    spread = parse(name)
    if spread is None:
        raise ValueError(f"{name} is not a chain made on demand")
    if spread.service:
        affinity = f"@{layout.AFFINITY}{spread.service}"
        return [
            "meta priority set 0",
            f"meta priority set {ip} saddr map {affinity}",
            f"meta l4proto {spread.service.partition('-')[0]} "
            f"dnat {ip} addr . port to meta priority map @{_slots(spread)}",
            f"delete {affinity} {{ {ip} saddr : meta priority }}",
            f"goto {spread._replace(service='').chain}",
        ]
    key = f"{ip} daddr . meta l4proto . th dport"
    offset = f" offset {layout.LOCAL_OFFSET}" if spread.local else ""
    number = f"numgen random mod {spread.endpoints}{offset}"
    return [f"dnat {ip} addr . port to {key} . {number} map @{layout.endpoint_map(spread.endpoints)}"]


def _slots(spread: Spread) -> str:
    return f"{layout.LOCAL_SLOTS if spread.local else layout.SLOTS}{spread.service}"


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


def _remember(remember: Remember, family: int) -> list[Rule]:
    """Note which endpoint the client got; for a client that is known already only the time starts again."""
    size = keys.ADDRESS_BYTES[family]
    first, words = nft.FIRST_REGISTER, size // 4
    return [
        [
            nft.payload(first, _NETWORK, _DADDR_OFFSET[family], size),
            nft.payload(first + words, _TRANSPORT, 2, 2),
            nft.map_lookup(layout.NUMBERS + remember.service, first, first),
            nft.set_meta_priority(first),
        ],
        [
            _load_source(family, first),
            nft.meta_priority(first + words),
            nft.dynset_update(layout.AFFINITY + remember.service, first, first + words, remember.seconds),
        ],
        _set_number(0),
    ]


def _set_number(number: int) -> Rule:
    return [nft.immediate(nft.FIRST_REGISTER, number), nft.set_meta_priority(nft.FIRST_REGISTER)]


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
