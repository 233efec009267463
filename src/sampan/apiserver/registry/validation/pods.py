"""Checks of pods and pod templates; an update may change next to nothing.

Containers and volumes have files of their own; this one has the rest of the specification.
"""

import re

from sampan.apiserver.registry.validation.addresses import address_errors
from sampan.apiserver.registry.validation.containers import containers_errors
from sampan.apiserver.registry.validation.labels import label_errors, selector_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, named, non_negative, one_of
from sampan.apiserver.registry.validation.volumes import volume_errors
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_SYSCTL_MAX = 253
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = re.compile(rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}")
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_NAMESERVERS_MAX = 3
_DEADLINE_MAX = 2**31 - 1
_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")


def pod_spec_errors(spec: Object, path: str) -> Errors:
    """A pod's or a template's specification."""
    volumes, errors = volume_errors(spec, path)
    errors += containers_errors(spec, volumes, path)
    errors += one_of(spec.get("restartPolicy"), _RESTART_POLICIES, f"{path}.restartPolicy")
    errors += one_of(spec.get("dnsPolicy"), _DNS_POLICIES, f"{path}.dnsPolicy")
    errors += label_errors(spec.get("nodeSelector"), f"{path}.nodeSelector")
    if spec.get("dnsPolicy") == "None" or "dnsConfig" in spec:
        errors += _dns_errors(spec, path)
    errors += _name_errors(spec, path)
    errors += _sysctl_errors(spec, f"{path}.securityContext.sysctls")
    errors += _number_errors(spec, path)
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        errors += _toleration_errors(toleration, f"{path}.tolerations[{index}]")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        errors += address_errors(alias.get("ip", ""), f"{path}.hostAliases[{index}].ip")
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        errors += _spread_errors(spread, f"{path}.topologySpreadConstraints[{index}]")
    return errors


def _sysctl_errors(spec: Object, path: str) -> Errors:
    """Names, each once, and none of a namespace that is the node's (upstream: validateSysctls)."""
    errors: Errors = []
    seen: set[str] = set()
    for index, one in enumerate((spec.get("securityContext") or {}).get("sysctls") or ()):
        name, here = one.get("name") or "", f"{path}[{index}].name"
        plain = name.replace("/", ".")
        if not name:
            errors.append(FieldError.required(here))
        elif len(name) > _SYSCTL_MAX or not _SYSCTL.fullmatch(name):
            message = f"must have at most {_SYSCTL_MAX} characters and match regex ^{_SYSCTL.pattern}$"
            errors.append(FieldError.invalid(here, name, message))
        elif plain in seen:
            errors.append(FieldError.duplicate(here, name))
        elif spec.get("hostNetwork") and plain.startswith("net."):
            errors.append(FieldError.invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and plain.startswith(_IPC_SYSCTLS):
            errors.append(FieldError.invalid(here, name, "may not be specified when 'hostIPC' is true"))
        seen.add(plain)
    return errors


def template_errors(template: Object, path: str) -> Errors:
    """A pod template: its labels, annotations and specification."""
    meta = template.get("metadata") or {}
    errors = label_errors(meta.get("labels"), f"{path}.metadata.labels")
    errors += pod_spec_errors(template.get("spec") or {}, f"{path}.spec")
    if (template.get("spec") or {}).get("ephemeralContainers"):
        message = "ephemeral containers not allowed in pod template"
        errors.append(FieldError.forbidden(f"{path}.spec.ephemeralContainers", message))
    return errors


def _create(pod: Object) -> Errors:
    spec = pod.get("spec") or {}
    errors = pod_spec_errors(spec, "spec")
    if spec.get("ephemeralContainers"):
        errors.append(FieldError.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return errors


def _update(new: Object, old: Object) -> Errors:
    """Compare what is left when everything that may change is set aside."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if after == before:
        return []
    errors: Errors = []
    for field in _CONTAINER_LISTS[:2]:
        if len(after.get(field) or ()) != len(before.get(field) or ()):
            message = "pod updates may not add or remove containers"
            return [FieldError.forbidden(f"spec.{field}", message)]
        for index, container in enumerate(after.get(field) or ()):
            if not container.get("image"):
                errors.append(FieldError.required(f"spec.{field}[{index}].image"))
    errors += _deadline_errors(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    errors += _toleration_changes(after, before)
    if not errors and _frozen(after, before) != _frozen(before, before):
        errors.append(FieldError.forbidden("spec", _UPDATABLE))
    return errors


PODS = Rules(_create, _update)


def _frozen(spec: Object, before: Object) -> Object:
    """The specification without what may change, and without what clients that know less leave out."""
    kept = {name: value for name, value in spec.items() if value not in (None, [], {})}
    for field in ("activeDeadlineSeconds", "tolerations"):
        kept.pop(field, None)
    for field in _CONTAINER_LISTS[:2]:
        kept[field] = [{**container, "image": ""} for container in spec.get(field) or ()]
    grace = before.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and kept.get("terminationGracePeriodSeconds") == 1:
        kept["terminationGracePeriodSeconds"] = grace
    if before.get("schedulingGates"):
        _set_gates_aside(kept, before)
    return kept


def _set_gates_aside(kept: Object, before: Object) -> None:
    """Gates may go; while they hold a pod back, its node selector may still become narrower."""
    kept.pop("schedulingGates", None)
    earlier = before.get("nodeSelector") or {}
    selector = kept.get("nodeSelector") or {}
    if all(selector.get(key) == value for key, value in earlier.items()):
        kept.pop("nodeSelector", None)


def _deadline_errors(after: int | None, before: int | None) -> Errors:
    path = "spec.activeDeadlineSeconds"
    if after is not None:
        if after < 0 or after > _DEADLINE_MAX:
            return [FieldError.invalid(path, after, f"must be between 0 and {_DEADLINE_MAX}, inclusive")]
        if before is not None and before < after:
            return [FieldError.invalid(path, after, "must be less than or equal to previous value")]
    elif before is not None:
        return [FieldError.invalid(path, None, "must not update from a positive integer to nil value")]
    return []


def _toleration_changes(after: Object, before: Object) -> Errors:
    """Tolerations may be added; of an old one only the seconds may change."""
    current = [_without_seconds(one) for one in after.get("tolerations") or ()]
    if all(_without_seconds(one) in current for one in before.get("tolerations") or ()):
        return []
    message = "existing toleration can not be modified except its tolerationSeconds"
    return [FieldError.forbidden("spec.tolerations", message)]


def _without_seconds(toleration: Object) -> Object:
    return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}


def _dns_errors(spec: Object, path: str) -> Errors:
    config = spec.get("dnsConfig")
    servers = (config or {}).get("nameservers") or ()
    where = f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [FieldError.required(where, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not servers:
            message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [FieldError.required(f"{where}.nameservers", message)]
    errors: Errors = []
    if len(servers) > _NAMESERVERS_MAX:
        message = f"must not have more than {_NAMESERVERS_MAX} nameservers"
        errors.append(FieldError.invalid(f"{where}.nameservers", servers, message))
    for index, server in enumerate(servers):
        errors += address_errors(server, f"{where}.nameservers[{index}]")
    return errors


def _name_errors(spec: Object, path: str) -> Errors:
    errors: Errors = []
    for field in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        if value := spec.get(field):
            errors += named(names.dns1123_subdomain, value, f"{path}.{field}")
    for field in ("hostname", "subdomain"):
        if value := spec.get(field):
            errors += named(names.dns1123_label, value, f"{path}.{field}")
    return errors


def _number_errors(spec: Object, path: str) -> Errors:
    errors = non_negative(spec.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _DEADLINE_MAX:
        message = f"must be between 1 and {_DEADLINE_MAX}, inclusive"
        errors.append(FieldError.invalid(f"{path}.activeDeadlineSeconds", deadline, message))
    return errors


def _toleration_errors(toleration: Object, path: str) -> Errors:
    errors: Errors = []
    key, operator, effect = toleration.get("key"), toleration.get("operator"), toleration.get("effect")
    if key:
        errors += named(names.qualified_name, key, f"{path}.key")
    elif operator != "Exists":
        message = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(FieldError.invalid(f"{path}.operator", operator or "", message))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(FieldError.invalid(f"{path}.effect", effect or "", message))
    if operator == "Exists" and toleration.get("value"):
        message = "value must be empty when `operator` is 'Exists'"
        errors.append(FieldError.invalid(f"{path}.operator", toleration, message))
    elif operator not in (None, "", "Exists", "Equal"):
        errors.append(FieldError.not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in _EFFECTS:
        errors.append(FieldError.not_supported(f"{path}.effect", effect, _EFFECTS))
    return errors


def _spread_errors(spread: Object, path: str) -> Errors:
    errors: Errors = []
    if (spread.get("maxSkew") or 0) <= 0:
        errors.append(FieldError.invalid(f"{path}.maxSkew", spread.get("maxSkew") or 0, "must be greater than zero"))
    if not spread.get("topologyKey"):
        errors.append(FieldError.required(f"{path}.topologyKey", "can not be empty"))
    errors += one_of(spread.get("whenUnsatisfiable"), ("DoNotSchedule", "ScheduleAnyway"), f"{path}.whenUnsatisfiable")
    return errors + selector_errors(spread.get("labelSelector"), f"{path}.labelSelector")
