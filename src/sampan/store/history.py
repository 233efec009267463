"""The recent past: every event above the compacted revision, bounded in number, bytes and age.

Watches that resume and lists as of a revision are answered from here. Each write has its own revision, so an event's
place is its revision minus the first one's. `mirror.py` records into it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from sampan.store.interface import Compacted, Event, FutureRevision


@dataclass(frozen=True, slots=True)
class Limits:
    """How much history to keep; whichever bound is met first compacts."""

    events: int = 20_000
    size: int = 32 << 20
    age: float = 600.0


class History:
    """Events in revision order. `compacted` is the newest revision that can no longer be told from its successors."""

    def __init__(self, limits: Limits, *, revision: int = 1, compacted: int = 0) -> None:
        self._limits = limits
        self._base = max(revision, compacted)
        self._events: list[Event] = []
        self._size = 0
        self._marks: deque[tuple[float, int]] = deque()
        self.revision = self._base
        self.compacted = compacted

    def append(self, event: Event) -> None:
        self._events.append(event)
        self._size += len(event.entry.value)
        self.revision = event.entry.revision
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] > 1.0:
            self._marks.append((now, self.revision))

    def since(self, after: int) -> list[Event]:
        """All events above `after`, oldest first. Raises Compacted, FutureRevision."""
        if after < self.compacted:
            raise Compacted(after, self.compacted)
        if after > self.revision:
            raise FutureRevision(after, self.revision)
        return self._events[max(after - self._base, 0) :]

    def due(self) -> int:
        """The revision to compact to for the limits to hold, or 0. Leaves slack, so that it is seldom due."""
        count = len(self._events)
        if count > self._limits.events or self._size > self._limits.size:
            return self._events[count // 4].entry.revision
        horizon = time.monotonic() - self._limits.age
        if self._marks and self._marks[0][0] < horizon - self._limits.age / 4:
            return self._newest_before(horizon)
        return 0

    def _newest_before(self, horizon: float) -> int:
        target = 0
        for marked, revision in self._marks:
            if marked > horizon:
                break
            target = revision
        return target if target > self.compacted else 0

    def compact(self, revision: int) -> list[Event]:
        """Forgets the events up to `revision` and returns them. Raises FutureRevision."""
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision <= self.compacted:
            return []
        dropped = self._events[: max(revision - self._base, 0)]
        del self._events[: len(dropped)]
        self._size -= sum(len(event.entry.value) for event in dropped)
        self._base += len(dropped)
        self.compacted = revision
        while self._marks and self._marks[0][1] <= revision:
            self._marks.popleft()
        return dropped
