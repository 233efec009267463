"""The visible state of a store, held in memory: current entries, recent history, watchers.

Both stores read from here and nowhere else; they differ in what must have happened before `apply` makes a write
visible. Reads never wait and never see half of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from sampan.store.history import History, Limits
from sampan.store.interface import Entry, Event, KeyExists, KeyMissing, Page, RevisionMismatch
from sampan.store.sortedkeys import SortedKeys
from sampan.store.stamp import restamp, stamp
from sampan.store.watches import QueuedWatch, WatchHub


def put_event(key: str, value: bytes, revision: int, previous: Entry | None) -> Event:
    """The event of a create (no previous entry) or an update."""
    create_revision = previous.create_revision if previous is not None else revision
    return Event("PUT", Entry(key, stamp(value, revision), revision, create_revision), previous)


def delete_event(previous: Entry, revision: int) -> Event:
    """The event of a deletion: the last value under the deletion's revision."""
    value = restamp(previous.value, previous.revision, revision)
    return Event("DELETE", Entry(previous.key, value, revision, previous.create_revision), previous)


def check_create(current: Entry | None) -> None:
    """Raises KeyExists unless the key is free."""
    if current is not None:
        raise KeyExists(current)


def check_swap(key: str, current: Entry | None, expected: int | None) -> Entry:
    """The entry to replace or delete. Raises KeyMissing, RevisionMismatch."""
    if current is None:
        raise KeyMissing(key)
    if expected is not None and current.revision != expected:
        raise RevisionMismatch(current, expected)
    return current


class Mirror:
    """Entries by key and in order, history, watchers."""

    def __init__(self, limits: Limits, *, entries: Iterable[Entry] = (), revision: int = 1, compacted: int = 0) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self._keys = SortedKeys(self._entries)
        self._hub = WatchHub()
        self.history = History(limits, revision=revision, compacted=compacted)

    @property
    def revision(self) -> int:
        return self.history.revision

    def peek(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def scan(self, prefix: str) -> list[Entry]:
        return list(map(self._entries.__getitem__, self._keys.below(prefix)))

    def apply(self, event: Event) -> None:
        """Makes a write visible. Events must come in revision order, without gaps."""
        entry = event.entry
        if event.type == "DELETE":
            del self._entries[entry.key]
            self._keys.remove(entry.key)
        else:
            if event.previous is None:
                self._keys.add(entry.key)
            self._entries[entry.key] = entry
        self.history.append(event)
        self._hub.dispatch(event)

    def page(self, prefix: str, after: str, limit: int, revision: int) -> Page:
        """As Store.list."""
        if revision and revision != self.revision:
            return _cut(self._as_of(prefix, after, revision), limit, revision)
        keys = self._keys.below(prefix, after)
        chosen = islice(keys, limit) if limit else keys
        entries = list(map(self._entries.__getitem__, chosen))
        return Page(entries, self.revision, len(keys) - len(entries))

    def _as_of(self, prefix: str, after: str, revision: int) -> list[Entry]:
        undone: dict[str, Entry | None] = {}
        for event in reversed(self.history.since(revision)):
            if event.entry.key.startswith(prefix):
                undone[event.entry.key] = event.previous
        then = {key: self._entries[key] for key in self._keys.below(prefix) if key not in undone}
        then.update((key, entry) for key, entry in undone.items() if entry is not None)
        return [then[key] for key in sorted(then) if key > after]

    def watch(self, prefix: str, after: int) -> QueuedWatch:
        """As Store.watch."""
        return self._hub.add(prefix, after, self.since(prefix, after))

    def since(self, prefix: str, after: int) -> list[Event]:
        """As Store.since."""
        return [event for event in self.history.since(after) if event.entry.key.startswith(prefix)]

    def close(self) -> None:
        self._hub.close()


def _cut(entries: Sequence[Entry], limit: int, revision: int) -> Page:
    chosen = list(entries[:limit] if limit else entries)
    return Page(chosen, revision, len(entries) - len(chosen))
