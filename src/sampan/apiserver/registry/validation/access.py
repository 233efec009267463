"""Checks of disruption budgets, autoscalers, role bindings and storage classes."""

from sampan.apiserver.registry.validation.labels import selector_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, immutable, non_negative, one_of, optional_one_of
from sampan.machinery.errors import FieldError
from sampan.machinery.intstr import is_percent
from sampan.machinery.objects import Object

_RBAC = "rbac.authorization.k8s.io"


def _budget(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    errors: Errors = []
    if least is not None and most is not None:
        message = "minAvailable and maxUnavailable cannot be both set"
        errors.append(FieldError.invalid("spec", spec, message))
    for value, field in ((least, "minAvailable"), (most, "maxUnavailable")):
        if isinstance(value, int):
            errors += non_negative(value, f"spec.{field}")
        elif value is not None and not is_percent(value):
            message = (
                "a valid percent string must be a numeric string followed by an ending '%' "
                "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            )
            errors.append(FieldError.invalid(f"spec.{field}", value, message))
    policies = ("AlwaysAllow", "IfHealthyBudget")
    errors += optional_one_of(spec.get("unhealthyPodEvictionPolicy"), policies, "spec.unhealthyPodEvictionPolicy")
    return errors + selector_errors(spec.get("selector"), "spec.selector")


def _autoscaler(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    errors: Errors = []
    if least is not None and least < 1:
        message = "must be greater than or equal to 1"
        errors.append(FieldError.invalid("spec.minReplicas", least, message))
    if most < 1:
        errors.append(FieldError.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        message = "must be greater than or equal to `minReplicas`"
        errors.append(FieldError.invalid("spec.maxReplicas", most, message))
    target = spec.get("scaleTargetRef") or {}
    return errors + [
        FieldError.required(f"spec.scaleTargetRef.{field}") for field in ("kind", "name") if not target.get(field)
    ]


def _role_binding(obj: Object) -> Errors:
    role = obj.get("roleRef") or {}
    errors: Errors = []
    if role.get("apiGroup") != _RBAC:
        errors.append(FieldError.not_supported("roleRef.apiGroup", role.get("apiGroup", ""), (_RBAC,)))
    kinds = ("ClusterRole",) if obj.get("kind") == "ClusterRoleBinding" else ("ClusterRole", "Role")
    errors += [] if role.get("kind") in kinds else [FieldError.not_supported("roleRef.kind", role.get("kind"), kinds)]
    if not role.get("name"):
        errors.append(FieldError.required("roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject_errors(subject, obj.get("kind") == "RoleBinding", f"subjects[{index}]")
    return errors


def _subject_errors(subject: Object, namespaced: bool, path: str) -> Errors:
    errors = [] if subject.get("name") else [FieldError.required(f"{path}.name")]
    kinds = ("ServiceAccount", "User", "Group")
    if subject.get("kind") not in kinds:
        errors.append(FieldError.not_supported(f"{path}.kind", subject.get("kind"), kinds))
    if subject.get("kind") == "ServiceAccount" and not namespaced and not subject.get("namespace"):
        errors.append(FieldError.required(f"{path}.namespace"))
    return errors


def _role_binding_update(new: Object, old: Object) -> Errors:
    errors = _role_binding(new)
    if new.get("roleRef") != old.get("roleRef"):
        errors.append(FieldError.invalid("roleRef", new.get("roleRef"), "cannot change roleRef"))
    return errors


def _storage_class(obj: Object) -> Errors:
    errors = [] if obj.get("provisioner") else [FieldError.required("provisioner")]
    errors += one_of(obj.get("reclaimPolicy"), ("Delete", "Retain"), "reclaimPolicy")
    modes = ("Immediate", "WaitForFirstConsumer")
    return errors + one_of(obj.get("volumeBindingMode"), modes, "volumeBindingMode")


def _storage_class_update(new: Object, old: Object) -> Errors:
    errors = _storage_class(new)
    for field in ("parameters", "provisioner"):
        if (new.get(field) or None) != (old.get(field) or None):
            message = f"updates to {field} are forbidden."
            errors.append(FieldError.forbidden(field, message))
    return errors + immutable(new.get("volumeBindingMode"), old.get("volumeBindingMode"), "volumeBindingMode")


DISRUPTION_BUDGETS = Rules.of(_budget)
AUTOSCALERS = Rules.of(_autoscaler)
ROLE_BINDINGS = Rules(_role_binding, _role_binding_update)
STORAGE_CLASSES = Rules(_storage_class, _storage_class_update)
