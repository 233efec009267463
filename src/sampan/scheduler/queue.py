"""Whose turn it is: pods waiting for a node, by priority and then by age.

A pod that fits nowhere waits until something changes that could help it. Pods tried before come after those that were
not, so that a crowd that fits nowhere never holds up one that does; when nobody else waits they are tried at once.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.api.core_v1 import Pod

FIRST_ERROR_SECONDS, LAST_ERROR_SECONDS = 1.0, 10.0


@dataclass(order=True)
class _Turn:
    tried: bool
    priority: int
    age: int
    uid: str = field(compare=False)


@dataclass
class _Waiting:
    pod: Pod
    age: int
    attempts: int = 0
    queued: bool = False


class SchedulingQueue:
    """Pods without a node."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._heap: list[_Turn] = []
        self._ages = itertools.count()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def active(self) -> int:
        """How many are due to be tried; the others wait for a change."""
        return sum(waiting.queued for waiting in self._waiting.values())

    def add(self, pod: Pod) -> None:
        """A new pod, or a new version of a waiting one."""
        waiting = self._waiting.get(pod.metadata.uid)
        if waiting is None:
            waiting = self._waiting[pod.metadata.uid] = _Waiting(pod, next(self._ages))
        waiting.pod = pod
        self._queue(waiting)

    def refresh(self, pod: Pod) -> None:
        """A new version that makes no difference to where the pod fits."""
        waiting = self._waiting.get(pod.metadata.uid)
        if waiting is not None:
            waiting.pod = pod

    def remove(self, uid: str) -> None:
        self._waiting.pop(uid, None)

    def retry(self, concerned: Callable[[Pod], bool] = lambda pod: True) -> None:
        """Something changed that may help pods that fitted nowhere."""
        for waiting in self._waiting.values():
            if concerned(waiting.pod):
                self._queue(waiting)

    def retry_later(self, pod: Pod) -> None:
        """Placing the pod failed for a reason that has nothing to do with where it fits."""
        waiting = self._waiting.setdefault(pod.metadata.uid, _Waiting(pod, next(self._ages)))
        waiting.attempts += 1
        delay = min(FIRST_ERROR_SECONDS * 2.0 ** (waiting.attempts - 1), LAST_ERROR_SECONDS)
        asyncio.get_running_loop().call_later(delay, self._again, pod.metadata.uid)

    async def pop(self) -> Pod:
        """The next pod to try. It stays in the queue's care until `remove`."""
        while True:
            while self._heap:
                turn = heapq.heappop(self._heap)
                waiting = self._waiting.get(turn.uid)
                if waiting is not None and waiting.queued:
                    waiting.queued = False
                    waiting.attempts += 1
                    return waiting.pod
            self._filled.clear()
            await self._filled.wait()

    def _again(self, uid: str) -> None:
        waiting = self._waiting.get(uid)
        if waiting is not None:
            self._queue(waiting)

    def _queue(self, waiting: _Waiting) -> None:
        if waiting.queued:
            return
        waiting.queued = True
        pod = waiting.pod
        heapq.heappush(self._heap, _Turn(waiting.attempts > 0, -pod.spec.priority, waiting.age, pod.metadata.uid))
        self._filled.set()
