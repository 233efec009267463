"""Which node answers for an address: a pure function that every speaker evaluates alike.

Rendezvous hashing (highest random weight) over the nodes that may: when one goes, only its addresses move, and they are
spread over all others. `speaker.py` gathers what is decided from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from sampan.loadbalancer.objects import EXCLUDE, TAINT_TO_BE_DELETED, Node, Service, Slice


@dataclass(frozen=True, slots=True)
class Candidates:
    """Nodes by name: those that may announce, and those of them that should only if no other can (cordoned ones)."""

    allowed: frozenset[str]
    last_resort: frozenset[str]


def candidates(nodes: Iterable[Node]) -> Candidates:
    """Who may announce as far as the API tells: Ready, and not excluded from load balancing."""
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
    """Nodes with a ready endpoint; if there is none anywhere, those with one that terminates and still serves."""
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


def owner(
    address: str,
    services: Iterable[Service],
    who: Candidates,
    alive: Set[str],
    endpoints: Mapping[str, frozenset[str]],
) -> str | None:
    """The node that answers for an address which these Services have; None if there is none that could.

    `endpoints` has the nodes with endpoints of each Service under the Local policy, by `namespace/name`. While such a
    Service has no endpoint at all, any node will do: it refuses the clients, who would else wait for nothing.
    """
    able = who.allowed & alive
    for service in services:
        if service.spec.external_traffic_policy == "Local" and (there := endpoints.get(service.metadata.key)):
            able &= there
    able = (able - who.last_resort) or able
    return max(able, key=lambda node: _weight(node, address), default=None)


def _weight(node: str, address: str) -> bytes:
    return hashlib.sha256(f"{node}#{address}".encode()).digest()
