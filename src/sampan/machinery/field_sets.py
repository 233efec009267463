"""Sets of fields, in the form in which `metadata.managedFields[].fieldsV1` stores them.

A set is a trie of path elements: `f:NAME` (field or map key), `k:{KEYS}` (item of a list with keys), `v:VALUE` (item of
a list that is a set). An element whose trie is empty is a member; one that is a member and has members below it says so
with `.`. Sets are never changed in place, and operations return their first argument itself when nothing changes.
Source: `sigs.k8s.io/structured-merge-diff/fieldpath`.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

FieldSet = dict[str, Any]

MEMBER: FieldSet = {}
"""A member with nothing below it. Shared: never write to it."""
ITSELF = "."


def is_member(trie: FieldSet) -> bool:
    """Whether the element that leads to `trie` is in the set itself."""
    return not trie or ITSELF in trie


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of either. At the top, an empty trie is the empty set."""
    merged = dict(one)
    changed = False
    for element, trie in other.items():
        before = merged.get(element)
        if before is None:
            merged[element] = trie
            changed = True
        elif element != ITSELF:
            both = _join(before, trie)
            changed = changed or both is not before
            merged[element] = both
    return merged if changed else one


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of `one` that are not in `other`."""
    if not one or not other:
        return one
    kept: FieldSet = {}
    changed = False
    for element, trie in one.items():
        taken = other.get(element)
        if taken is None:
            kept[element] = trie
        elif element == ITSELF:
            changed = True
        else:
            rest = _subtract(trie, taken)
            changed = changed or rest is not trie
            if rest is not None:
                kept[element] = rest
    return kept if changed else one


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """Members of both."""
    both: FieldSet = {}
    for element, trie in one.items():
        if element == ITSELF or element not in other:
            continue
        shared = intersection(trie, other[element])
        if is_member(trie) and is_member(other[element]):
            both[element] = {ITSELF: MEMBER, **shared} if shared else MEMBER
        elif shared:
            both[element] = shared
    return both


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as people write it: `.spec.containers[name="web"].image`."""
    for element, trie in fields.items():
        if element == ITSELF:
            continue
        path = prefix + show_element(element)
        if is_member(trie):
            yield path
        yield from paths(trie, path)


def show_element(element: str) -> str:
    """One step of a path as people write it."""
    kind, _, rest = element.partition(":")
    match kind:
        case "k":
            keys = msgspec.json.decode(rest)
            return "[" + ",".join(f"{name}={_show(value)}" for name, value in keys.items()) + "]"
        case "v":
            return f"[={rest}]"
        case "i":
            return f"[{rest}]"
    return f".{rest}"


def _join(one: FieldSet, other: FieldSet) -> FieldSet:
    """The union below one element, where an empty trie is a member."""
    if one is other or (not one and not other):
        return one
    if not one:
        return other if ITSELF in other else {ITSELF: MEMBER, **other}
    if not other:
        return one if ITSELF in one else {ITSELF: MEMBER, **one}
    return union(one, other)


def _subtract(one: FieldSet, other: FieldSet) -> FieldSet | None:
    """The difference below one element; None if nothing is left of it."""
    if not one:
        return None if is_member(other) else one
    rest = difference(one, {ITSELF: MEMBER, **other} if is_member(other) else other)
    if rest is one:
        return one
    if rest.keys() == {ITSELF}:
        return MEMBER
    return rest or None


def _show(value: Any) -> str:
    return msgspec.json.encode(value).decode()
