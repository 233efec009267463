"""What selectors see of an entry, and how often an entry is decoded for them."""

from typing import Any

import msgspec
import pytest

from sampan.apiserver import served as module
from sampan.apiserver.catalog import Catalog
from sampan.apiserver.resources import RESOURCES
from sampan.apiserver.selection import Selection
from sampan.apiserver.watchcache import Change, kind_of_change
from sampan.machinery.selectors import parse_fields
from sampan.store.interface import Entry, Event
from sampan.store.memory import MemoryStore


def entry(node: str, revision: int) -> Entry:
    pod = {"metadata": {"name": "a", "namespace": "default"}, "spec": {"nodeName": node}}
    return Entry("/registry/core/pods/default/a", msgspec.json.encode(pod), revision, 1)


def change(before: str, after: str, revision: int) -> Change:
    return Change(Event("PUT", entry(after, revision), entry(before, revision - 1)))


def watchers_of_nodes(count: int) -> list[Selection]:
    pods = Catalog(RESOURCES, MemoryStore(), Any).named("pods")  # type: ignore[arg-type]
    return [Selection(pods, fields=parse_fields(f"spec.nodeName=node-{number}")) for number in range(count)]


def test_each_watcher_with_a_field_selector_learns_what_a_change_is_to_it() -> None:
    first, second, third = watchers_of_nodes(3)
    moved = change("node-0", "node-1", 8)
    assert [kind_of_change(moved, one) for one in (first, second, third)] == ["DELETED", "ADDED", ""]
    assert [kind_of_change(moved, one) for one in (third, second, first)] == ["", "ADDED", "DELETED"]


def test_a_change_is_decoded_once_however_many_selectors_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def counting(value: bytes) -> Any:
        decoded.append(value)
        return msgspec.json.decode(value)

    monkeypatch.setattr(module, "_decode", counting)
    watchers = watchers_of_nodes(20)
    for revision in (8, 9):
        for watcher in watchers:
            kind_of_change(change("node-0", "node-1", revision), watcher)
    assert len(decoded) == 3, "the first change's two sides, and of the second only what is new"
