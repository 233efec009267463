"""Which fields an object has, and in which two objects differ, as field sets.

The schema decides how deep to look: an atomic map or list has one owner as a whole, a granular one has an owner per
field, key or item. `managed_fields` and `patch.apply` do the bookkeeping with these sets. This runs on every write, so
that equal parts are skipped with one comparison.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from sampan.machinery.errors import BadRequest
from sampan.machinery.field_sets import ITSELF, MEMBER, FieldSet
from sampan.machinery.objects import Object
from sampan.machinery.schema import Node

_KEY_DEFAULTS = {"protocol": "TCP"}
"""Upstream's types give these list keys a default, which the published schemas do not show."""
_UNTRACKED = frozenset({"apiVersion", "kind"})
_UNTRACKED_METADATA = frozenset(
    {"name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"}
)
_VALUE_STRUCTS = frozenset(
    {"metadata", "spec", "status", "template", "jobTemplate", "strategy", "updateStrategy", "resources", "loadBalancer"}
)
"""Fields that upstream's types hold by value: there they always exist, so that nobody adds the field itself."""


class Changes(NamedTuple):
    """`set`: fields added or modified; `removed`: fields that are gone."""

    set: FieldSet
    removed: FieldSet


def fields_of(obj: Object, node: Node) -> FieldSet:
    """The fields that an applied configuration names, apart from the type itself."""
    return _struct_fields({name: value for name, value in obj.items() if name not in _UNTRACKED}, node, whole=False)


def tracked(fields: FieldSet) -> FieldSet:
    """The set without the metadata that nobody can own."""
    metadata = fields.get("f:metadata")
    if not metadata:
        return {element: trie for element, trie in fields.items() if element != "f:metadata"}
    kept = {element: trie for element, trie in metadata.items() if element[2:] not in _UNTRACKED_METADATA}
    rest = {element: trie for element, trie in fields.items() if element != "f:metadata"}
    return {"f:metadata": kept, **rest} if kept else rest


def compare(old: Object, new: Object, node: Node) -> Changes:
    """What changed between two objects of a kind, apart from the type and the metadata that nobody can own."""
    before, after = _without_untracked(old), _without_untracked(new)
    if "metadata" not in before and not after.get("metadata"):
        after.pop("metadata", None)  # a new object's name and the like are nobody's; so is what held them
    return _compare(before, after, node)


def item_key(item: Any, node: Node) -> str:
    """The path element of an item of a granular list. Raises BadRequest if the item has no key."""
    if node.list_type == "set":
        return "v:" + _json(item)
    keys = {}
    for name in sorted(node.list_map_keys):
        value = item.get(name, _KEY_DEFAULTS.get(name))
        if value is not None:
            keys[name] = value
    if not keys:
        listed = ", ".join(node.list_map_keys)
        raise BadRequest(f"associative list with keys has an element that omits key field [{listed}]")
    return "k:" + _json(keys)


def _without_untracked(obj: Object) -> Object:
    kept = {name: value for name, value in obj.items() if name not in _UNTRACKED}
    metadata = kept.get("metadata")
    if metadata:
        kept["metadata"] = {name: value for name, value in metadata.items() if name not in _UNTRACKED_METADATA}
    return kept


def _compare(old: Any, new: Any, node: Node) -> Changes:
    """What differs inside two granular values."""
    changes = Changes({}, {})
    before, after = _children(old, node), _children(new, node)
    for element, (value, inner) in after.items():
        if element not in before:
            changes.set[element] = _added(value, inner, whole=True, itself=_is_pointer(element, node))
            continue
        previous = before[element][0]
        if previous is value or previous == value:
            continue
        if inner is None or not inner.granular:
            changes.set[element] = MEMBER
            continue
        below = _compare(previous, value, inner)
        if below.set:
            changes.set[element] = below.set
        if below.removed:
            changes.removed[element] = below.removed
    for element, (value, inner) in before.items():
        if element not in after:
            changes.removed[element] = _added(value, inner, whole=True, itself=True)
    return changes


def _children(value: Any, node: Node) -> dict[str, tuple[Any, Node | None]]:
    """The parts of a granular value, by path element, each with its schema."""
    match node.kind:
        case "object":
            properties = node.properties
            return {f"f:{name}": (item, properties.get(name)) for name, item in value.items()}
        case "map":
            return {f"f:{name}": (item, node.items) for name, item in value.items()}
    return {item_key(item, node): (item, node.items) for item in value}


def _added(value: Any, node: Node | None, *, whole: bool, itself: bool) -> FieldSet:
    """All fields of a value that appeared. `itself`: the field that holds it is one of them; `whole`: so are those
    that hold the values below it."""
    if node is None or not node.granular or not value:
        return MEMBER
    match node.kind:
        case "object":
            fields = _struct_fields(value, node, whole=whole)
        case "map":
            inner = node.items
            fields = {f"f:{name}": _added(item, inner, whole=whole, itself=True) for name, item in value.items()}
        case _:
            inner = node.items
            fields = {item_key(item, node): _added(item, inner, whole=whole, itself=True) for item in value}
    return {ITSELF: MEMBER, **fields} if itself else fields


def _struct_fields(value: Mapping[str, Any], node: Node, *, whole: bool) -> FieldSet:
    properties, required = node.properties, node.required
    fields: FieldSet = {}
    for name, item in value.items():
        inner = properties.get(name)
        if inner is None or not inner.granular or not item:
            fields[f"f:{name}"] = MEMBER
        else:
            itself = whole and name not in _VALUE_STRUCTS and name not in required
            fields[f"f:{name}"] = _added(item, inner, whole=whole, itself=itself)
    return fields


def _is_pointer(element: str, node: Node) -> bool:
    """Whether a field can be absent in upstream's types; map keys and list items always can."""
    name = element[2:]
    return node.kind != "object" or (name not in _VALUE_STRUCTS and name not in node.required)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
