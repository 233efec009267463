"""Merging an applied configuration into the live object, by the schema's list and map types.

Unlike in a strategic merge patch, which lists merge depends on `x-kubernetes-list-type` (map, set, or else atomic) and
nothing in the configuration is a directive.
"""

from collections.abc import Iterator
from typing import Any

from sampan.machinery.errors import BadRequest
from sampan.machinery.field_sets import show_element
from sampan.machinery.field_walk import item_key
from sampan.machinery.schema import Node


def typed_merge(live: Any, config: Any, node: Node | None) -> Any:
    """`live` with every field of `config`. Neither is changed. Raises BadRequest for an item that comes twice."""
    if node is None or not node.granular or not live or not config:
        _check(config, node)
        return config
    if node.kind == "array":
        return _merge_list(live, config, node)
    merged = dict(live)
    for name, value in config.items():
        inner = node.properties.get(name) if node.kind == "object" else node.items
        merged[name] = typed_merge(merged.get(name), value, inner)
    return merged


def _merge_list(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    """The items of `config` in its order; those only in `live` stay before what they stood before."""
    before = {item_key(item, node): item for item in live}
    wanted = _by_key(config, node)
    waiting = iter([(item_key(item, node), item) for item in live])
    merged: list[Any] = []
    for key, item in wanted.items():
        if key in before:
            merged += _until_shared(waiting, wanted)
            merged.append(typed_merge(before[key], item, node.items))
        else:
            merged.append(item)
    return merged + [item for key, item in waiting if key not in wanted]


def _until_shared(waiting: Iterator[tuple[str, Any]], wanted: dict[str, Any]) -> list[Any]:
    """The live items up to the next one that is wanted too."""
    alone = []
    for key, item in waiting:
        if key in wanted:
            break
        alone.append(item)
    return alone


def _check(config: Any, node: Node | None) -> None:
    """Refuse items that come twice anywhere in a configuration."""
    if node is None or not node.granular or not config:
        return
    if node.kind == "array":
        for item in _by_key(config, node).values():
            _check(item, node.items)
        return
    for name, value in config.items():
        _check(value, node.properties.get(name) if node.kind == "object" else node.items)


def _by_key(items: list[Any], node: Node) -> dict[str, Any]:
    keyed: dict[str, Any] = {}
    for item in items:
        key = item_key(item, node)
        if key in keyed:
            raise BadRequest(f"duplicate entries for key {show_element(key)}")
        keyed[key] = item
    return keyed
