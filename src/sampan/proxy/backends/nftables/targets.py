"""From a service port to map entries: what the kernel does with each address, protocol and port. Pure.

`targets` is the backend's whole policy: which chain a packet is sent to, which endpoints it is spread over, and what
happens where there are none. ledger.py turns many of these into the content of the maps.
"""

import ipaddress
from collections.abc import Iterator, Sequence

import msgspec

from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import layout
from sampan.proxy.backends.nftables.chains import Spread, is_made_on_demand, remember_chain
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
        """The chains made on demand that this target needs."""
        return tuple(name for name in (self.verdict, self.local_verdict, self.remember) if is_made_on_demand(name))


def targets(port: ServicePort, node_ips: Sequence[str]) -> dict[bytes, Target]:
    """Every key that this service port answers to, with its target."""
    found = {keys.service_key(port.cluster_ip, port.protocol, port.port): _internal(port)}
    external = _external(port)
    for ip, number in _external_addresses(port, node_ips):
        found[keys.service_key(ip, port.protocol, number)] = external
    if port.source_ranges:
        for ip in port.load_balancer_ips:
            key = keys.service_key(ip, port.protocol, port.port)
            found[key] = msgspec.structs.replace(
                external, external=layout.FIREWALLED + external.external, sources=_sources(key, port, ip, node_ips)
            )
    return found


def _internal(port: ServicePort) -> Target:
    if not port.endpoints:
        return Target(layout.DISCARD if port.anywhere else layout.REFUSE)
    return Target(_spread(port, port.endpoints), _slots(port.endpoints), remember=_remember(port))


def _external(port: ServicePort) -> Target:
    everywhere = port.cluster_endpoints
    if not port.anywhere:
        return Target(layout.REFUSE, external=layout.EXTERNAL)
    verdict = _spread(port, everywhere) if everywhere else layout.DISCARD
    if not port.external_local:
        return Target(verdict, _slots(everywhere), layout.EXTERNAL, remember=_remember(port))
    here = port.local_endpoints
    local_verdict = _spread(port, here, local=True) if here else ""
    return Target(verdict, _slots(everywhere), layout.LOCAL, local_verdict, _slots(here), remember=_remember(port))


def _spread(port: ServicePort, endpoints: Sequence[Endpoint], *, local: bool = False) -> str:
    return Spread(len(endpoints), port.affinity_seconds > 0, local).chain


def _remember(port: ServicePort) -> str:
    return remember_chain(port.affinity_seconds) if port.affinity_seconds else ""


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
