"""Stale UDP conntrack entries: flows to a Service's address whose endpoint no longer serves it. Pure.

A client that keeps sending keeps its conntrack entry alive, and its packets are not matched against the rules again. So
a UDP flow outlives its endpoint, or continues to have none if it began before the Service had one. A flow keeps an
endpoint that still serves, whatever traffic policies, topology and termination mean for new flows (as upstream's
pkg/proxy/conntrack/cleanup.go). kernel/conntrack.py lists and deletes entries.
"""

from collections.abc import Iterable, Mapping, Sequence

from sampan.kernel.conntrack import ANY, Address, Flow
from sampan.proxy.state import ServicePort
from sampan.proxy.tracker import Changes


def udp_addresses(changes: Changes, node_ips: Sequence[str]) -> dict[Address, frozenset[Address]]:
    """The endpoints that serve each UDP address of the changed Services, whose flows may be stale.

    A node port is also given without an address, because some modes serve it at every local one.
    """
    found: dict[Address, frozenset[Address]] = {}
    for before, after in changes.values():
        kept = after.serving if after else frozenset()
        for port in (before, after):
            if port is not None and port.protocol == "UDP":
                for address in _addresses(port, node_ips):
                    found[address] = kept | found.get(address, frozenset())
    return found


def stale(flows: Iterable[Flow], serving: Mapping[Address, frozenset[Address]]) -> list[Flow]:
    """The flows to one of the given addresses whose backend does not serve that address.

    A flow to a node port at an unlisted address counts only if it was translated (DNAT).
    """
    found: dict[tuple[bytes, bytes], Flow] = {}
    for flow in flows:
        to, answering = (flow.destination, flow.destination_port), (flow.backend, flow.backend_port)
        backends = serving.get(to)
        if backends is None and answering != to:
            backends = serving.get((ANY, flow.destination_port))
        if backends is not None and answering not in backends:
            found[flow.identity] = flow
    return list(found.values())


def _addresses(port: ServicePort, node_ips: Sequence[str]) -> list[Address]:
    ips = (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)
    node_ports = [(ip, port.node_port) for ip in (*node_ips, ANY)] if port.node_port else []
    return [(ip, port.port) for ip in ips] + node_ports
