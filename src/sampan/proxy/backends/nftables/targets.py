"""Map entries of a service port: what the kernel does with each address, protocol and port. Pure.

`targets` is the backend's whole policy: which chain a packet is sent to, which endpoints it is spread over, and what
happens where there are none. ledger.py turns many of these into the content of the maps.
"""

import ipaddress
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import layout
from sampan.proxy.backends.nftables.chains import Remember, Spread, is_made_on_demand, parse
from sampan.proxy.state import Endpoint, ServicePort

Range = tuple[bytes, bytes]


class Target(msgspec.Struct, frozen=True, gc=False):
    """The entries of one address, protocol and port.

    `slots` and `local_slots` are the endpoints' data, one after the other: compact, since there may be very many.
    An empty verdict means no entry. `sources` are the only ones admitted where `external` is a firewalled chain.
    Clients are `remember`ed by that chain.
    """

    verdict: str = ""
    slots: bytes = b""
    external: str = ""
    local_verdict: str = ""
    local_slots: bytes = b""
    sources: tuple[Range, ...] = ()
    remember: str = ""

    @property
    def chains(self) -> tuple[str, ...]:
        """The chains made on demand that this target needs; one for affinity goes on in one without."""
        named = [name for name in (self.verdict, self.local_verdict, self.remember) if is_made_on_demand(name)]
        spreads = [spread for name in named if (spread := parse(name)) and spread.service]
        return (*named, *(spread._replace(service="").chain for spread in spreads))


class Affinity(NamedTuple):
    """ClientIP affinity of one service port: the data of its endpoints by their numbers.

    `slots` are for everyone, `local_slots` for outsiders under the Local policy.
    """

    slots: Mapping[int, bytes]
    local_slots: Mapping[int, bytes]

    @property
    def numbers(self) -> dict[int, bytes]:
        return {**self.slots, **self.local_slots}


NO_AFFINITY = Affinity({}, {})


def affinity(port: ServicePort) -> Affinity | None:
    """The numbers of a service port's endpoints; None without ClientIP affinity.

    A number is a hash of the endpoint's data, so that it stays the same when the proxy restarts. If hashes are equal,
    later endpoints in the order of their data get the next free number. 0 is never used.
    """
    if not port.affinity_seconds:
        return None
    everywhere = {_slots([each]) for each in (*port.endpoints, *port.cluster_endpoints)}
    here = {_slots([each]) for each in port.local_endpoints}
    numbers: dict[int, bytes] = {}
    for slot in sorted(everywhere | here):
        number = zlib.crc32(slot) or 1
        while number in numbers:
            number = number % 0xFFFFFFFF + 1
        numbers[number] = slot
    return Affinity(
        *({number: slot for number, slot in numbers.items() if slot in kind} for kind in (everywhere, here))
    )


def targets(service: str, port: ServicePort, node_ips: Sequence[str]) -> dict[bytes, Target]:
    """Every key that a service port answers to, with its target. `service` is its id."""
    found = {keys.service_key(port.cluster_ip, port.protocol, port.port): _internal(service, port)}
    external = _external(service, port)
    for ip, number in _external_addresses(port, node_ips):
        found[keys.service_key(ip, port.protocol, number)] = external
    if port.source_ranges:
        for ip in port.load_balancer_ips:
            key = keys.service_key(ip, port.protocol, port.port)
            found[key] = msgspec.structs.replace(
                external, external=layout.FIREWALLED + external.external, sources=_sources(key, port, ip, node_ips)
            )
    return found


def _internal(service: str, port: ServicePort) -> Target:
    if not port.endpoints:
        return Target(layout.DISCARD if port.has_endpoints else layout.REFUSE)
    return Target(_spread(service, port, port.endpoints), _slots(port.endpoints), remember=_remember(service, port))


def _external(service: str, port: ServicePort) -> Target:
    everywhere, remember = port.cluster_endpoints, _remember(service, port)
    if not port.has_endpoints:
        return Target(layout.REFUSE, external=layout.EXTERNAL)
    verdict = _spread(service, port, everywhere) if everywhere else layout.DISCARD
    if not port.external_local:
        return Target(verdict, _slots(everywhere), layout.EXTERNAL, remember=remember)
    here = port.local_endpoints
    local_verdict = _spread(service, port, here, local=True) if here else ""
    return Target(verdict, _slots(everywhere), layout.LOCAL, local_verdict, _slots(here), remember=remember)


def _spread(service: str, port: ServicePort, endpoints: Sequence[Endpoint], *, local: bool = False) -> str:
    return Spread(len(endpoints), service if port.affinity_seconds else "", local).chain


def _remember(service: str, port: ServicePort) -> str:
    return Remember(port.affinity_seconds, service).chain if port.affinity_seconds else ""


def _external_addresses(port: ServicePort, node_ips: Sequence[str]) -> Iterator[tuple[str, int]]:
    for ip in (*port.external_ips, *port.load_balancer_ips):
        yield ip, port.port
    if port.node_port:
        for ip in node_ips:
            yield ip, port.node_port


def _slots(endpoints: Sequence[Endpoint]) -> bytes:
    return layout.slots(6 if endpoints and ":" in endpoints[0].ip else 4, endpoints)


def _sources(key: bytes, port: ServicePort, ip: str, node_ips: Sequence[str]) -> tuple[Range, ...]:
    """The admitted sources as ranges of `key . source`. A node that may connect may do so from the address itself."""
    networks = [ipaddress.ip_network(each, strict=False) for each in port.source_ranges]
    if any(ipaddress.ip_address(node) in network for node in node_ips for network in networks):
        networks.append(ipaddress.ip_network(ip))
    return tuple(
        (key + network.network_address.packed, key + network.broadcast_address.packed)
        for network in ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
    )
