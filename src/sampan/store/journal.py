"""The table that `sqlite.py` keeps its writes in, and the few commands it needs.

One row per write, keyed by revision, never updated; a NULL value is a deletion. The newest row of a key is its current
value, older ones are history until a compaction deletes them. Opened for one process alone: a second one is refused
rather than allowed to number writes of its own.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from sampan.store.history import Limits
from sampan.store.interface import Entry, Event, StoreError
from sampan.store.mirror import Mirror, delete_event

# Rows in one statement. Each size is a statement of its own to prepare, hence the cache below.
ROWS = 128

_SETUP = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 16777216;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS writes (
    revision INTEGER PRIMARY KEY,
    created  INTEGER NOT NULL,
    key      TEXT NOT NULL,
    value    BLOB
);
CREATE TABLE IF NOT EXISTS compaction (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO compaction VALUES (1, 0);
COMMIT;
"""


class Journal:
    """The open file. Its methods block; they may be called from any thread, from one at a time."""

    def __init__(self, path: str | os.PathLike[str], busy_timeout: float) -> None:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(
                path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=2 * ROWS
            )
            self._database.executescript(_SETUP)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open the store {os.fspath(path)}: {error}") from error

    def load(self, limits: Limits) -> Mirror:
        """Everything the file holds: what is current, and the history since the last compaction."""
        try:
            ((compacted,),) = self._database.execute("SELECT revision FROM compaction")
            entries = [event.entry for event in self._events("<=", compacted, {})]
            mirror = Mirror(limits, entries=entries, revision=max(compacted, 1), compacted=compacted)
            current = {entry.key: entry for entry in entries}
            for event in self._events(">", compacted, current):
                mirror.apply(event)
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store: {error}") from error
        return mirror

    def _events(self, side: str, revision: int, current: dict[str, Entry]) -> Iterator[Event]:
        rows = self._database.execute(
            f"SELECT revision, created, key, value FROM writes WHERE revision {side} ? ORDER BY revision", (revision,)
        )
        for number, created, key, value in rows:
            previous = current.get(key)
            if value is not None:
                current[key] = Entry(key, value, number, created)
                yield Event("PUT", current[key], previous)
            elif previous is not None:
                del current[key]
                yield delete_event(previous, number)

    def commit(self, events: Sequence[Event], superseded: Sequence[int], compacted: int) -> None:
        """Writes events and, if `compacted` is not 0, a compaction, in one transaction. Raises StoreError."""
        try:
            if len(events) <= ROWS and not compacted:
                self._insert(events)
                return
            self._database.execute("BEGIN IMMEDIATE")
            for start in range(0, len(events), ROWS):
                self._insert(events[start : start + ROWS])
            if compacted:
                self._forget(superseded, compacted)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise StoreError(f"cannot write to the store: {error}") from error

    def _insert(self, events: Sequence[Event]) -> None:
        values: list[int | str | bytes | None] = []
        for event in events:
            entry = event.entry
            values += (entry.revision, entry.create_revision, entry.key, entry.value if event.type == "PUT" else None)
        places = ",".join(["(?,?,?,?)"] * len(events))
        self._database.execute(f"INSERT INTO writes (revision, created, key, value) VALUES {places}", values)

    def _forget(self, superseded: Sequence[int], compacted: int) -> None:
        self._database.execute(
            "DELETE FROM writes WHERE revision IN (SELECT value FROM json_each(?))", (msgspec.json.encode(superseded),)
        )
        self._database.execute("UPDATE compaction SET revision = ?", (compacted,))

    def _roll_back(self) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    def close(self) -> None:
        self._database.close()
