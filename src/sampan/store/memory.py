"""The store that forgets: everything in this process's memory, for tests and throw-away clusters.

A write is visible the moment it is made, so none of the methods ever waits.
"""

from __future__ import annotations

from sampan.store.history import Limits
from sampan.store.interface import Entry, Event, Page, Watch
from sampan.store.mirror import Mirror, check_create, check_swap, delete_event, put_event


class MemoryStore:
    """See interface.Store."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._mirror = Mirror(limits or Limits())
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

    async def create(self, key: str, value: bytes) -> Entry:
        check_create(self._mirror.peek(key))
        return self._commit(put_event(key, value, self._mirror.revision + 1, None))

    async def update(self, key: str, value: bytes, expected: int) -> Entry:
        current = check_swap(key, self._mirror.peek(key), expected)
        return self._commit(put_event(key, value, self._mirror.revision + 1, current))

    async def delete(self, key: str, expected: int | None = None) -> Entry:
        current = check_swap(key, self._mirror.peek(key), expected)
        return self._commit(delete_event(current, self._mirror.revision + 1))

    def _commit(self, event: Event) -> Entry:
        self._mirror.apply(event)
        history = self._mirror.history
        if target := history.due():
            history.compact(target)
        return event.entry

    def watch(self, prefix: str, after: int) -> Watch:
        return self._mirror.watch(prefix, after)

    async def compact(self, revision: int) -> None:
        self._mirror.history.compact(revision)

    async def close(self) -> None:
        self._mirror.close()
