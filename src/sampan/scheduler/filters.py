"""Where a pod cannot run, and why, in upstream's words. Pure.

A filter gives the reasons for which one node is out of the question, none when it is not. Where only the removal of
other pods would help, the reason is *resolvable*: preemption may be tried.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sampan.api import nodes
from sampan.api.core_v1 import Node, Taint
from sampan.scheduler import affinity, spreading
from sampan.scheduler.affinity import AffinityState
from sampan.scheduler.snapshot import NodeInfo, PodInfo, Snapshot
from sampan.scheduler.spreading import Spread

UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect=nodes.NO_SCHEDULE)


@dataclass(frozen=True)
class Wish:
    """A pod to place, with what was worked out once for all nodes."""

    info: PodInfo
    affinity: AffinityState
    spreads: list[Spread]

    @classmethod
    def of(cls, info: PodInfo, snapshot: Snapshot) -> "Wish":
        return cls(info, affinity.prepare(info.pod, snapshot), spreading.hard(info.pod, snapshot))


@dataclass(frozen=True)
class Rejection:
    """Why a node cannot take the pod."""

    reasons: tuple[str, ...]
    resolvable: bool = False


Filter = Callable[[Wish, Node, NodeInfo], Rejection | None]


def node_unschedulable(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    if not node.spec.unschedulable:
        return None
    tolerations = wish.info.pod.spec.tolerations
    if any(nodes.tolerates(one, UNSCHEDULABLE) for one in tolerations):
        return None
    return Rejection(("node(s) were unschedulable",))


def node_name(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    wanted = wish.info.pod.spec.node_name
    if not wanted or wanted == node.metadata.name:
        return None
    return Rejection(("node(s) didn't match the requested node name",))


def taint_toleration(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    effects = (nodes.NO_SCHEDULE, nodes.NO_EXECUTE)
    if nodes.untolerated(node.spec.taints, wish.info.pod.spec.tolerations, effects) is None:
        return None
    return Rejection(("node(s) had untolerated taint(s)",))


def node_affinity(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    if nodes.accepts(wish.info.pod.spec, node):
        return None
    return Rejection(("node(s) didn't match Pod's node affinity/selector",))


def node_ports(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    wanted = wish.info.host_ports
    if not wanted or not nodes.host_ports_conflict(wanted, info.used_ports()):
        return None
    return Rejection(("node(s) didn't have free ports for the requested pod ports",), resolvable=True)


def node_resources_fit(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    reasons = []
    if len(info.pods) + 1 > info.allocatable.get("pods", 110):
        reasons.append("Too many pods")
    impossible = False
    for name, asked in wish.info.requests.items():
        has = info.allocatable.get(name, 0)
        if asked and asked > has - info.used.get(name, 0):
            reasons.append(f"Insufficient {name}")
            impossible = impossible or asked > has
    return Rejection(tuple(reasons), resolvable=not impossible) if reasons else None


def topology_spread(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    reason = spreading.violated(wish.spreads, info)
    return Rejection((reason,), resolvable=reason == spreading.UNEVEN) if reason else None


def inter_pod_affinity(wish: Wish, node: Node, info: NodeInfo) -> Rejection | None:
    reason = affinity.violated(wish.info.pod, info, wish.affinity)
    return Rejection((reason,), resolvable="anti-affinity" in reason) if reason else None


FILTERS: tuple[Filter, ...] = (
    node_unschedulable,
    node_name,
    taint_toleration,
    node_affinity,
    node_ports,
    node_resources_fit,
    topology_spread,
    inter_pod_affinity,
)


def reject(wish: Wish, info: NodeInfo) -> Rejection | None:
    """The first filter's rejection, None when the node can take the pod."""
    assert info.node is not None
    for one in FILTERS:
        rejection = one(wish, info.node, info)
        if rejection is not None:
            return rejection
    return None
