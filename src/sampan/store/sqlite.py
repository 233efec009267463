"""The store that keeps its word: SQLite on disk, an acknowledged write survives any crash.

Reads are answered from a mirror in memory. A write is checked against the newest write of its key, numbered at once
and handed to the writer thread (`writer.py`), which commits all that are waiting in one transaction (`journal.py`:
WAL, synchronous=FULL). Only when it is on disk does it become visible and return. A refusal that rests on a write
still on its way waits for that write, so that no client is told about something a crash could undo.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sampan.store.history import Limits
from sampan.store.interface import Entry, Event, Page, StoreError, Watch
from sampan.store.journal import Journal
from sampan.store.mirror import check_create, check_swap, delete_event, put_event
from sampan.store.writer import GroupWriter, Order

T = TypeVar("T")


class SQLiteStore:
    """See interface.Store. Opens the file for this process alone.

    Raises StoreError if it cannot; another process that is ending is given `busy_timeout` seconds to let go.
    """

    def __init__(
        self, path: str | os.PathLike[str], limits: Limits | None = None, *, busy_timeout: float = 2.0
    ) -> None:
        self._journal = Journal(path, busy_timeout)
        self._mirror = self._journal.load(limits or Limits())
        self._assigned = self._mirror.revision
        self._newest: dict[str, Order] = {}
        self._flying: deque[Order] = deque()
        self._generation = 0
        self._writer: GroupWriter | None = None
        self._closed = False
        self.peek = self._mirror.peek
        self.scan = self._mirror.scan
        self.since = self._mirror.since

    @property
    def revision(self) -> int:
        return self._mirror.revision

    async def get(self, key: str) -> Entry | None:
        return self._mirror.peek(key)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        return self._mirror.page(prefix, after, limit, revision)

    def watch(self, prefix: str, after: int) -> Watch:
        return self._mirror.watch(prefix, after)

    async def create(self, key: str, value: bytes) -> Entry:
        await self._checked(key, check_create)
        return await self._write(put_event(key, value, self._assigned + 1, None))

    async def update(self, key: str, value: bytes, expected: int) -> Entry:
        current = await self._checked(key, partial(check_swap, key, expected=expected))
        return await self._write(put_event(key, value, self._assigned + 1, current))

    async def delete(self, key: str, expected: int | None = None) -> Entry:
        current = await self._checked(key, partial(check_swap, key, expected=expected))
        return await self._write(delete_event(current, self._assigned + 1))

    async def _checked(self, key: str, check: Callable[[Entry | None], T]) -> T:
        while True:
            order = self._newest.get(key)
            try:
                return check(_outcome(order.event) if order else self._mirror.peek(key))
            except StoreError:
                if order is None:
                    raise
            await asyncio.wait([order.done])

    async def _write(self, event: Event) -> Entry:
        order = self._put(event=event)
        self._assigned = event.entry.revision
        self._newest[event.entry.key] = order
        await asyncio.shield(order.done)
        return event.entry

    def _put(self, *, event: Event | None = None, superseded: Sequence[int] = (), compacted: int = 0) -> Order:
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        if self._writer is None:
            self._writer = GroupWriter(self._journal, loop, self._landed)
        order = Order(self._generation, loop.create_future(), event=event, superseded=superseded, compacted=compacted)
        self._flying.append(order)
        self._writer.put(order)
        return order

    def _landed(self, count: int, error: StoreError | None) -> None:
        if error is not None:
            self._fail(error)
            return
        for _ in range(count):
            order = self._flying.popleft()
            if order.event is not None:
                self._mirror.apply(order.event)
                if self._newest[order.event.entry.key] is order:
                    del self._newest[order.event.entry.key]
            order.done.set_result(None)
        if (target := self._mirror.history.due()) and not self._closed:
            self._forget(target)

    def _fail(self, error: StoreError) -> None:
        """Every write on its way was numbered on top of the one that failed: all fail, none has been visible."""
        failed, self._flying = self._flying, deque()
        self._newest.clear()
        self._assigned = self._mirror.revision
        self._generation += 1
        for order in failed:
            order.done.set_exception(error)
            order.done.exception()

    def _forget(self, revision: int) -> Order:
        dropped = self._mirror.history.compact(revision)
        superseded = [event.previous.revision for event in dropped if event.previous is not None]
        superseded += [event.revision for event in dropped if event.type == "DELETE"]
        return self._put(superseded=superseded, compacted=self._mirror.history.compacted)

    async def compact(self, revision: int) -> None:
        order = self._forget(revision)
        await asyncio.shield(order.done)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
            while self._flying:
                await asyncio.wait([self._flying[-1].done])
        self._mirror.close()
        self._journal.close()


def _outcome(event: Event | None) -> Entry | None:
    """The entry of a key once the event has happened."""
    return None if event is None or event.type == "DELETE" else event.entry
