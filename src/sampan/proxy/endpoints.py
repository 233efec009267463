"""Endpoint selection for one node: readiness, termination, topology hints, policies (KEP-1669, 2433, 3015, 4444).

Upstream's rules, in one place and pure: ready endpoints first, narrowed to the node's own or its zone's where the hints
of all ready endpoints allow it; if nothing is ready, those that terminate but still serve. state.py asks per policy.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from sampan.api.discovery_v1 import EndpointConditions, EndpointHints
from sampan.proxy.addresses import canonical_ip
from sampan.proxy.objects import Slice

MAX_PORT = 65535


class TrafficPolicy(Enum):
    """A value of internalTrafficPolicy or externalTrafficPolicy."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class NodeTopology(NamedTuple):
    """The node for which endpoints are selected, and its zone (topology.kubernetes.io/zone)."""

    node_name: str
    zone: str = ""


class Candidate(NamedTuple):
    """An endpoint before selection."""

    ip: str
    port: int
    ready: bool
    serving: bool
    terminating: bool
    node_name: str | None
    hints: EndpointHints | None


def candidates(slices: Iterable[Slice], port_name: str, protocol: str) -> list[Candidate]:
    """The endpoints of the named port in all slices, each address and port once, in the order of ip and port.

    Of an address that several slices list, the most usable entry counts. Unreadable addresses are left out.
    """
    best: dict[tuple[str, int], Candidate] = {}
    for each in slices:
        for number in _port_numbers(each, port_name, protocol):
            for endpoint in each.endpoints:
                address = endpoint_address(each, endpoint.addresses)
                if address:
                    key = (address, number)
                    candidate = Candidate(*key, *_flags(endpoint.conditions), endpoint.node_name, endpoint.hints)
                    known = best.get(key)
                    if known is None or _usability(candidate) > _usability(known):
                        best[key] = candidate
    return [best[key] for key in sorted(best)]


def endpoint_address(slice_: Slice, addresses: Sequence[str]) -> str:
    """The one address of an endpoint that is used, in canonical form; empty if there is none of the slice's type."""
    address = canonical_ip(addresses[0]) if addresses else None
    return address if address and (":" in address) == (slice_.address_type == "IPv6") else ""


def _port_numbers(slice_: Slice, name: str, protocol: str) -> list[int]:
    return [
        port.port
        for port in slice_.ports
        if port.port
        and 0 < port.port <= MAX_PORT
        and (port.name or "") == name
        and (port.protocol or "TCP") == protocol
    ]


def _flags(conditions: EndpointConditions) -> tuple[bool, bool, bool]:
    return conditions.ready is not False, conditions.serving is not False, conditions.terminating is True


def _usability(candidate: Candidate) -> tuple[bool, bool, bool, str]:
    """An order in which any two different entries differ, so that the order of events does not matter."""
    return (candidate.ready, candidate.serving, not candidate.terminating, candidate.node_name or "")


def select(found: Sequence[Candidate], policy: TrafficPolicy, topology: NodeTopology) -> list[Candidate]:
    """The candidates that traffic under this policy may be sent to from this node."""
    if policy is TrafficPolicy.LOCAL:
        found = [each for each in found if each.node_name == topology.node_name]
        near: Callable[[Candidate], bool] | None = None
    else:
        near = _nearness(found, topology)
    ready = [each for each in found if each.ready and (near is None or near(each))]
    return ready or [each for each in found if each.serving and each.terminating]


def _nearness(found: Sequence[Candidate], topology: NodeTopology) -> Callable[[Candidate], bool] | None:
    """What the hints restrict this node to; None if any ready endpoint lacks hints or none is meant for us."""
    ready = [each for each in found if each.ready]
    if not ready or any(each.hints is None for each in ready):
        return None
    for meant in (_for_node(topology.node_name), _for_zone(topology.zone)):
        if all(meant(each) is not None for each in ready) and any(meant(each) for each in ready):
            return lambda each: bool(meant(each))
    return None


def _for_node(node: str) -> Callable[[Candidate], bool | None]:
    def meant(each: Candidate) -> bool | None:
        nodes = each.hints.for_nodes if each.hints else ()
        return any(hint.name == node for hint in nodes) if nodes else None

    return meant


def _for_zone(zone: str) -> Callable[[Candidate], bool | None]:
    def meant(each: Candidate) -> bool | None:
        zones = each.hints.for_zones if each.hints else ()
        return any(hint.name == zone for hint in zones) if zones else None

    return meant
