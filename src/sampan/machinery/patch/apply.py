"""Server-side apply: a client states the fields it wants to own; the server merges them and keeps the peace.

A field that another manager has set to another value is a conflict, unless forced; a field that this client applied
before, no longer applies, and nobody else owns, is removed. Source: KEP-555 and `sigs.k8s.io/structured-merge-diff`.
"""

from typing import Any

import msgspec

from sampan.machinery.errors import BadRequest, Conflict
from sampan.machinery.field_sets import FieldSet, difference, intersection, is_member, paths, union
from sampan.machinery.field_walk import compare, fields_of, item_key, tracked
from sampan.machinery.managed_fields import Entries, Entry, Manager, give_up, read, write
from sampan.machinery.objects import Object, annotations, metadata
from sampan.machinery.patch.typed_merge import typed_merge
from sampan.machinery.schema import Node

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def server_side_apply(
    live: Object | None,
    config: Object,
    node: Node,
    *,
    manager: str,
    force: bool,
    api_version: str,
    subresource: str = "",
    now: str,
) -> Object:
    """The object after `manager` applied `config`, with its managed fields; `live` itself if nothing changes.

    Both objects are decoded. Raises Conflict, with a cause per field, when other managers disagree and `force` is
    false, BadRequest for a configuration that cannot be applied.
    """
    if metadata(config).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    applier = Manager(manager, "Apply", api_version, subresource)
    wanted = _without_foreign_parts(config, node, subresource)
    base = live or {}
    entries = read(base) or _before_first_apply(live, node, api_version)
    applied = fields_of(wanted, node)
    last = entries[applier.identity].fields if applier.identity in entries else {}
    others = {identity: entry for identity, entry in entries.items() if identity != applier.identity}
    merged = typed_merge(base, wanted, node)
    pruned = _prune(merged, last, _owned(others, applied), node) if last else merged
    changes = compare(base, pruned, node)
    if not force and (conflicts := _conflicts(others, changes.set)):
        _refuse(conflicts, manager, live, node)
    mine = tracked(applied)
    if live is not None and mine == tracked(last) and not changes.set and not changes.removed:
        return live
    return _with_entries(pruned, give_up(others, changes, applier), Entry(applier, now, mine))


def _with_entries(obj: Object, others: Entries, mine: Entry) -> Object:
    result = {**obj, "metadata": dict(metadata(obj))}
    write(result, others | {mine.manager.identity: mine} if mine.fields else others)
    return result


def _without_foreign_parts(config: Object, node: Node, subresource: str) -> Object:
    """What of a configuration this endpoint accepts: the main one no status, the status one nothing else."""
    if subresource == "status":
        return {name: value for name, value in config.items() if name in ("apiVersion", "kind", "metadata", "status")}
    if {"spec", "status"} <= node.properties.keys():
        return {name: value for name, value in config.items() if name != "status"}
    return config


def _before_first_apply(live: Object | None, node: Node, api_version: str) -> Entries:
    """The owner of everything in an object that was written before fields were tracked."""
    fields = compare({}, live, node).set if live else {}
    manager = Manager("before-first-apply", "Update", api_version)
    return (
        {manager.identity: Entry(manager, metadata(live).get("creationTimestamp") or "", fields)}
        if fields and live
        else {}
    )


def _owned(others: Entries, applied: FieldSet) -> FieldSet:
    owned = applied
    for entry in others.values():
        owned = union(owned, entry.fields)
    return owned


def _prune(value: Any, last: FieldSet, owned: FieldSet, node: Node) -> Any:
    """`value` without the parts that were applied last time and that nobody owns any more."""
    if node.kind == "array":
        return _prune_list(value, last, owned, node)
    kept = {}
    for name, item in value.items():
        element = f"f:{name}"
        inner = node.properties.get(name) if node.kind == "object" else node.items
        below = last.get(element)
        if below is None:
            kept[name] = item
        elif element not in owned:
            if not is_member(below) and node.kind == "map":
                kept[name] = item
        elif below and inner is not None and inner.granular and item:
            kept[name] = _prune(item, below, owned[element], inner)
        else:
            kept[name] = item
    return kept


def _prune_list(items: list[Any], last: FieldSet, owned: FieldSet, node: Node) -> list[Any]:
    kept = []
    for item in items:
        element = item_key(item, node)
        below = last.get(element)
        if below is None:
            kept.append(item)
        elif element in owned:
            kept.append(_prune(item, below, owned[element], node.items) if below and node.items.granular else item)
    return kept


def _conflicts(others: Entries, changed: FieldSet) -> list[tuple[Manager, FieldSet]]:
    found = ((entry.manager, intersection(entry.fields, changed)) for entry in others.values())
    return sorted(((manager, fields) for manager, fields in found if fields), key=lambda conflict: conflict[0])


def _refuse(conflicts: list[tuple[Manager, FieldSet]], manager: str, live: Object | None, node: Node) -> None:
    """Raise Conflict, unless it is with what the same kubectl applied client-side before."""
    if manager == "kubectl" and live is not None:
        allowed = _last_applied(live, node)
        conflicts = [(owner, rest) for owner, fields in conflicts if (rest := difference(fields, allowed))]
    if conflicts:
        raise _conflict(conflicts)


def _last_applied(live: Object, node: Node) -> FieldSet:
    """The fields of the annotation that client-side apply leaves, none if it is not there or not an object."""
    try:
        config = msgspec.json.decode(annotations(live).get(_LAST_APPLIED) or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
    annotation: FieldSet = {"f:metadata": {"f:annotations": {f"f:{_LAST_APPLIED}": {}}}}
    return union(fields_of(config, node), annotation)


def _conflict(conflicts: list[tuple[Manager, FieldSet]]) -> Conflict:
    listed = [(_show(manager), path) for manager, fields in conflicts for path in sorted(paths(fields))]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path} for owner, path in listed
    ]
    if len(listed) == 1:
        message = f"Apply failed with 1 conflict: conflict with {listed[0][0]}: {listed[0][1]}"
        return Conflict(message, details={"causes": causes})
    lines: list[str] = []
    for owner in dict.fromkeys(owner for owner, _ in listed):
        lines.append(f"conflicts with {owner}:")
        lines += [f"- {path}" for one, path in listed if one == owner]
    message = f"Apply failed with {len(listed)} conflicts: " + "\n".join(lines)
    return Conflict(message, details={"causes": causes})


def _show(manager: Manager) -> str:
    text = f'"{manager.name}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return f"{text} using {manager.api_version}" if manager.operation == "Update" else text
