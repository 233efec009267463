"""Node-pressure eviction: when memory or disk run out, one pod after the other is ended, the least deserving first.

`shortages` and `victim` are pure and use upstream's signals, ranking and words; `watch` looks at the machine and asks
the victim's worker to end it. The node's conditions (`registration.py`) are computed from the same shortages, and the
node lifecycle controller makes taints of those.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sampan.api.core_v1 import Pod
from sampan.api.pods import is_terminal
from sampan.machinery import quantity
from sampan.node import facts as measuring
from sampan.node.facts import MachineFacts
from sampan.node.node import Node
from sampan.node.status import PodFate
from sampan.node.worker import PodWorker

CHECK_SECONDS = 10.0
SETTLE_SECONDS = 30.0
"""How long one eviction may take to show an effect before the next."""

MEMORY, DISK = "memory.available", "nodefs.available"
RESOURCES = {MEMORY: "memory", DISK: "ephemeral-storage"}
CRITICAL_PRIORITY = 2_000_000_000
"""Pods of the priority classes `system-*` are never evicted."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """One signal below its threshold, in bytes."""

    signal: str
    available: int
    threshold: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that may be evicted, and the memory of each of its containers."""

    pod: Pod
    usage: Mapping[str, int]


def shortages(facts: MachineFacts, thresholds: Mapping[str, str]) -> tuple[Shortage, ...]:
    """What the machine is short of. Thresholds are quantities or percentages, by signal."""
    measured = {
        MEMORY: (facts.memory_available_bytes, facts.memory_bytes),
        DISK: (facts.disk_available_bytes, facts.disk_bytes),
    }
    found = []
    for signal, (available, whole) in measured.items():
        threshold = _bytes(thresholds.get(signal, "0"), whole)
        if available < threshold:
            found.append(Shortage(signal, available, threshold))
    return tuple(found)


def victim(candidates: Iterable[Candidate], signal: str) -> Candidate | None:
    """Who must go first: pods above their request, then those of low priority, then those furthest above it."""
    evictable = [one for one in candidates if one.pod.spec.priority < CRITICAL_PRIORITY and not is_terminal(one.pod)]

    def rank(one: Candidate) -> tuple[bool, int, int]:
        excess = sum(one.usage.values()) - sum(_requests(one.pod, signal).values()) if signal == MEMORY else 0
        return (excess <= 0, one.pod.spec.priority, -excess)

    return min(evictable, key=rank, default=None)


def fate(chosen: Candidate, shortage: Shortage) -> PodFate:
    """The end of an evicted pod in upstream's words."""
    resource = RESOURCES[shortage.signal]
    text = (
        f"The node was low on resource: {resource}. Threshold quantity: {quantity.from_bytes(shortage.threshold)}, "
        f"available: {shortage.available // 1024}Ki. "
    )
    if shortage.signal == MEMORY:
        requests = _requests(chosen.pod, shortage.signal)
        for name, used in chosen.usage.items():
            if used > requests.get(name, 0):
                request = quantity.from_bytes(requests.get(name, 0))
                text += f"Container {name} was using {used // 1024}Ki, request is {request}, has larger consumption of "
                text += f"{resource}. "
    return PodFate(reason="Evicted", message=text)


async def watch(node: Node, workers: Callable[[], Iterable[PodWorker]]) -> None:
    """Look at the machine until cancelled, and evict while it is short of something."""
    while True:
        found = shortages(measuring.read(node.options.root), node.options.eviction_hard)
        evicted = bool(found) and _evict(node, list(workers()), found[0])
        await asyncio.sleep(SETTLE_SECONDS if evicted else CHECK_SECONDS)


def _evict(node: Node, workers: list[PodWorker], shortage: Shortage) -> bool:
    by_uid = {worker.pod.metadata.uid: worker for worker in workers}
    chosen = victim((Candidate(worker.pod, _usage(node, worker)) for worker in workers), shortage.signal)
    if chosen is not None:
        by_uid[chosen.pod.metadata.uid].evict(fate(chosen, shortage))
    return chosen is not None


def _usage(node: Node, worker: PodWorker) -> dict[str, int]:
    running = {name: record.container_id for name, record in worker.records.items() if record.running}
    stats = {name: node.runtime.stats(container) for name, container in running.items()}
    return {name: used.memory_working_set for name, used in stats.items() if used is not None}


def _requests(pod: Pod, signal: str) -> dict[str, int]:
    resource = RESOURCES[signal]
    return {
        one.name: quantity.parse(str(one.resources.requests.get(resource, 0))).value() for one in pod.spec.containers
    }


def _bytes(threshold: str, whole: int) -> int:
    if threshold.endswith("%"):
        return int(whole * float(threshold[:-1]) / 100)
    return quantity.parse(threshold).value()
