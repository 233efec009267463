"""Any sequence of operations leaves every store as a dictionary and a list of events would be."""

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sampan.store.interface import Compacted, KeyExists, KeyMissing, RevisionMismatch, Store
from sampan.store.memory import MemoryStore
from sampan.store.sqlite import SQLiteStore

T = TypeVar("T")
KEYS = st.sampled_from(["/a/1", "/a/2", "/a/10", "/ab/1", "/b/1"])
PREFIXES = st.sampled_from(["", "/", "/a", "/a/", "/b/", "/c/"])
Write = tuple[str, str, int]


class StoreMachine(RuleBasedStateMachine):
    """The model: `now` maps keys to revisions, `writes` is every write, `compacted` the oldest answerable revision."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now: dict[str, int] = {}
        self.writes: list[Write] = []
        self.states: list[dict[str, int]] = [{}]
        self.compacted = 0

    def open(self) -> Store:
        return MemoryStore()

    @initialize()
    def start(self) -> None:
        self.store = self.open()

    def do(self, awaitable: Awaitable[T]) -> T:
        async def wrapped() -> T:
            return await awaitable

        return self.loop.run_until_complete(wrapped())

    @property
    def revision(self) -> int:
        return 1 + len(self.writes)

    def record(self, type: str, key: str) -> None:
        self.writes.append((type, key, self.revision + 1))
        self.now = {**self.now, key: self.revision}
        if type == "DELETE":
            del self.now[key]
        self.states.append(self.now)

    @rule(key=KEYS)
    def create(self, key: str) -> None:
        if key in self.now:
            with pytest.raises(KeyExists):
                self.do(self.store.create(key, b""))
        else:
            self.record("PUT", key)
            assert self.do(self.store.create(key, b"")).revision == self.revision

    @rule(key=KEYS, stale=st.integers(0, 1))
    def update(self, key: str, stale: int) -> None:
        expected = self.now.get(key, 1) - stale
        if key not in self.now or stale:
            with pytest.raises(RevisionMismatch if key in self.now else KeyMissing):
                self.do(self.store.update(key, b"", expected))
        else:
            self.record("PUT", key)
            assert self.do(self.store.update(key, b"", expected)).revision == self.revision

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key not in self.now:
            with pytest.raises(KeyMissing):
                self.do(self.store.delete(key))
        else:
            self.record("DELETE", key)
            assert self.do(self.store.delete(key)).revision == self.revision

    @rule(back=st.integers(0, 5))
    def compact(self, back: int) -> None:
        target = max(self.revision - back, 1)
        self.do(self.store.compact(target))
        self.compacted = max(self.compacted, target)

    @rule(prefix=PREFIXES, back=st.integers(0, 8), limit=st.integers(0, 2))
    def list_as_of(self, prefix: str, back: int, limit: int) -> None:
        revision = max(self.revision - back, 1)
        if revision < self.compacted:
            with pytest.raises(Compacted):
                self.do(self.store.list(prefix, revision=revision))
            return
        expected = sorted((k, r) for k, r in self.states[revision - 1].items() if k.startswith(prefix))
        seen: list[tuple[str, int]] = []
        after, remaining = "", 1
        while remaining:
            page = self.do(self.store.list(prefix, after=after, limit=limit, revision=revision))
            seen += [(entry.key, entry.revision) for entry in page.entries]
            remaining, after = page.remaining, page.entries[-1].key if page.entries else ""
            assert remaining == len(expected) - len(seen)
        assert seen == expected

    @rule(prefix=PREFIXES, back=st.integers(0, 8))
    def watch_from(self, prefix: str, back: int) -> None:
        revision = max(self.revision - back, 1)
        if revision < self.compacted:
            with pytest.raises(Compacted):
                self.store.watch(prefix, revision)
            return
        expected = [write for write in self.writes if write[2] > revision and write[1].startswith(prefix)]
        watch = self.store.watch(prefix, revision)
        seen: list[Any] = []
        while len(seen) < len(expected):
            seen += [(e.type, e.entry.key, e.revision) for e in self.do(anext(aiter(watch)))]
        watch.close()
        assert seen == expected

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def shows_the_newest_state(self) -> None:
        assert self.store.revision == self.revision
        assert {entry.key: entry.revision for entry in self.store.scan("")} == self.now

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.do(self.store.close())
        self.loop.close()


class DurableStoreMachine(StoreMachine):
    """The same for SQLite, which may also be closed and opened again at any point without a difference."""

    def open(self) -> Store:
        self.directory = tempfile.TemporaryDirectory()
        return SQLiteStore(Path(self.directory.name, "store.sqlite"))

    @rule()
    def reopen(self) -> None:
        self.do(self.store.close())
        self.store = SQLiteStore(Path(self.directory.name, "store.sqlite"))

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            self.directory.cleanup()


TestMemoryStore = StoreMachine.TestCase
TestMemoryStore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSQLiteStore = DurableStoreMachine.TestCase
TestSQLiteStore.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
