"""Group commit: one thread that takes every order waiting, commits them together, and reports back to the loop.

While a commit waits for the disk, the next orders gather; so the more writers there are, the fewer fsyncs each costs.
After a failed commit, the orders that were numbered on top of it are dropped unwritten: `sqlite.py` fails them all and
starts a new generation.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from sampan.store.interface import Event, StoreError
from sampan.store.journal import Journal

# Orders in one transaction: enough to make the fsync's share negligible.
BATCH = 1024


class Order:
    """An event to write, or revisions to forget up to `compacted`; `done` is set when that is on disk."""

    __slots__ = ("compacted", "done", "event", "generation", "superseded")

    def __init__(
        self,
        generation: int,
        done: asyncio.Future[None],
        *,
        event: Event | None = None,
        superseded: Sequence[int] = (),
        compacted: int = 0,
    ) -> None:
        self.generation = generation
        self.done = done
        self.event = event
        self.superseded = superseded
        self.compacted = compacted


Landed = Callable[[int, StoreError | None], None]


class GroupWriter:
    """Runs until `close`. `landed(count, error)` is called on the loop, in order, for each batch."""

    def __init__(self, journal: Journal, loop: asyncio.AbstractEventLoop, landed: Landed) -> None:
        self._journal = journal
        self._loop = loop
        self._landed = landed
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._failed_generation = -1
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, order: Order) -> None:
        self._orders.put(order)

    def close(self) -> None:
        """Blocks until everything put before is written."""
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            batch, running = self._gather()
            batch = [order for order in batch if order.generation > self._failed_generation]
            if batch:
                self._write(batch)

    def _gather(self) -> tuple[list[Order], bool]:
        batch: list[Order] = []
        order = self._orders.get()
        while order is not None:
            batch.append(order)
            if len(batch) == BATCH:
                return batch, True
            try:
                order = self._orders.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _write(self, batch: list[Order]) -> None:
        error: StoreError | None = None
        try:
            self._journal.commit(
                [order.event for order in batch if order.event is not None],
                [revision for order in batch for revision in order.superseded],
                max(order.compacted for order in batch),
            )
        except StoreError as failure:
            error = failure
            self._failed_generation = batch[-1].generation
        self._loop.call_soon_threadsafe(self._landed, len(batch), error)
