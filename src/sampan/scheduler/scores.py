"""Where a pod runs best: each score rates all nodes that can take it from 0 to 100, weighted as upstream does. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.api import nodes
from sampan.scheduler import affinity, spreading
from sampan.scheduler.filters import Wish
from sampan.scheduler.snapshot import NodeInfo, Snapshot

BEST = 100.0

Score = Callable[[Wish, Sequence[NodeInfo], Snapshot], list[float]]


@dataclass(frozen=True)
class Weighted:
    score: Score
    weight: int


def taint_toleration(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """Fewer PreferNoSchedule taints that the pod does not tolerate."""
    tolerations = wish.info.pod.spec.tolerations
    counts = [
        sum(
            1
            for taint in (info.node.spec.taints if info.node else ())
            if taint.effect == nodes.PREFER_NO_SCHEDULE and not any(nodes.tolerates(t, taint) for t in tolerations)
        )
        for info in found
    ]
    return _less_is_better(counts)


def node_affinity(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """More of the preferred node affinity."""
    spec = wish.info.pod.spec.affinity
    terms = (
        spec.node_affinity.preferred_during_scheduling_ignored_during_execution if spec and spec.node_affinity else ()
    )
    sums = [
        sum(one.weight for one in terms if info.node and nodes.term_selects(one.preference, info.node))
        for info in found
    ]
    return _more_is_better(sums)


def topology_spread(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """Domains with fewer pods of the same kind."""
    spreads = spreading.soft(wish.info.pod, snapshot)
    return _less_is_better([spreading.crowding(spreads, info) for info in found])


def inter_pod_affinity(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """Domains with pods that the pod would like to be near, without those it would rather avoid."""
    preferred = wish.affinity.preferred
    sums = [sum(preferred[domain] for domain in affinity.domains(info)) if preferred else 0 for info in found]
    return _more_is_better(sums)


def least_allocated(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """More CPU and memory left."""
    return [sum(BEST * max(0.0, 1 - share) for share in _shares(wish, info)) / 2 for info in found]


def balanced_allocation(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """CPU and memory used to the same degree."""
    pairs = [_shares(wish, info) for info in found]
    return [BEST * (1 - abs(min(cpu, 1.0) - min(memory, 1.0)) / 2) for cpu, memory in pairs]


SCORES: tuple[Weighted, ...] = (
    Weighted(taint_toleration, 3),
    Weighted(node_affinity, 2),
    Weighted(topology_spread, 2),
    Weighted(inter_pod_affinity, 2),
    Weighted(least_allocated, 1),
    Weighted(balanced_allocation, 1),
)


def total(wish: Wish, found: Sequence[NodeInfo], snapshot: Snapshot) -> list[float]:
    """The weighted sum for each node."""
    sums = [0.0] * len(found)
    for one in SCORES:
        for index, score in enumerate(one.score(wish, found, snapshot)):
            sums[index] += one.weight * score
    return sums


def _shares(wish: Wish, info: NodeInfo) -> tuple[float, float]:
    cpu, memory = wish.info.scored
    return (
        _share(info.scored_cpu + cpu, info.allocatable.get("cpu", 0)),
        _share(info.scored_memory + memory, info.allocatable.get("memory", 0)),
    )


def _share(used: int, has: int) -> float:
    return used / has if has else 1.0


def _more_is_better(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [BEST * (value - low) / (high - low) if high > low else 0.0 for value in values]


def _less_is_better(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [BEST * (high - value) / (high - low) if high > low else BEST for value in values]
