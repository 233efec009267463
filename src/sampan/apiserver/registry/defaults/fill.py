"""The one operation that default tables need: put in what is missing.

The wire format leaves out zero values, so a string that is empty counts as missing; for the fields where zero means
"not set", `fill_zero` says so. A value that is a type (`dict`, `list`) stands for a fresh empty one, so that no two
objects share it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sampan.machinery.objects import Object

Table = Mapping[str, Any]


def fill(obj: Object, table: Table) -> None:
    """Set each field that is absent, null or an empty string."""
    for field, value in table.items():
        if obj.get(field) in _UNSET:
            obj[field] = value() if isinstance(value, type) else value


def fill_zero(obj: Object, table: Table) -> None:
    """Set each field that is absent, null, empty or zero."""
    for field, value in table.items():
        if not obj.get(field):
            obj[field] = value() if isinstance(value, type) else value


def child(obj: Object, field: str) -> Object:
    """The object in a field, made if it is missing."""
    found = obj.get(field)
    if not isinstance(found, dict):
        found = obj[field] = {}
    return found


def each(obj: Object, field: str) -> Iterable[Object]:
    """The objects in a list field, which may be missing."""
    return obj.get(field) or ()


_UNSET = (None, "")
