"""Checks of a container's environment: names, values, and where values come from."""

import re

from sampan.apiserver.registry.validation.rules import Errors, named
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_RESOURCES = re.compile(r"(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)").fullmatch
_subscript = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]").fullmatch
_ONE_OF = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def environment_errors(container: Object, path: str) -> Errors:
    """Both `env` and `envFrom`."""
    errors: Errors = []
    for index, variable in enumerate(container.get("env") or ()):
        errors += _variable_errors(variable, f"{path}.env[{index}]")
    for index, source in enumerate(container.get("envFrom") or ()):
        errors += _source_errors(source, f"{path}.envFrom[{index}]")
    return errors


def _variable_errors(variable: Object, path: str) -> Errors:
    name = variable.get("name")
    errors = named(names.env_var_name, name, f"{path}.name") if name else [FieldError.required(f"{path}.name")]
    source = variable.get("valueFrom")
    if source is not None:
        errors += _value_errors(source, variable.get("value"), f"{path}.valueFrom")
    return errors


def _value_errors(source: Object, value: str | None, path: str) -> Errors:
    present = [name for name in _SOURCES if source.get(name) is not None]
    errors: Errors = []
    if not present:
        errors.append(FieldError.invalid(path, "", _ONE_OF))
    elif value:
        errors.append(FieldError.invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(present) > 1:
        errors.append(FieldError.invalid(path, "", "may not have more than one field specified at a time"))
    for name in present:
        where = f"{path}.{name}"
        if name == "fieldRef":
            errors += field_ref_errors(source[name], where, _ENV_FIELDS)
        elif name == "resourceFieldRef":
            errors += _resource_ref_errors(source[name], where)
        elif name != "fileKeyRef":
            errors += _key_errors(source[name], where)
    return errors


def field_ref_errors(reference: Object, path: str, supported: tuple[str, ...]) -> Errors:
    """A downward API field: one of the supported paths, or a label or annotation by key."""
    field = reference.get("fieldPath")
    if not reference.get("apiVersion"):
        return [FieldError.required(f"{path}.apiVersion")]
    if not field:
        return [FieldError.required(f"{path}.fieldPath")]
    if match := _subscript(field):
        return named(names.qualified_name, match[2], path)
    if field in supported:
        return []
    if field.startswith(("metadata.", "spec.", "status.")) and field in _KNOWN:
        return [FieldError.not_supported(f"{path}.fieldPath", field, sorted(supported))]
    message = f"error converting fieldPath: field label not supported: {field}"
    return [FieldError.invalid(f"{path}.fieldPath", field, message)]


def _resource_ref_errors(reference: Object, path: str) -> Errors:
    resource = reference.get("resource")
    if not resource:
        return [FieldError.required(f"{path}.resource")]
    if not _RESOURCES(resource):
        supported = [f"{kind}.{name}" for kind in ("limits", "requests") for name in _AMOUNTS]
        return [FieldError.not_supported(f"{path}.resource", resource, supported)]
    return []


def _key_errors(reference: Object, path: str) -> Errors:
    errors: Errors = []
    if not reference.get("name"):
        errors.append(FieldError.required(f"{path}.name"))
    key = reference.get("key")
    return errors + (named(names.config_map_key, key, f"{path}.key") if key else [FieldError.required(f"{path}.key")])


def _source_errors(source: Object, path: str) -> Errors:
    errors: Errors = []
    if prefix := source.get("prefix"):
        errors += named(names.env_var_name, prefix, f"{path}.prefix")
    present = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
    if not present:
        errors.append(FieldError.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(present) > 1:
        errors.append(FieldError.invalid(path, "", "may not have more than one field specified at a time"))
    errors += [FieldError.required(f"{path}.{name}.name") for name in present if not source[name].get("name")]
    return errors


_AMOUNTS = ("cpu", "ephemeral-storage", "memory")
_KNOWN = frozenset({*_ENV_FIELDS, "metadata.labels", "metadata.annotations", "status.phase", "spec.restartPolicy"})
