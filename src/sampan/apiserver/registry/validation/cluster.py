"""Checks of nodes, namespaces, leases, quotas, limits, service accounts and priority classes."""

from sampan.apiserver.registry.validation.resources import quantity_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, immutable, named, one_of, positive
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_SYSTEM_PREFIX = "system-"
_USER_PRIORITY_MAX = 1_000_000_000
_SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def _node(obj: Object) -> Errors:
    errors: Errors = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        errors += _taint_errors(taint, seen, f"spec.taints[{index}]")
    return errors


def _node_update(new: Object, old: Object) -> Errors:
    errors = _node(new)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDR") and after.get("podCIDR") != before["podCIDR"]:
        message = 'node updates may not change podCIDR except from "" to valid'
        errors.append(FieldError.forbidden("spec.podCIDRs", message))
    if before.get("providerID") and after.get("providerID") != before["providerID"]:
        message = 'node updates may not change providerID except from "" to valid'
        errors.append(FieldError.forbidden("spec.providerID", message))
    return errors


def _taint_errors(taint: Object, seen: set[tuple[str, str]], path: str) -> Errors:
    key, effect = taint.get("key") or "", taint.get("effect")
    errors = named(names.qualified_name, key, f"{path}.key")
    errors += named(names.label_value, taint.get("value") or "", f"{path}.value")
    errors += one_of(effect, _EFFECTS, f"{path}.effect")
    if (key, effect or "") in seen:
        message = "taints must be unique by key and effect pair"
        errors.append(FieldError("FieldValueDuplicate", path, message, taint))
    seen.add((key, effect or ""))
    return errors


def _lease(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    if (seconds := spec.get("leaseDurationSeconds")) is not None:
        errors += positive(seconds, "spec.leaseDurationSeconds")
    if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
        message = "must be greater than or equal to 0"
        errors.append(FieldError.invalid("spec.leaseTransitions", transitions, message))
    return errors


def _quota(obj: Object) -> Errors:
    errors: Errors = []
    for name, amount in ((obj.get("spec") or {}).get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        errors += named(names.qualified_name, name, path) + quantity_errors(amount, path)
    return errors


def _limit_range(obj: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path = f"spec.limits[{index}]"
        kind = limit.get("type") or ""
        errors += named(names.qualified_name, kind, f"{path}.type")
        if kind in seen:
            errors.append(FieldError.duplicate(f"{path}.type", kind))
        seen.add(kind)
        for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            for name, amount in (limit.get(field) or {}).items():
                errors += quantity_errors(amount, f"{path}.{field}[{name}]")
    return errors


def _priority_class(obj: Object) -> Errors:
    name, value = (obj.get("metadata") or {}).get("name", ""), obj.get("value") or 0
    errors: Errors = []
    if name.startswith(_SYSTEM_PREFIX):
        if _SYSTEM_CLASSES.get(name) != value:
            message = f"priority class names with '{_SYSTEM_PREFIX}' prefix are reserved for system use only"
            errors.append(FieldError.forbidden("metadata.name", message))
    elif value > _USER_PRIORITY_MAX:
        message = f"maximum allowed value of a user defined priority is {_USER_PRIORITY_MAX}"
        errors.append(FieldError.forbidden("value", message))
    return errors + one_of(obj.get("preemptionPolicy"), ("Never", "PreemptLowerPriority"), "preemptionPolicy")


def _priority_class_update(new: Object, old: Object) -> Errors:
    errors: Errors = []
    if new.get("value") != old.get("value"):
        errors.append(FieldError.forbidden("value", "may not be changed in an update."))
    return errors + immutable(new.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")


NODES = Rules(_node, _node_update)
LEASES = Rules.of(_lease)
RESOURCE_QUOTAS = Rules.of(_quota)
LIMIT_RANGES = Rules.of(_limit_range)
PRIORITY_CLASSES = Rules(_priority_class, _priority_class_update)
