"""`metadata.managedFields`: who set which field, kept up to date on every write.

Creates, updates and the other patches take over the fields they change; `patch.apply` takes over, shares or gives up
fields by rules of its own and uses the entries defined here. Source: upstream's `apimachinery/pkg/util/managedfields`.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sampan.machinery.errors import BadRequest
from sampan.machinery.field_sets import FieldSet, difference, union
from sampan.machinery.field_walk import Changes, compare
from sampan.machinery.objects import Object, metadata
from sampan.machinery.schema import Node

_MAX_UPDATERS = 10
_ANCIENT = "ancient-changes"
_MAX_NAME = 128
_SHAPE = "FieldsV1"


class Manager(NamedTuple):
    """What tells one entry from another. The API version does not tell appliers apart."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        return self if self.operation == "Update" else self._replace(api_version="")


@dataclass(frozen=True, slots=True)
class Entry:
    manager: Manager
    time: str
    fields: FieldSet

    def to_object(self) -> Object:
        name, operation, api_version, subresource = self.manager
        entry: Object = {"manager": name, "operation": operation, "apiVersion": api_version, "time": self.time}
        entry |= {"fieldsType": _SHAPE, "fieldsV1": self.fields}
        return entry | {"subresource": subresource} if subresource else entry


Entries = dict[tuple[str, ...], Entry]


def manager_name(field_manager: str, user_agent: str) -> str:
    """The name a write is booked under: what the client asked for, or the first word of its user agent."""
    return field_manager or "".join(filter(str.isprintable, user_agent.partition("/")[0][:_MAX_NAME])) or "unknown"


def track(live: Object | None, new: Object, node: Node, manager: Manager, now: str) -> None:
    """Set the managed fields of `new`, which `manager` wrote over `live` (None: it created it).

    A client that writes `managedFields: [{}]` clears them; one that writes none keeps those of `live`.
    An object with a list item that has no key is invalid, which is for its validation to say; nothing is booked then.
    """
    given = metadata(new).get("managedFields")
    if given == [{}]:
        metadata(new).pop("managedFields")
        return
    entries = read(new) or (read(live) if live else {})
    try:
        changes = compare(live or {}, new, node)
    except BadRequest:
        changes = Changes({}, {})
    if changes.set or changes.removed:
        entries = give_up(entries, changes, manager)
        entries = _cap(_take_over(entries, changes, manager, now))
    write(new, entries)


def read(obj: Object) -> Entries:
    """The entries of an object; none if they cannot be understood."""
    entries: Entries = {}
    for item in metadata(obj).get("managedFields") or ():
        entry = _entry(item)
        if entry is None:
            return {}
        entries[entry.manager.identity] = entry
    return entries


def write(obj: Object, entries: Entries) -> None:
    """Put the entries into an object, appliers first, then by time."""
    kept = sorted(entries.values(), key=lambda entry: (entry.manager.operation, entry.time, entry.manager))
    if kept:
        metadata(obj)["managedFields"] = [entry.to_object() for entry in kept]
    else:
        metadata(obj).pop("managedFields", None)


def give_up(entries: Entries, changes: Changes, manager: Manager) -> Entries:
    """The entries after everybody but `manager` has lost the fields that changed."""
    kept: Entries = {}
    for identity, entry in entries.items():
        fields = entry.fields
        if identity != manager.identity:
            fields = difference(difference(fields, changes.set), changes.removed)
        if fields is entry.fields:
            kept[identity] = entry
        elif fields:
            kept[identity] = replace(entry, fields=fields)
    return kept


def _take_over(entries: Entries, changes: Changes, manager: Manager, now: str) -> Entries:
    mine = entries.get(manager.identity)
    before = mine.fields if mine else {}
    fields = union(difference(before, changes.removed), changes.set)
    if mine and fields is before:
        return entries
    others = {identity: entry for identity, entry in entries.items() if identity != manager.identity}
    return others | {manager.identity: Entry(manager, now, fields)} if fields else others


def _cap(entries: Entries) -> Entries:
    """Fold the oldest updaters into one entry when there are too many to keep apart."""
    updaters = [entry for entry in entries.values() if entry.manager.operation == "Update"]
    if len(updaters) <= _MAX_UPDATERS:
        return entries
    updaters.sort(key=lambda entry: (entry.time, entry.manager))
    kept = dict(entries)
    for entry in updaters[: len(updaters) - _MAX_UPDATERS + 1]:
        del kept[entry.manager.identity]
        ancient = Manager(_ANCIENT, "Update", entry.manager.api_version)
        before = kept.get(ancient.identity)
        fields = union(before.fields, entry.fields) if before else entry.fields
        kept[ancient.identity] = Entry(ancient, entry.time, fields)
    return kept


def _entry(item: Any) -> Entry | None:
    fields = item.get("fieldsV1")
    if item.get("fieldsType") != _SHAPE or not isinstance(fields, dict):
        return None
    manager = Manager(
        item.get("manager") or "",
        item.get("operation") or "",
        item.get("apiVersion") or "",
        item.get("subresource") or "",
    )
    return Entry(manager, item.get("time") or "", fields)
