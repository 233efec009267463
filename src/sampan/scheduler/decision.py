"""Where one pod goes: filter, score, choose; or why it goes nowhere. Pure.

The message of a pod that fits nowhere is upstream's, word for word, because people search for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sampan.api.core_v1 import Pod
from sampan.scheduler import filters, scores
from sampan.scheduler.filters import Rejection, Wish
from sampan.scheduler.snapshot import NodeInfo, PodInfo, Snapshot

Tie = Callable[[Sequence[str]], str]
"""Chooses among equally good nodes."""


@dataclass(frozen=True)
class Placed:
    node: str


@dataclass(frozen=True)
class Unplaced:
    """Why each node was refused."""

    rejections: Mapping[str, Rejection]

    def message(self, preemption: str | None = None) -> str:
        """What the event and the pod's condition say."""
        if not self.rejections:
            return "no nodes available to schedule pods"
        text = f"{available(len(self.rejections))}{histogram(self.rejections.values())}."
        return f"{text} no new claims to deallocate, preemption: {preemption or self._without_preemption()}"

    def _without_preemption(self) -> str:
        helpless = sum(1 for one in self.rejections.values() if not one.resolvable)
        counts = Counter(
            {
                "Preemption is not helpful for scheduling": helpless,
                "No preemption victims found for incoming pod": len(self.rejections) - helpless,
            }
        )
        return f"{available(len(self.rejections))}{_listed(+counts)}."


def decide(pod: Pod, snapshot: Snapshot, tie: Tie) -> Placed | Unplaced:
    """The best node for the pod."""
    wish = Wish.of(PodInfo.of(pod), snapshot)
    fitting: list[NodeInfo] = []
    rejections: dict[str, Rejection] = {}
    for info in snapshot.nodes():
        rejection = filters.reject(wish, info)
        if rejection is None:
            fitting.append(info)
        else:
            rejections[info.name] = rejection
    if not fitting:
        return Unplaced(rejections)
    if len(fitting) == 1:
        return Placed(fitting[0].name)
    totals = scores.total(wish, fitting, snapshot)
    best = max(totals)
    return Placed(tie([info.name for info, score in zip(fitting, totals, strict=True) if score == best]))


def available(count: int) -> str:
    return f"0/{count} nodes are available: "


def histogram(rejections: Iterable[Rejection]) -> str:
    """`2 Insufficient cpu, 1 node(s) were unschedulable`."""
    return _listed(Counter(reason for one in rejections for reason in one.reasons))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
