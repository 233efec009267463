"""Pods: what is added when one is made, how long one may take to end, and what its subresources may change.

Admission (`pod_admission.py`) has already put in the token volume when the stored pod reaches the scheduler; binding
and eviction are subresources with handlers of their own (`apiserver/subresources`).
"""

from collections.abc import Mapping
from typing import ClassVar

from sampan.apiserver.registry import pod_admission
from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.registry.qos import qos_class
from sampan.apiserver.registry.validation.containers import containers_errors
from sampan.apiserver.strategy import FieldGetter, RequestInfo, count_generation
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_ENDED = ("Succeeded", "Failed")
_DEFAULT_GRACE = 30


def _spec_field(name: str) -> FieldGetter:
    return lambda pod: _text((pod.get("spec") or {}).get(name))


def _status_field(name: str) -> FieldGetter:
    return lambda pod: _text((pod.get("status") or {}).get(name))


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


class PodStrategy(TableStrategy):
    """Rules of pods beyond their defaults and value checks."""

    returns_deleted: ClassVar[bool] = True
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        **{f"spec.{name}": _spec_field(name) for name in ("nodeName", "restartPolicy", "schedulerName")},
        "spec.serviceAccountName": _spec_field("serviceAccountName"),
        "spec.hostNetwork": lambda pod: _text(bool((pod.get("spec") or {}).get("hostNetwork"))),
        **{f"status.{name}": _status_field(name) for name in ("phase", "podIP", "nominatedNodeName")},
    }

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        obj["status"] = {"phase": "Pending"}

    async def admit_create(self, obj: Object, request: RequestInfo) -> None:
        await pod_admission.admit(obj, self.ctx)
        obj["status"]["qosClass"] = qos_class(obj["spec"])

    def prepare_subresource_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """`ephemeralcontainers` adds containers to debug with, `resize` changes amounts, `status` only status."""
        if request.subresource == "ephemeralcontainers":
            _take(new, old, {**old["spec"], **_only(new.get("spec") or {}, "ephemeralContainers")})
        elif request.subresource == "resize":
            _take(new, old, {**old["spec"], "containers": _resized(new.get("spec") or {}, old["spec"])})
        else:
            self.prepare_status_update(new, old, request)
            _agree_on_addresses(new, old)

    def validate_status(self, new: Object, old: Object) -> list[FieldError]:
        if new["spec"] is old["spec"]:
            return _status_errors(new, old)
        names = {volume.get("name") for volume in new["spec"].get("volumes") or ()}
        return containers_errors(new["spec"], names, "spec")

    def deletion_grace_period(self, obj: Object, options: Object) -> int | None:
        """What the request says, else what the pod says; a pod that no node runs goes at once."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in _ENDED:
            return 0
        asked = options.get("gracePeriodSeconds")
        seconds = spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE) if asked is None else asked
        return int(seconds) if seconds >= 0 else 1


def _take(new: Object, old: Object, spec: Object) -> None:
    """Change nothing but the specification."""
    new["spec"] = spec
    new["status"] = old.get("status") or {}
    count_generation(new, old)


def _only(spec: Object, field: str) -> Object:
    return {field: spec[field]} if field in spec else {}


def _resized(spec: Object, old: Object) -> list[Object]:
    """The old containers with the amounts of the new ones of the same name."""
    amounts = {container.get("name"): container for container in spec.get("containers") or ()}
    fields = ("resources", "resizePolicy")
    return [
        {**container, **{f: v for f, v in amounts.get(container["name"], {}).items() if f in fields}}
        for container in old["containers"]
    ]


def _agree_on_addresses(new: Object, old: Object) -> None:
    """`podIP` is the first of `podIPs`; the class of service never changes."""
    status = new.setdefault("status", {})
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    elif status.get("podIPs") and not status.get("podIP"):
        status["podIP"] = status["podIPs"][0].get("ip")
    kept = (old.get("status") or {}).get("qosClass")
    if kept and not status.get("qosClass"):
        status["qosClass"] = kept


def _status_errors(new: Object, old: Object) -> list[FieldError]:
    before, after = (old.get("status") or {}).get("qosClass"), new["status"].get("qosClass")
    if before and after != before:
        return [FieldError.invalid("status.qosClass", after, "field is immutable")]
    return []
