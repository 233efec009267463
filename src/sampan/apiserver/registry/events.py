"""Events, in both groups: one set of objects, stored in the core form and shown in either (`conversion/events.py`)."""

from collections.abc import Mapping
from typing import ClassVar

from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.strategy import FieldGetter
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object, metadata

_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _about(field: str) -> FieldGetter:
    return lambda obj: str((obj.get("involvedObject") or obj.get("regarding") or {}).get(field) or "")


def _either(*fields: str) -> FieldGetter:
    return lambda obj: str(next((obj[field] for field in fields if obj.get(field)), ""))


def _source(obj: Object) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    return str(source.get("component") or _either("reportingComponent", "reportingController")(obj))


class EventStrategy(TableStrategy):
    """Rules of core events."""

    allow_create_on_update: ClassVar[bool] = True
    tracks_generation: ClassVar[bool] = False
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        **{f"involvedObject.{field}": _about(field) for field in _ABOUT},
        "reason": _either("reason"),
        "type": _either("type"),
        "reportingComponent": _either("reportingComponent"),
        "source": _source,
    }

    def validate(self, obj: Object) -> list[FieldError]:
        about = obj.get("involvedObject") or obj.get("regarding") or {}
        own, other = metadata(obj).get("namespace", ""), about.get("namespace") or ""
        if own == (other or "default"):
            return []
        return [FieldError.invalid("involvedObject.namespace", other, "does not match event.namespace")]

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        return self.validate(new)


class NewEventStrategy(EventStrategy):
    """The selectors that `events.k8s.io` has for the same events."""

    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        **{f"regarding.{field}": _about(field) for field in _ABOUT},
        "reason": _either("reason"),
        "type": _either("type"),
        "reportingController": _either("reportingController"),
    }
