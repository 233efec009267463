"""From a service port to listeners, and to entries of the table's sets and maps that lead packets to them. Pure.

A service port has up to three listeners, because who asks decides which endpoints may serve: one for the cluster IP,
one for external addresses, and one for outsiders where the external policy is Local. text.py puts entries into nft's
language, relay.py makes listeners real.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sampan.proxy.state import Endpoint, ServicePort, ServicePortName

CLUSTER_IPS = "cluster-ips"
VERDICTS = "verdicts"
OUTSIDE_VERDICTS = "outside-verdicts"
LISTENERS = "listeners"
OUTSIDE_LISTENERS = "outside-listeners"
FILTERED = "filtered"
ALLOWED_SOURCES = "allowed-sources"
LISTENER_PORTS = "listener-ports"

REFUSE = "jump refuse"
DISCARD = "jump discard"

INTERNAL = "cluster IP"
EXTERNAL = "external addresses"
OUTSIDE = "external addresses, from outside"

PROTOCOLS = ("TCP", "UDP")
"""What a listener can relay. Others are turned away."""


class ListenerName(NamedTuple):
    """A listener's identity: whose it is and for which way of asking."""

    service: ServicePortName
    role: str


class Listener(NamedTuple):
    """Relays the protocol to these endpoints in turn; with affinity, a client stays with one for a while.

    UDP sessions stay with an endpoint as long as it is one of `serving`.
    """

    protocol: str
    endpoints: tuple[Endpoint, ...]
    affinity_seconds: int = 0
    serving: frozenset[tuple[str, int]] = frozenset()


class Place(NamedTuple):
    """Where this is: the node's address that listeners listen at, and its addresses that serve node ports.

    Listeners use the node's own address, because packets from anywhere can be sent there, unlike to loopback.
    """

    address: str
    node_ips: tuple[str, ...]


class Slot(NamedTuple):
    """A place in the table: the name of a set or map, and the element's key."""

    container: str
    key: str


class Maps(NamedTuple):
    """Where to look for a listener, and where for a verdict if there is none."""

    listeners: str
    verdicts: str


FOR_ALL = Maps(LISTENERS, VERDICTS)
FOR_OUTSIDERS = Maps(OUTSIDE_LISTENERS, OUTSIDE_VERDICTS)


def listeners(name: ServicePortName, port: ServicePort) -> dict[ListenerName, Listener]:
    """The listeners that a service port needs: one for each role that has endpoints."""
    if port.protocol not in PROTOCOLS:
        return {}
    roles = {INTERNAL: port.endpoints}
    if any(_external_keys(port, ("",))):
        roles |= {EXTERNAL: port.cluster_endpoints, OUTSIDE: port.local_endpoints}
    return {
        ListenerName(name, role): Listener(port.protocol, endpoints, port.affinity_seconds, port.serving)
        for role, endpoints in roles.items()
        if endpoints
    }


def entries(
    name: ServicePortName, port: ServicePort, numbers: Mapping[ListenerName, int], place: Place
) -> dict[Slot, str]:
    """The table's entries for a service port, given its listeners' ports."""

    def target(role: str) -> str:
        number = numbers.get(ListenerName(name, role))
        return f"{place.address} . {number}" if number else ""

    nobody = DISCARD if port.has_endpoints and port.protocol in PROTOCOLS else REFUSE
    found = {Slot(CLUSTER_IPS, port.cluster_ip): ""}
    own = [numbers[each] for each in listeners(name, port) if each in numbers]
    found |= {Slot(LISTENER_PORTS, f"{port.protocol.lower()} . {number}"): "" for number in own}
    _lead(found, _key(port.cluster_ip, port.protocol, port.port), target(INTERNAL), nobody)
    for key in _external_keys(port, place.node_ips):
        _lead(found, key, target(EXTERNAL), nobody)
        if port.external_local and nobody == DISCARD:
            _lead(found, key, target(OUTSIDE), DISCARD, FOR_OUTSIDERS)
    return found | _firewall(port, place.node_ips)


def _lead(found: dict[Slot, str], key: str, target: str, nobody: str, maps: Maps = FOR_ALL) -> None:
    if target:
        found[Slot(maps.listeners, key)] = target
    else:
        found[Slot(maps.verdicts, key)] = nobody


def _external_keys(port: ServicePort, node_ips: Sequence[str]) -> Iterator[str]:
    for ip in (*port.external_ips, *port.load_balancer_ips):
        yield _key(ip, port.protocol, port.port)
    if port.node_port:
        for ip in node_ips:
            yield _key(ip, port.protocol, port.node_port)


def _firewall(port: ServicePort, node_ips: Sequence[str]) -> dict[Slot, str]:
    """Who may use a load balancer's addresses. A node that may connect may do so from the address itself."""
    if not port.source_ranges:
        return {}
    found = {}
    networks = [ipaddress.ip_network(each, strict=False) for each in port.source_ranges]
    node_admitted = any(ipaddress.ip_address(ip) in network for ip in node_ips for network in networks)
    for ip in port.load_balancer_ips:
        key = _key(ip, port.protocol, port.port)
        found[Slot(FILTERED, key)] = ""
        own = [ipaddress.ip_network(ip)] if node_admitted else []
        for network in ipaddress.collapse_addresses([*networks, *own]):  # type: ignore[type-var]
            found[Slot(ALLOWED_SOURCES, f"{key} . {network[0]}-{network[-1]}")] = ""
    return found


def _key(ip: str, protocol: str, port: int) -> str:
    return f"{ip} . {protocol.lower()} . {port}"
