"""Objects of any kind, as decoded JSON, and the few questions every layer asks of their metadata.

The API server and the rules in this package work on plain dictionaries, because they serve every kind; components
narrow to the types of `sampan.api` instead.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]


def metadata(obj: Object) -> Object:
    """The object's metadata, made if it is missing."""
    found = obj.get("metadata")
    if not isinstance(found, dict):
        found = obj["metadata"] = {}
    return found


def name(obj: Object) -> str:
    return str(metadata(obj).get("name") or "")


def namespace(obj: Object) -> str:
    return str(metadata(obj).get("namespace") or "")


def uid(obj: Object) -> str:
    return str(metadata(obj).get("uid") or "")


def labels(obj: Object) -> Mapping[str, str]:
    return metadata(obj).get("labels") or {}


def annotations(obj: Object) -> Mapping[str, str]:
    return metadata(obj).get("annotations") or {}


def resource_version(obj: Object) -> str:
    return str(metadata(obj).get("resourceVersion") or "")


def owner_references(obj: Object) -> Iterable[Object]:
    return metadata(obj).get("ownerReferences") or ()


def controller_of(obj: Object) -> Object | None:
    """The owner reference that has `controller: true`."""
    return next((ref for ref in owner_references(obj) if ref.get("controller")), None)


def key(obj: Object) -> str:
    """`namespace/name`, or `name` for cluster-scoped objects."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def copy(value: Any) -> Any:
    """A copy that shares no dictionary or list with the original."""
    if type(value) is dict:
        return {key: copy(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if type(value) is list:
        return [copy(item) if type(item) in _CONTAINERS else item for item in value]
    return value


def equal(one: Any, other: Any) -> bool:
    """Equality as JSON has it, in which true is not 1 (Python's `==` says it is)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


_CONTAINERS = (dict, list)
