"""Fan-out of events to watchers, in batches, at a cost that hardly depends on how many there are.

Watchers of one prefix form a group. A write is appended to the pending batch of each group whose prefix its key has;
once per turn of the event loop every group hands that one list to all its watchers. A watcher that does not keep up
is cut off rather than waited for: its backlog is dropped and it learns that it must list again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from sampan.store.interface import Compacted, Event

BACKLOG = 10_000


class QueuedWatch:
    """One watcher: batches wait here until it asks for them."""

    def __init__(self, hub: WatchHub, prefix: str, after: int, initial: Sequence[Event]) -> None:
        self._hub = hub
        self._batches: deque[Sequence[Event]] = deque([initial] if initial else [])
        self._size = len(initial)
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._lagged: Compacted | None = None
        self._seen = after
        self.prefix = prefix

    def __aiter__(self) -> QueuedWatch:
        return self

    async def __anext__(self) -> Sequence[Event]:
        while not self._batches:
            if self._lagged is not None:
                raise self._lagged
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        batch = self._batches.popleft()
        self._size -= len(batch)
        self._seen = batch[-1].entry.revision
        return batch

    def deliver(self, batch: Sequence[Event]) -> None:
        """Called by the hub only."""
        if self._size > BACKLOG:
            self._lagged = Compacted(self._seen, batch[-1].entry.revision)
            self._batches.clear()
            self.close()
            return
        self._batches.append(batch)
        self._size += len(batch)
        self._wake()

    def close(self) -> None:
        self._ended = True
        self._hub.remove(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Group:
    __slots__ = ("pending", "watches")

    def __init__(self) -> None:
        self.watches: dict[QueuedWatch, None] = {}
        self.pending: list[Event] = []


class WatchHub:
    """All watchers of a store, grouped by prefix."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._lengths: list[int] = []
        self._touched: list[_Group] = []

    def add(self, prefix: str, after: int, initial: Sequence[Event]) -> QueuedWatch:
        """Registers a watcher that first gets `initial`, which must hold everything dispatched so far."""
        self.flush()
        watch = QueuedWatch(self, prefix, after, initial)
        if prefix not in self._groups:
            self._groups[prefix] = _Group()
            self._measure()
        self._groups[prefix].watches[watch] = None
        return watch

    def remove(self, watch: QueuedWatch) -> None:
        group = self._groups.get(watch.prefix)
        if group is None:
            return
        group.watches.pop(watch, None)
        if not group.watches:
            del self._groups[watch.prefix]
            self._measure()

    def _measure(self) -> None:
        self._lengths = sorted({len(prefix) for prefix in self._groups})

    def dispatch(self, event: Event) -> None:
        """Queues an event for delivery at the loop's next turn."""
        key = event.entry.key
        for length in self._lengths:
            group = self._groups.get(key[:length])
            if group is None:
                continue
            if not group.pending:
                if not self._touched:
                    asyncio.get_running_loop().call_soon(self.flush)
                self._touched.append(group)
            group.pending.append(event)

    def flush(self) -> None:
        """Delivers what is queued now."""
        touched, self._touched = self._touched, []
        for group in touched:
            batch, group.pending = group.pending, []
            for watch in list(group.watches):
                watch.deliver(batch)

    def close(self) -> None:
        """Delivers what is queued, then ends every watch."""
        self.flush()
        for group in list(self._groups.values()):
            for watch in list(group.watches):
                watch.close()
