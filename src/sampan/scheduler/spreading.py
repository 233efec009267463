"""Topology spread constraints: keeping a set of pods even over zones, hosts or whatever a label names. Pure.

Hard constraints (DoNotSchedule) become a filter, soft ones a score. Pods without constraints of their own are spread
over hosts and zones with the other pods of their controller.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sampan.api import nodes, pods
from sampan.api.core_v1 import Pod, TopologySpreadConstraint
from sampan.machinery.selectors import LabelSelector, Requirement, from_label_selector
from sampan.scheduler.snapshot import NodeInfo, Snapshot

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))

MISSING_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
UNEVEN = "node(s) didn't match pod topology spread constraints"


@dataclass(frozen=True)
class Spread:
    """One constraint, with how many matching pods each domain has."""

    key: str
    max_skew: int
    counts: Counter[str]
    least: int
    counts_self: bool


def hard(pod: Pod, snapshot: Snapshot) -> list[Spread]:
    return [_spread(one, pod, snapshot) for one in _own(pod, "DoNotSchedule")]


def soft(pod: Pod, snapshot: Snapshot) -> list[Spread]:
    """The pod's soft constraints; if it has none at all, the cluster's default ones."""
    if pod.spec.topology_spread_constraints:
        return [_spread(one, pod, snapshot) for one in _own(pod, "ScheduleAnyway")]
    controller = pod.metadata.controller
    if controller is None:
        return []
    uid, found = controller.uid, snapshot.nodes()
    return [_counted(key, skew, found, lambda info: info.by_controller[uid], True) for key, skew in _DEFAULTS]


def violated(spreads: Iterable[Spread], node: NodeInfo) -> str | None:
    """Why the node would make the spread too uneven, None when it would not."""
    for one in spreads:
        domain = node.node.metadata.labels.get(one.key) if node.node else None
        if domain is None:
            return MISSING_LABEL
        if one.counts[domain] + one.counts_self - one.least > one.max_skew:
            return UNEVEN
    return None


def crowding(spreads: Iterable[Spread], node: NodeInfo) -> float:
    """How crowded the node's domains are with the pod's like: less is better."""
    total = 0.0
    for one in spreads:
        domain = node.node.metadata.labels.get(one.key) if node.node else None
        if domain is not None:
            total += one.counts[domain] * math.log(len(one.counts) + 2) + one.max_skew - 1
    return total


def _own(pod: Pod, action: str) -> list[TopologySpreadConstraint]:
    return [one for one in pod.spec.topology_spread_constraints if one.when_unsatisfiable == action]


def _spread(constraint: TopologySpreadConstraint, pod: Pod, snapshot: Snapshot) -> Spread:
    selector = _selector(constraint, pod)
    namespace = pod.metadata.namespace

    def matches(other: Pod) -> bool:
        return other.metadata.namespace == namespace and selector.matches(other.metadata.labels)

    def matching(info: NodeInfo) -> int:
        return sum(1 for one in info.pods.values() if not pods.is_terminating(one.pod) and matches(one.pod))

    eligible = [node for node in snapshot.nodes() if _is_eligible(constraint, pod, node)]
    spread = _counted(constraint.topology_key, constraint.max_skew, eligible, matching, matches(pod))
    if constraint.min_domains and len(spread.counts) < constraint.min_domains:
        return Spread(spread.key, spread.max_skew, spread.counts, 0, spread.counts_self)
    return spread


def _selector(constraint: TopologySpreadConstraint, pod: Pod) -> LabelSelector:
    selector = from_label_selector(constraint.label_selector)
    labels = pod.metadata.labels
    more = tuple(Requirement(key, "=", (labels[key],)) for key in constraint.match_label_keys if key in labels)
    return LabelSelector((*selector.requirements, *more), selector.nothing) if more else selector


def _is_eligible(constraint: TopologySpreadConstraint, pod: Pod, info: NodeInfo) -> bool:
    node = info.node
    if node is None or constraint.topology_key not in node.metadata.labels:
        return False
    if constraint.node_affinity_policy == "Honor" and not nodes.accepts(pod.spec, node):
        return False
    if constraint.node_taints_policy != "Honor":
        return True
    effects = (nodes.NO_SCHEDULE, nodes.NO_EXECUTE)
    return nodes.untolerated(node.spec.taints, pod.spec.tolerations, effects) is None


def _counted(
    key: str, max_skew: int, eligible: Iterable[NodeInfo], matching: Callable[[NodeInfo], int], counts_self: bool
) -> Spread:
    counts: Counter[str] = Counter()
    for info in eligible:
        domain = info.node.metadata.labels.get(key) if info.node else None
        if domain is not None:
            counts[domain] += matching(info)
    return Spread(key, max_skew, counts, min(counts.values(), default=0), counts_self)
