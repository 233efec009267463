"""What one service port contributes: virtual servers, addresses of kube-ipvs0, members of sets. Pure.

ledger.py puts the pieces of all service ports together.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sampan.kernel.ipset import Member
from sampan.kernel.ipvs import FLAG_PERSISTENT, FLAG_SCHEDULER_PORT, Key, Real, Service
from sampan.proxy.backends.ipvs import sets
from sampan.proxy.state import Endpoint, ServicePort

ZERO = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
"""Everything, in halves: a set cannot hold it whole."""


class VirtualServer(NamedTuple):
    """A virtual server's behaviour and the real servers that take new connections."""

    service: Service
    reals: frozenset[Real]


class Entry(NamedTuple):
    """A member of one of our sets."""

    set: str
    member: Member


class Piece(NamedTuple):
    """Everything one service port needs in the kernel."""

    servers: dict[Key, VirtualServer]
    addresses: frozenset[str]
    entries: frozenset[Entry]


@dataclass(frozen=True, slots=True)
class Node:
    """What a piece depends on besides the service port: the node's own addresses and the default scheduler."""

    ips: tuple[str, ...] = ()
    scheduler: str = "rr"


def piece(port: ServicePort, node: Node) -> Piece:
    """All that this node needs for a service port."""
    external = {*port.external_ips, *port.load_balancer_ips}
    return Piece(
        servers=_servers(port, node, external),
        addresses=frozenset({port.cluster_ip, *external} - set(node.ips)),
        entries=frozenset(_entries(port, node)),
    )


def _servers(port: ServicePort, node: Node, external: set[str]) -> dict[Key, VirtualServer]:
    service = _service(port, node.scheduler)
    outer = VirtualServer(service, _reals(_external_endpoints(port)))
    servers = {Key(port.protocol, ip, port.port): outer for ip in external}
    if port.node_port:
        servers |= {Key(port.protocol, ip, port.node_port): outer for ip in node.ips}
    servers[Key(port.protocol, port.cluster_ip, port.port)] = VirtualServer(service, _reals(port.endpoints))
    return servers


def _service(port: ServicePort, default: str) -> Service:
    scheduler = port.ipvs_scheduler or default
    flags = FLAG_SCHEDULER_PORT if scheduler == "mh" else 0
    if port.affinity_seconds:
        return Service(scheduler, flags | FLAG_PERSISTENT, port.affinity_seconds)
    return Service(scheduler, flags)


def _external_endpoints(port: ServicePort) -> tuple[Endpoint, ...]:
    """A virtual server cannot tell its clients apart: under Local all are sent to this node's endpoints.

    Where there is none, all endpoints are left for pods and the node, and a rule drops outsiders.
    """
    return (port.local_endpoints if port.external_local else ()) or port.cluster_endpoints


def _reals(endpoints: tuple[Endpoint, ...]) -> frozenset[Real]:
    return frozenset(Real(each.ip, each.port) for each in endpoints)


def _entries(port: ServicePort, node: Node) -> Iterator[Entry]:
    protocol = port.protocol.lower()
    yield Entry(sets.CLUSTER_IP, Member(port.cluster_ip, protocol, port.port))
    if port.internal_local and port.has_endpoints and not port.endpoints:
        yield Entry(sets.NO_LOCAL_INTERNAL, Member(port.cluster_ip, protocol, port.port))
    for ip in {port.cluster_ip, *port.external_ips, *port.load_balancer_ips} - set(node.ips):
        yield Entry(sets.ADDRESSES, Member(ip))
    for endpoint in port.all_endpoints():
        if endpoint.local:
            yield Entry(sets.LOOP_BACK, Member(endpoint.ip, protocol, endpoint.port, endpoint.ip))
    yield from _external_entries(port, protocol)
    yield from _node_port_entries(port, protocol, node)
    yield from _firewall_entries(port, protocol, node)
    if port.health_check_node_port:
        yield Entry(sets.HEALTH_CHECK, Member(port=port.health_check_node_port))


def _external_entries(port: ServicePort, protocol: str) -> Iterator[Entry]:
    for ip in port.external_ips:
        yield Entry(
            sets.EXTERNAL_IP_LOCAL if port.external_local else sets.EXTERNAL_IP, Member(ip, protocol, port.port)
        )
    for ip in port.load_balancer_ips:
        yield Entry(sets.LOAD_BALANCER, Member(ip, protocol, port.port))
        if port.external_local:
            yield Entry(sets.LOAD_BALANCER_LOCAL, Member(ip, protocol, port.port))
    if _drops_outsiders(port):
        for ip in (*port.external_ips, *port.load_balancer_ips):
            yield Entry(sets.NO_LOCAL_EXTERNAL, Member(ip, protocol, port.port))


def _node_port_entries(port: ServicePort, protocol: str, node: Node) -> Iterator[Entry]:
    if not port.node_port:
        return
    names = [sets.NODE_PORT[port.protocol]]
    if port.external_local:
        names.append(sets.NODE_PORT_LOCAL[port.protocol])
    for name in names:
        if port.protocol == "SCTP":
            yield from (Entry(name, Member(ip, protocol, port.node_port)) for ip in node.ips)
        else:
            yield Entry(name, Member(port=port.node_port))
    if _drops_outsiders(port):
        yield from (Entry(sets.NO_LOCAL_EXTERNAL, Member(ip, protocol, port.node_port)) for ip in node.ips)


def _drops_outsiders(port: ServicePort) -> bool:
    return port.external_local and port.has_endpoints and not port.local_endpoints


def _firewall_entries(port: ServicePort, protocol: str, node: Node) -> Iterator[Entry]:
    if not port.source_ranges:
        return
    networks = [ipaddress.ip_network(each, strict=False) for each in port.source_ranges]
    admitted = [ip for ip in node.ips if any(ipaddress.ip_address(ip) in network for network in networks)]
    for ip in port.load_balancer_ips:
        yield Entry(sets.LOAD_BALANCER_FIREWALL, Member(ip, protocol, port.port))
        for network in map(str, networks):
            for part in ZERO.get(network, (network,)):
                yield Entry(sets.SOURCE_CIDR, Member(ip, protocol, port.port, part))
        yield from (Entry(sets.SOURCE_IP, Member(ip, protocol, port.port, each)) for each in admitted)
