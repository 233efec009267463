"""Making room for a pod of higher priority: which pods, on which node, would have to go. Pure.

Only resources and host ports are won by removing pods here; what taints, labels or affinity forbid stays forbidden.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.api.core_v1 import Pod
from sampan.scheduler import filters
from sampan.scheduler.decision import Unplaced
from sampan.scheduler.filters import Wish
from sampan.scheduler.snapshot import NodeInfo, PodInfo, Snapshot


@dataclass(frozen=True)
class Preemption:
    """The pods that must end so that the pod can run on the node."""

    node: str
    victims: tuple[Pod, ...]


def decide(pod: Pod, snapshot: Snapshot, unplaced: Unplaced) -> Preemption | None:
    """The preemption that does least harm, None when there is none."""
    if pod.spec.preemption_policy == "Never":
        return None
    wish = Wish.of(PodInfo.of(pod), snapshot)
    candidates = []
    for info in snapshot.nodes():
        rejection = unplaced.rejections.get(info.name)
        if rejection is not None and rejection.resolvable:
            victims = _victims(wish, info)
            if victims:
                candidates.append(Preemption(info.name, victims))
    return min(candidates, key=_harm, default=None)


def _victims(wish: Wish, info: NodeInfo) -> tuple[Pod, ...]:
    """The fewest, least important pods of the node whose end lets the pod in."""
    lower = [one.pod for one in info.pods.values() if one.pod.spec.priority < wish.info.pod.spec.priority]
    if not lower or filters.reject(wish, _without(info, lower)) is not None:
        return ()
    victims = list(lower)
    for one in sorted(lower, key=lambda pod: (-pod.spec.priority, pod.status.start_time or "")):
        spared = [pod for pod in victims if pod is not one]
        if filters.reject(wish, _without(info, spared)) is None:
            victims = spared
    return tuple(victims)


def _without(info: NodeInfo, gone: Iterable[Pod]) -> NodeInfo:
    return info.without(pod.metadata.uid for pod in gone)


def _harm(candidate: Preemption) -> tuple[int, int, int]:
    priorities = [pod.spec.priority for pod in candidate.victims]
    return max(priorities), sum(priorities), len(priorities)
