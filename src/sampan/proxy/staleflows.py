"""Which conntrack entries of UDP flows are deleted: those to a Service's address whose endpoint serves no more. Pure.

A UDP flow outlives its endpoint, because a client that goes on sending keeps it alive, and its packets are not looked
up again. The same holds for a flow that began before the Service had an endpoint. A flow keeps an endpoint that still
serves, whatever traffic policies, topology and termination say of new flows (as pkg/proxy/conntrack/cleanup.go).
kernel/conntrack.py lists and deletes.
"""

from collections.abc import Iterable, Mapping, Sequence

from sampan.kernel.conntrack import ANY, Address, Flow
from sampan.proxy.state import ServicePort
from sampan.proxy.tracker import Changes


def udp_addresses(changes: Changes, node_ips: Sequence[str]) -> dict[Address, frozenset[Address]]:
    """For every UDP address of the changed Services whose flows may be stale: the endpoints that may serve it now.

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
    """The flows that were addressed to one of the given addresses and are answered by someone else.

    Of those to a node port at another address, only what was translated has to do with the Service.
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
