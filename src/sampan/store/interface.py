"""What every store promises: versioned keys with compare-and-swap, consistent lists and ordered watches.

The API server keeps each object as the JSON bytes that clients will read. One counter numbers all writes; a write's
number, its *revision*, is what clients see as `resourceVersion`, so a store fills it into the bytes itself
(`stamp.py`). A write that has returned is as durable as the store ever makes it, and visible to every later read.

A store belongs to one event loop: its methods may be called from that loop's thread only. `memory.py` and `sqlite.py`
implement this interface; `open.py` picks one by URL; the tests hold all of them to one conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key's value at one revision; `value` carries `revision` as its resourceVersion."""

    key: str
    value: bytes
    revision: int
    create_revision: int


class Event(msgspec.Struct, frozen=True):
    """One write. For a DELETE, `entry` is the last value, stamped with the revision of the deletion."""

    type: Literal["PUT", "DELETE"]
    entry: Entry
    previous: Entry | None

    @property
    def revision(self) -> int:
        return self.entry.revision


class Page(msgspec.Struct, frozen=True):
    """A slice of a list in key order, as of `revision`; `remaining` entries follow the last one."""

    entries: list[Entry]
    revision: int
    remaining: int


class StoreError(Exception):
    """Root of the store's errors; raised itself when the storage beneath cannot be read or written."""


class KeyExists(StoreError):
    """A create found the key in use by `current`."""

    def __init__(self, current: Entry) -> None:
        super().__init__(f"{current.key} exists at revision {current.revision}")
        self.current = current


class KeyMissing(StoreError):
    """An update or delete found no such key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} does not exist")
        self.key = key


class RevisionMismatch(StoreError):
    """A compare-and-swap lost: the key is at `current`, not at the expected revision."""

    def __init__(self, current: Entry, expected: int) -> None:
        super().__init__(f"{current.key} is at revision {current.revision}, not {expected}")
        self.current = current
        self.expected = expected


class Compacted(StoreError):
    """The history asked for is gone (or a watcher fell too far behind): list again and start from there."""

    def __init__(self, requested: int, compacted: int) -> None:
        super().__init__(f"revision {requested} is too old: history up to {compacted} is compacted")
        self.requested = requested
        self.compacted = compacted


class FutureRevision(StoreError):
    """A list or watch asked for a revision that has not happened."""

    def __init__(self, requested: int, current: int) -> None:
        super().__init__(f"revision {requested} is in the future: the store is at {current}")
        self.requested = requested
        self.current = current


class Watch(Protocol):
    """Batches of events in revision order, each event once, none missing; ends when closed or when the store is.

    A batch may be shared with other watchers and must not be changed. Iteration raises Compacted once this watcher
    has fallen so far behind that the store stopped keeping events for it.
    """

    def __aiter__(self) -> Watch: ...

    async def __anext__(self) -> Sequence[Event]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Versioned keys. All keys share one revision counter, which starts at 1 for an empty store."""

    @property
    def revision(self) -> int:
        """The revision of the newest visible write."""
        ...

    def peek(self, key: str) -> Entry | None:
        """The key's current entry, without awaiting."""
        ...

    def scan(self, prefix: str) -> list[Entry]:
        """All current entries below a prefix in key order, without awaiting."""
        ...

    async def get(self, key: str) -> Entry | None: ...

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries below `prefix` whose keys sort after `after`; `limit` 0 means all, `revision` 0 means now.

        Raises Compacted or FutureRevision when the store cannot answer as of `revision`.
        """
        ...

    async def create(self, key: str, value: bytes) -> Entry:
        """Raises KeyExists."""
        ...

    async def update(self, key: str, value: bytes, expected: int) -> Entry:
        """Replaces the value if the key is still at revision `expected`. Raises RevisionMismatch, KeyMissing."""
        ...

    async def delete(self, key: str, expected: int | None = None) -> Entry:
        """Deletes the key, if `expected` is given only at that revision; returns the deletion event's entry.

        Raises RevisionMismatch, KeyMissing.
        """
        ...

    def since(self, prefix: str, after: int) -> Sequence[Event]:
        """The visible events below `prefix` above revision `after`, without awaiting. Raises as `watch` does."""
        ...

    def watch(self, prefix: str, after: int) -> Watch:
        """Every event below `prefix` with a revision above `after`. Raises Compacted, FutureRevision."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets history up to and including `revision`; what is current stays."""
        ...

    async def close(self) -> None:
        """Ends every watch and releases the storage."""
        ...
