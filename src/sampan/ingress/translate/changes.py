"""What has changed since the last translation, and tables that are kept up to date by it."""

from collections.abc import Collection, Mapping
from itertools import chain, compress, repeat
from operator import is_not
from typing import TypeVar

from sampan.ingress.model import Source
from sampan.ingress.translate.types import Key, Problem

K = TypeVar("K")
T = TypeVar("T")
_UNREAD = object()


def difference(old: Mapping[Key, T], new: Mapping[Key, T]) -> set[Key]:
    """Keys under which there is another object than before, or none any more."""
    changed = set(compress(new, map(is_not, new.values(), map(old.get, new))))
    if len(old) - len(new) + sum(key not in old for key in changed):
        changed |= old.keys() - new.keys()
    return changed


def changed_references(old: dict[Key, object], users: Collection[Key], new: Mapping[Key, T | None]) -> set[Key]:
    """Keys among `users` whose object is another than last time; `old` is brought up to date for them."""
    found = list(map(new.get, users, repeat(_UNREAD)))
    changed = list(compress(zip(users, found, strict=True), map(is_not, found, map(old.get, users, repeat(_UNREAD)))))
    old.update(changed)
    return {key for key, _ in changed}


def put(table: dict[K, T], key: K, item: T | None) -> None:
    """Set `key`, or remove it where `item` is None."""
    if item is None:
        table.pop(key, None)
    else:
        table[key] = item


def drop(table: dict[K, set[T]], key: K, item: T) -> None:
    """Take `item` out of the set of `key`; an empty set goes."""
    found = table.get(key)
    if found is not None:
        found.discard(item)
        if not found:
            del table[key]


class Told:
    """Problems by the thing that has found them, flattened in the order of their objects."""

    def __init__(self) -> None:
        self._by_finder: dict[tuple[str, ...], tuple[Problem, ...]] = {}
        self._by_object: dict[Source, set[tuple[str, ...]]] = {}
        self._flat: dict[Source, tuple[Problem, ...]] = {}
        self._all: tuple[Problem, ...] | None = ()

    def put(self, finder: tuple[str, ...], problems: tuple[Problem, ...]) -> None:
        old = self._by_finder.get(finder, ())
        if old == problems:
            return
        self._all = None
        for each in old:
            drop(self._by_object, each.object, finder)
        put(self._by_finder, finder, problems or None)
        for each in problems:
            self._by_object.setdefault(each.object, set()).add(finder)
        for source in {each.object for each in chain(old, problems)}:
            finders = self._by_object.get(source, ())
            found = {each for one in finders for each in self._by_finder[one] if each.object == source}
            put(self._flat, source, tuple(sorted(found)) or None)

    def sorted(self) -> tuple[Problem, ...]:
        if self._all is None:
            order = sorted(self._flat, key=lambda each: (each.namespace, each.name, each.kind))
            self._all = tuple(chain.from_iterable(self._flat[source] for source in order))
        return self._all
