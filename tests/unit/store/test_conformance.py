"""What every store must do; each test runs against all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sampan.store.history import Limits
from sampan.store.interface import (
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    KeyMissing,
    RevisionMismatch,
    Store,
    StoreError,
    Watch,
)

OpenStore = Callable[..., Any]
SLOT = b'{"metadata":{"resourceVersion":""},"n":%d}'


def stamped(revision: int, n: int = 0) -> bytes:
    return b'{"metadata":{"resourceVersion":"%d"},"n":%d}' % (revision, n)


async def take(watch: Watch, count: int) -> list[Event]:
    """The next `count` events, however they are batched."""
    events: list[Event] = []
    async with asyncio.timeout(5):
        while len(events) < count:
            events += await anext(aiter(watch))
    assert len(events) == count
    return events


def brief(events: list[Event]) -> list[tuple[str, str, int]]:
    return [(event.type, event.entry.key, event.revision) for event in events]


def run(open_store: OpenStore, body: Callable[[Store], Awaitable[None]], limits: Limits | None = None) -> None:
    async def main() -> None:
        async with open_store(limits) as store:
            await body(store)

    asyncio.run(main())


def test_an_empty_store_is_at_revision_one_and_each_write_adds_one(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        assert store.revision == 1
        created = await store.create("/a", SLOT % 0)
        updated = await store.update("/a", SLOT % 1, created.revision)
        deleted = await store.delete("/a")
        assert [created.revision, updated.revision, deleted.revision] == [2, 3, 4]
        assert [created.create_revision, updated.create_revision, deleted.create_revision] == [2, 2, 2]
        assert store.revision == 4

    run(open_store, body)


def test_values_carry_their_revision(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        created = await store.create("/a", SLOT % 7)
        assert created.value == stamped(2, 7)
        updated = await store.update("/a", SLOT % 8, 2)
        assert updated.value == stamped(3, 8)
        assert await store.get("/a") == updated
        deleted = await store.delete("/a")
        assert deleted.value == stamped(4, 8)

    run(open_store, body)


def test_a_write_is_visible_to_every_read_once_it_has_returned(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        entry = await store.create("/a/1", SLOT % 0)
        assert store.peek("/a/1") == await store.get("/a/1") == entry
        assert store.scan("/a/") == (await store.list("/a/")).entries == [entry]
        await store.delete("/a/1")
        assert store.peek("/a/1") is None
        assert await store.get("/a/1") is None
        assert store.scan("/a/") == (await store.list("/a/")).entries == []

    run(open_store, body)


def test_compare_and_swap_refuses_what_does_not_fit_and_changes_nothing(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        entry = await store.create("/a", SLOT % 0)
        with pytest.raises(KeyExists) as exists:
            await store.create("/a", SLOT % 1)
        assert exists.value.current == entry
        with pytest.raises(RevisionMismatch) as mismatch:
            await store.update("/a", SLOT % 1, entry.revision + 1)
        assert mismatch.value.current == entry
        with pytest.raises(RevisionMismatch):
            await store.delete("/a", entry.revision - 1)
        with pytest.raises(KeyMissing):
            await store.update("/b", SLOT % 1, 1)
        with pytest.raises(KeyMissing):
            await store.delete("/b")
        assert store.revision == entry.revision
        assert store.scan("") == [entry]

    run(open_store, body)


def test_a_key_may_be_created_again_after_deletion(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        await store.create("/a", SLOT % 0)
        await store.delete("/a", 2)
        again = await store.create("/a", SLOT % 1)
        assert (again.revision, again.create_revision) == (4, 4)

    run(open_store, body)


def test_lists_are_sorted_limited_and_continued_after_a_key(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        for name in ("c", "a", "e", "b", "d"):
            await store.create(f"/pods/{name}", SLOT % 0)
        await store.create("/podsets/x", SLOT % 0)
        first = await store.list("/pods/", limit=2)
        assert [entry.key for entry in first.entries] == ["/pods/a", "/pods/b"]
        assert (first.remaining, first.revision) == (3, 7)
        second = await store.list("/pods/", after="/pods/b", limit=2)
        assert [entry.key for entry in second.entries] == ["/pods/c", "/pods/d"]
        last = await store.list("/pods/", after="/pods/d", limit=2)
        assert [entry.key for entry in last.entries] == ["/pods/e"]
        assert last.remaining == 0

    run(open_store, body)


def test_a_list_continues_as_of_the_revision_it_began_at(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        for name in "abcd":
            await store.create(f"/pods/{name}", SLOT % 0)
        then = await store.list("/pods/", limit=1)
        await store.delete("/pods/b")
        await store.update("/pods/c", SLOT % 9, 4)
        await store.create("/pods/bb", SLOT % 0)
        page = await store.list("/pods/", after="/pods/a", limit=2, revision=then.revision)
        assert [(entry.key, entry.value) for entry in page.entries] == [
            ("/pods/b", stamped(3)),
            ("/pods/c", stamped(4)),
        ]
        assert (page.remaining, page.revision) == (1, then.revision)
        with pytest.raises(FutureRevision):
            await store.list("/pods/", revision=store.revision + 1)

    run(open_store, body)


def test_a_watch_sends_everything_after_its_revision_once_and_in_order(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        await store.create("/pods/a", SLOT % 0)
        await store.create("/pods/b", SLOT % 0)
        watch = store.watch("/pods/", 2)
        await store.create("/nodes/n", SLOT % 0)
        await store.update("/pods/a", SLOT % 1, 2)
        await store.delete("/pods/b")
        events = await take(watch, 3)
        assert brief(events) == [("PUT", "/pods/b", 3), ("PUT", "/pods/a", 5), ("DELETE", "/pods/b", 6)]
        assert [event.entry.value for event in events] == [stamped(3), stamped(5, 1), stamped(6)]
        assert [event.previous and event.previous.revision for event in events] == [None, 2, 3]

    run(open_store, body)


def test_watchers_of_overlapping_prefixes_each_see_their_events(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        prefixes = {"": 3, "/pods/": 2, "/pods/one/": 1, "/pods/one/a": 1, "/none/": 0}
        watches = {prefix: [store.watch(prefix, 1) for _ in range(3)] for prefix in prefixes}
        await store.create("/pods/one/a", SLOT % 0)
        await store.create("/pods/two/a", SLOT % 0)
        await store.create("/nodes/n", SLOT % 0)
        for prefix, count in prefixes.items():
            for watch in watches[prefix]:
                assert len(await take(watch, count)) == count

    run(open_store, body)


def test_a_watch_waits_for_the_future_and_ends_when_closed(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        watch, other = store.watch("/", 1), store.watch("/", 1)
        waiting = asyncio.create_task(take(watch, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        await store.create("/a", SLOT % 0)
        assert brief(await waiting) == [("PUT", "/a", 2)]
        watch.close()
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(watch))
        await take(other, 1)
        ending = asyncio.create_task(anext(aiter(other)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises((StopAsyncIteration, RuntimeError)):
            await ending

    run(open_store, body)


def test_compacted_history_is_too_old_and_what_is_current_stays(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        for number in range(4):
            await store.create(f"/{number}", SLOT % 0)
        await store.delete("/0")
        await store.compact(4)
        assert [entry.key for entry in store.scan("")] == ["/1", "/2", "/3"]
        for too_old in (1, 3):
            with pytest.raises(Compacted):
                store.watch("/", too_old)
            with pytest.raises(Compacted):
                await store.list("/", revision=too_old)
        assert [entry.key for entry in (await store.list("/", revision=4)).entries] == ["/0", "/1", "/2"]
        assert brief(await take(store.watch("/", 4), 2)) == [("PUT", "/3", 5), ("DELETE", "/0", 6)]
        with pytest.raises(FutureRevision):
            await store.compact(store.revision + 1)

    run(open_store, body)


@pytest.mark.parametrize("limits", [Limits(events=20), Limits(size=20 * len(SLOT))], ids=["events", "size"])
def test_history_is_bounded_by_the_limits(open_store: OpenStore, limits: Limits) -> None:
    async def body(store: Store) -> None:
        await store.create("/a", SLOT % 0)
        for revision in range(2, 60):
            await store.update("/a", SLOT % 0, revision)
        with pytest.raises(Compacted):
            store.watch("/", 2)
        recent = store.revision - 5
        assert len(await take(store.watch("/", recent), 5)) == 5

    run(open_store, body, limits)


def test_a_watcher_that_falls_behind_is_told_to_list_again(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(store: Store) -> None:
        slow, fast = store.watch("/", 1), store.watch("/", 1)
        for number in range(30):
            await store.create(f"/{number:02}", SLOT % 0)
            assert len(await take(fast, 1)) == 1
        with pytest.raises(Compacted):
            await take(slow, 30)

    monkeypatch.setattr("sampan.store.watches.BACKLOG", 10)
    run(open_store, body)


def test_of_concurrent_writers_exactly_one_wins_each_swap(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        await store.create("/counter", SLOT % 0)

        async def increment(times: int) -> None:
            for _ in range(times):
                while True:
                    current = store.peek("/counter")
                    assert current is not None
                    number = int(current.value.split(b'"n":')[1][:-1])
                    try:
                        await store.update("/counter", SLOT % (number + 1), current.revision)
                        break
                    except RevisionMismatch:
                        await asyncio.sleep(0)

        watch = store.watch("/", store.revision)
        await asyncio.gather(*(increment(10) for _ in range(8)))
        final = store.peek("/counter")
        assert final is not None
        assert final.value == stamped(82, 80)
        revisions = [event.revision for event in await take(watch, 80)]
        assert revisions == list(range(3, 83))

    run(open_store, body)


def test_of_concurrent_creates_of_one_key_one_succeeds(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        results = await asyncio.gather(*(store.create("/a", SLOT % n) for n in range(10)), return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert sum(isinstance(result, KeyExists) for result in results) == 9
        assert store.revision == 2

    run(open_store, body)


def test_a_refusal_never_precedes_the_write_it_rests_on(open_store: OpenStore) -> None:
    """A client that is told 'already exists' finds the object when it looks."""

    async def body(store: Store) -> None:
        first = asyncio.create_task(store.create("/a", SLOT % 0))
        await asyncio.sleep(0)
        with pytest.raises(KeyExists):
            await store.create("/a", SLOT % 1)
        assert store.peek("/a") is not None
        await first

    run(open_store, body)


def test_a_cancelled_writer_leaves_the_store_consistent(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        tasks = [asyncio.create_task(store.create(f"/{n}", SLOT % n)) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        last = await store.create("/last", SLOT % 0)
        assert store.revision == last.revision
        assert {f"/{n}" for n in range(1, 20, 2)} <= {entry.key for entry in store.scan("")}

    run(open_store, body)


def test_a_closed_store_refuses_writes_or_never_acknowledges_lost_ones(open_store: OpenStore) -> None:
    async def body(store: Store) -> None:
        writes = [asyncio.create_task(store.create(f"/{n}", SLOT % n)) for n in range(50)]
        await asyncio.sleep(0)
        await store.close()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(not isinstance(result, BaseException) or isinstance(result, StoreError) for result in results)

    run(open_store, body)
