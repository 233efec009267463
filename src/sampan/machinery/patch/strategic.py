"""Strategic merge patch: merges lists by their merge keys, as the schema says, instead of replacing them.

The default of `kubectl patch`, `kubectl apply` and `kubectl edit` for built-in kinds. Directives: `$patch`
(replace, merge, delete), `$retainKeys`, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD` (see
`element_order`). Source: upstream's design document "strategic-merge-patch" and `apimachinery/pkg/util/strategicpatch`.
"""

from typing import Any

from sampan.machinery.objects import Object
from sampan.machinery.patch.element_order import ordered
from sampan.machinery.patch.errors import BadPatch, PatchDoesNotApply
from sampan.machinery.schema import Node

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_PREFIX = "$deleteFromPrimitiveList/"
_ORDER_PREFIX = "$setElementOrder/"
_DIRECTIVES = (_DIRECTIVE, _RETAIN_KEYS, _DELETE_PREFIX, _ORDER_PREFIX)


def strategic_merge(original: Object, patch: Object, node: Node | None) -> Object:
    """Apply `patch` to `original`, whose schema is `node` (None: unknown, so that lists are replaced).

    Raises BadPatch for a malformed directive, PatchDoesNotApply for a list item without its merge key.
    """
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadPatch(f"unknown patch type: {directive} in map: {patch}")
    merged = _retained(original, patch)
    for key, value in patch.items():
        if not key.startswith("$"):
            _merge_field(merged, key, value, _field(node, key))
        elif key.startswith(_DELETE_PREFIX):
            _delete_items(merged, key.removeprefix(_DELETE_PREFIX), value)
        elif not key.startswith(_DIRECTIVES):
            merged[key] = value
    for key, value in patch.items():
        if key.startswith(_ORDER_PREFIX):
            name = key.removeprefix(_ORDER_PREFIX)
            _order_items(merged, original, name, value, _field(node, name))
    return merged


def _retained(original: Object, patch: Object) -> Object:
    """A shallow copy of the original, without what `$retainKeys` does not name."""
    keep = patch.get(_RETAIN_KEYS)
    if keep is None:
        return dict(original)
    fields = {key for key, value in patch.items() if not key.startswith(_DIRECTIVES) and value is not None}
    if not isinstance(keep, list) or any(field not in keep for field in fields):
        raise BadPatch("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in keep}


def _merge_field(merged: Object, key: str, value: Any, node: Node | None) -> None:
    if value is None:
        merged.pop(key, None)
        return
    before = merged.get(key)
    replaces = node is not None and "replace" in node.patch_strategies
    if isinstance(value, dict) and isinstance(before, dict) and not replaces:
        merged[key] = strategic_merge(before, value, node)
    elif isinstance(value, list) and isinstance(before, list) and node and "merge" in node.patch_strategies:
        merged[key] = _merge_list(before, value, node)
    else:
        merged[key] = _without_directives(value)


def _merge_list(original: list[Any], patch: list[Any], node: Node) -> list[Any]:
    if not node.merge_key:
        return list(dict.fromkeys([*original, *patch])) if _all_scalar(original, patch) else patch
    if not all(isinstance(item, dict) for item in (*original, *patch)):
        raise BadPatch("invalid JSON document: a list of objects has an item of another type")
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [_without_directives(item) for item in patch if _DIRECTIVE not in item]
    merged = _Keyed(original, node)
    for item in patch:
        _merge_item(merged, item)
    return merged.items()


class _Keyed:
    """A list's items and where those of each merge key are, so that many of them are merged in one pass."""

    def __init__(self, items: list[Any], node: Node) -> None:
        self.node = node
        self._items: list[Any] = []
        self._places: dict[Any, list[int]] = {}
        for item in items:
            self.append(item)

    def append(self, item: Object) -> None:
        self._places.setdefault(_hashable(item.get(self.node.merge_key)), []).append(len(self._items))
        self._items.append(item)

    def first(self, key: Any) -> int | None:
        return next(iter(self._places.get(_hashable(key), ())), None)

    def delete(self, key: Any) -> None:
        for place in self._places.pop(_hashable(key), ()):
            self._items[place] = None

    def merge(self, place: int, item: Object) -> None:
        self._items[place] = strategic_merge(self._items[place], item, self.node.items)

    def items(self) -> list[Any]:
        return [item for item in self._items if item is not None]


def _hashable(key: Any) -> Any:
    return repr(key) if isinstance(key, dict | list) else key


def _merge_item(merged: _Keyed, item: Object) -> None:
    name = merged.node.merge_key
    key = item.get(name)
    directive = item.get(_DIRECTIVE)
    if key is None:
        raise PatchDoesNotApply(f"map: {item} does not contain declared merge key: {name}")
    if directive == "delete":
        merged.delete(key)
    elif directive is not None:
        raise BadPatch(f"unknown patch type: {directive} in map: {item}")
    elif (place := merged.first(key)) is not None:
        merged.merge(place, item)
    else:
        merged.append(_without_directives(item))


def _delete_items(merged: Object, key: str, values: Any) -> None:
    if not isinstance(values, list) or not _all_scalar(values):
        raise BadPatch("invalid patch format of primitive list")
    before = merged.get(key)
    if isinstance(before, list):
        gone = set(values)
        merged[key] = [item for item in before if isinstance(item, dict | list) or item not in gone]


def _order_items(merged: Object, original: Object, key: str, order: Any, node: Node | None) -> None:
    if not isinstance(order, list):
        raise BadPatch("invalid patch format of setElementOrder list")
    items = merged.get(key)
    if isinstance(items, list):
        before = original.get(key)
        merge_key = node.merge_key if node else ""
        merged[key] = ordered(items, order, before if isinstance(before, list) else [], merge_key)


def _field(node: Node | None, key: str) -> Node | None:
    """The schema of a field, or of a map's value; none below what has no schema."""
    if node is None:
        return None
    if node.kind == "object":
        return node.properties.get(key)
    return node.items if node.kind == "map" else None


def _without_directives(value: Any) -> Any:
    """What a patch puts where nothing was: its values alone, without directives and nulls."""
    if isinstance(value, dict):
        if value.get(_DIRECTIVE) == "delete":
            return {}
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if item is not None and not key.startswith(_DIRECTIVES)
        }
    if isinstance(value, list):
        return [_without_directives(item) for item in value if not (isinstance(item, dict) and _DIRECTIVE in item)]
    return value


def _all_scalar(*lists: list[Any]) -> bool:
    return not any(isinstance(item, dict | list) for items in lists for item in items)
