"""Election of the node that answers for an address: a pure function with the same result in every speaker.

It uses rendezvous hashing (highest random weight) over the eligible nodes: when a node fails, only its addresses move,
and they are spread over all others. `speaker.py` collects the input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from sampan.loadbalancer.objects import EXCLUDE, TAINT_TO_BE_DELETED, Node, Service, Slice


@dataclass(frozen=True, slots=True)
class Candidates:
    """Names of the nodes that may announce, and of those that do so only if no other node can (cordoned nodes)."""

    allowed: frozenset[str]
    last_resort: frozenset[str]


def candidates(nodes: Iterable[Node]) -> Candidates:
    """The nodes that may announce according to their API objects: Ready and not excluded from load balancing."""
    allowed, last_resort = set(), set()
    for node in nodes:
        name = node.metadata.name
        ready = any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)
        if not ready or EXCLUDE in node.metadata.labels or node.metadata.deletion_timestamp:
            continue
        allowed.add(name)
        if node.spec.unschedulable or any(taint.key == TAINT_TO_BE_DELETED for taint in node.spec.taints):
            last_resort.add(name)
    return Candidates(frozenset(allowed), frozenset(last_resort))


def endpoint_nodes(slices: Iterable[Slice]) -> frozenset[str]:
    """Nodes with a ready endpoint; if no endpoint is ready, nodes with a terminating one that still serves."""
    ready, serving = set(), set()
    for one in slices:
        for endpoint in one.endpoints:
            if endpoint.node_name is None:
                continue
            conditions = endpoint.conditions
            if conditions.ready is not False:
                ready.add(endpoint.node_name)
            elif conditions.serving and conditions.terminating:
                serving.add(endpoint.node_name)
    return frozenset(ready or serving)


def elect(
    address: str,
    services: Iterable[Service],
    candidates: Candidates,
    alive: Set[str],
    endpoints: Mapping[str, frozenset[str]],
) -> str | None:
    """The node that answers for an address, which all these Services have; None if no node is eligible.

    `endpoints` has, by `namespace/name`, the nodes with endpoints of each Service with externalTrafficPolicy Local.
    While such a Service has no endpoint at all, any node may: it rejects clients, which would otherwise time out.
    """
    live = candidates.allowed & alive
    for service in services:
        if service.spec.external_traffic_policy == "Local" and (there := endpoints.get(service.metadata.key)):
            live &= there
    live = (live - candidates.last_resort) or live
    return max(live, key=lambda node: _weight(node, address), default=None)


def _weight(node: str, address: str) -> bytes:
    return hashlib.sha256(f"{node}#{address}".encode()).digest()
