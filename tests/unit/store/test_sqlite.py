"""What only the durable store promises: it survives being killed, reopens where it was, and fails without lying."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.store.history import Limits
from sampan.store.interface import Compacted, StoreError
from sampan.store.sqlite import SQLiteStore

SLOT = b'{"metadata":{"resourceVersion":""}}'

# Writes as fast as it can and prints each acknowledgement; `/shared` is rewritten all the time, `/n/…` are new keys.
WRITER = """
import asyncio, os, sys
from sampan.store.sqlite import SQLiteStore
from sampan.store.history import Limits

async def main():
    store = SQLiteStore(sys.argv[1], Limits(events=200))
    start = store.revision
    shared = store.peek("/shared") or await store.create("/shared", b"")

    async def work(worker):
        number = 0
        while True:
            entry = await store.create(f"/n/{start}-{worker}-{number}", b'{"resourceVersion":""}')
            os.write(1, f"{entry.revision} {entry.key}\\n".encode())
            number += 1

    async def rewrite(current):
        while True:
            current = await store.update("/shared", b'{"resourceVersion":""}', current.revision)
            os.write(1, f"{current.revision} {current.key}\\n".encode())

    await asyncio.gather(rewrite(shared), *(work(worker) for worker in range(8)))

asyncio.run(main())
"""


def killed_writer(path: Path, acknowledgements: int) -> list[tuple[int, str]]:
    """Runs a writer, kills it with SIGKILL after so many acknowledgements, and returns all that it gave."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledgements)]
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    return [(int(revision), key) for revision, key in acknowledged]


def test_kill_in_the_middle_of_writes_loses_nothing_acknowledged_and_no_revision(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    newest: dict[str, int] = {}
    highest = 0
    for acknowledgements in (1, 40, 700, 333):
        acknowledged = killed_writer(path, acknowledgements)
        assert min(revision for revision, _ in acknowledged) > highest
        for revision, key in acknowledged:
            newest[key] = max(revision, newest.get(key, 0))
            highest = max(highest, revision)
        store = SQLiteStore(path)
        assert store.revision >= highest
        highest = store.revision
        for key, revision in newest.items():
            entry = store.peek(key)
            assert entry is not None
            assert entry.revision >= revision
            assert entry.value == b'{"resourceVersion":"%d"}' % entry.revision
        asyncio.run(store.close())


def test_reopening_keeps_entries_revision_and_recent_history(tmp_path: Path) -> None:
    async def write() -> list[object]:
        store = SQLiteStore(tmp_path / "s")
        await store.create("/a", SLOT)
        await store.create("/b", SLOT)
        await store.compact(3)
        await store.update("/a", SLOT, 2)
        await store.delete("/b")
        events = list(await anext(aiter(store.watch("/", 3))))
        await store.close()
        return events

    async def read(events: list[object]) -> None:
        store = SQLiteStore(tmp_path / "s")
        assert store.revision == 5
        assert [(entry.key, entry.revision, entry.create_revision) for entry in store.scan("")] == [("/a", 4, 2)]
        assert list(await anext(aiter(store.watch("/", 3)))) == events
        with pytest.raises(Compacted):
            store.watch("/", 2)
        await store.close()

    asyncio.run(read(asyncio.run(write())))


def test_the_revision_does_not_go_back_when_all_is_deleted_and_compacted(tmp_path: Path) -> None:
    async def write() -> None:
        store = SQLiteStore(tmp_path / "s")
        await store.create("/a", SLOT)
        await store.delete("/a")
        await store.compact(3)
        await store.close()

    asyncio.run(write())
    store = SQLiteStore(tmp_path / "s")
    assert store.revision == 3
    asyncio.run(store.close())


def test_compaction_keeps_the_file_small(tmp_path: Path) -> None:
    async def write() -> None:
        store = SQLiteStore(tmp_path / "s", Limits(events=100))
        revision = (await store.create("/a", SLOT)).revision
        for _ in range(1000):
            revision = (await store.update("/a", SLOT, revision)).revision
        await store.close()

    asyncio.run(write())
    with sqlite3.connect(tmp_path / "s") as database:
        ((rows,),) = database.execute("SELECT count(*) FROM writes")
    assert rows <= 101


def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s")
    with pytest.raises(StoreError, match="locked"):
        SQLiteStore(tmp_path / "s", busy_timeout=0.01)
    asyncio.run(store.close())


@pytest.mark.parametrize("content", [b"this is not a database, and long enough to be looked at " * 50])
def test_a_file_that_is_no_store_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(StoreError, match=str(tmp_path / "s")):
        SQLiteStore(tmp_path / "s")


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        SQLiteStore(tmp_path / "none" / "s")


def test_when_the_disk_fails_writes_fail_and_nothing_becomes_visible_until_it_recovers(tmp_path: Path) -> None:
    async def body() -> None:
        store = SQLiteStore(tmp_path / "s")
        await store.create("/a", SLOT)
        watch = store.watch("/", store.revision)
        database = store._journal._database
        database.execute("PRAGMA query_only = ON")
        results = await asyncio.gather(*(store.create(f"/{n}", SLOT) for n in range(20)), return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results)
        assert [entry.key for entry in store.scan("")] == ["/a"]
        assert store.revision == 2
        database.execute("PRAGMA query_only = OFF")
        entry = await store.create("/5", SLOT)
        assert entry.revision == 3
        assert [event.entry.key for event in await anext(aiter(watch))] == ["/5"]
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.create("/6", SLOT)

    asyncio.run(body())
