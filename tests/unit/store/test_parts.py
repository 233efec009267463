"""The store's small parts: the stamp, the ordered keys, the table of stores."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.store import sortedkeys
from sampan.store.history import History, Limits
from sampan.store.interface import Entry, Event, StoreError
from sampan.store.open import open_store
from sampan.store.sortedkeys import SortedKeys
from sampan.store.stamp import restamp, stamp


def test_stamp_fills_the_first_slot_only_and_restamp_changes_it() -> None:
    value = b'{"metadata":{"resourceVersion":""},"template":{"resourceVersion":""}}'
    stamped = stamp(value, 12)
    assert stamped == b'{"metadata":{"resourceVersion":"12"},"template":{"resourceVersion":""}}'
    assert restamp(stamped, 12, 340) == b'{"metadata":{"resourceVersion":"340"},"template":{"resourceVersion":""}}'
    assert stamp(b"{}", 5) == b"{}"


@given(
    st.lists(st.tuples(st.booleans(), st.text("/ab\uffff", max_size=5))),
    st.text("/ab", max_size=3),
    st.text("/ab", max_size=4),
)
def test_sorted_keys_answer_like_a_sorted_set(steps: list[tuple[bool, str]], prefix: str, after: str) -> None:
    original, sortedkeys.CHUNK = sortedkeys.CHUNK, 2
    try:
        keys, model = SortedKeys(), set[str]()
        for adding, key in steps:
            if adding and key not in model:
                keys.add(key)
                model.add(key)
            elif not adding and key in model:
                keys.remove(key)
                model.discard(key)
        expected = [key for key in sorted(model) if key.startswith(prefix) and (not after or key > after)]
        assert keys.below(prefix, after) == expected
        assert SortedKeys(model).below(prefix, after) == expected
    finally:
        sortedkeys.CHUNK = original


def test_history_is_bounded_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    history = History(Limits(age=100))
    for revision in range(2, 302):
        clock += 1.1
        history.append(Event("PUT", Entry("/a", b"", revision, 2), None))
        if target := history.due():
            history.compact(target)
    assert 80 < history.revision - history.compacted < 130


def test_stores_are_opened_by_url(tmp_path: Path) -> None:
    for url in ("memory:", f"sqlite:{tmp_path / 's'}"):
        store = open_store(url)
        assert store.revision == 1
        asyncio.run(store.close())
    with pytest.raises(StoreError, match="memory:, sqlite:"):
        open_store("mysql://x")
