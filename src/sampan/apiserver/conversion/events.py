"""Events as `events.k8s.io` shows them: the core form with other names for half of its fields."""

from sampan.apiserver.conversion.conversion import stamped
from sampan.machinery.objects import Object

_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: name for name, core in _TO_CORE.items()}


def _to_storage(obj: Object) -> Object:
    return {_TO_CORE.get(name, name): value for name, value in obj.items()}


def _from_storage(obj: Object) -> Object:
    return {_FROM_CORE.get(name, name): value for name, value in obj.items()}


to_storage = stamped("v1", _to_storage)
from_storage = stamped("events.k8s.io/v1", _from_storage)
