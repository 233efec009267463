"""Checks of a pod's volumes: one source each, with what that source needs."""

from collections.abc import Callable, Mapping

from sampan.apiserver.registry.validation.containers import relative_path_errors
from sampan.apiserver.registry.validation.environment import field_ref_errors
from sampan.apiserver.registry.validation.rules import Errors, named
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_FILE_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations")
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_MODE_RANGE = "must be a number between 0 and 0777 (octal), both inclusive"
_TOKEN_LEAST, _TOKEN_MOST = 600, 1 << 32


def volume_errors(spec: Object, path: str) -> tuple[set[str], Errors]:
    """The names of the volumes that may be mounted, and what is wrong with the list."""
    errors: Errors = []
    seen: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where = f"{path}.volumes[{index}]"
        name = volume.get("name")
        if not name:
            errors.append(FieldError.required(f"{where}.name"))
        else:
            errors += named(names.dns1123_label, name, f"{where}.name")
            if name in seen:
                errors.append(FieldError.duplicate(f"{where}.name", name))
            seen.add(name)
        errors += _source_errors(volume, where)
    return seen, errors


def _source_errors(volume: Object, path: str) -> Errors:
    sources = [name for name, value in volume.items() if name != "name" and value is not None]
    if not sources:
        return [FieldError.required(path, "must specify a volume type")]
    errors: Errors = [
        FieldError.forbidden(f"{path}.{name}", "may not specify more than 1 volume type") for name in sources[1:]
    ]
    check = _CHECKS.get(sources[0])
    return errors + (check(volume[sources[0]], f"{path}.{sources[0]}") if check else [])


def _host_path(source: Object, path: str) -> Errors:
    target = source.get("path")
    if not target:
        return [FieldError.required(f"{path}.path")]
    errors: Errors = []
    if ".." in target.split("/"):
        errors.append(FieldError.invalid(f"{path}.path", target, "must not contain '..'"))
    if source.get("type", "") not in _HOST_PATH_TYPES:
        errors.append(FieldError.not_supported(f"{path}.type", source["type"], _HOST_PATH_TYPES))
    return errors


def _secret(source: Object, path: str) -> Errors:
    errors = [] if source.get("secretName") else [FieldError.required(f"{path}.secretName")]
    return errors + _files(source, path)


def _config_map(source: Object, path: str) -> Errors:
    errors = [] if source.get("name") else [FieldError.required(f"{path}.name")]
    return errors + _files(source, path)


def _claim(source: Object, path: str) -> Errors:
    return [] if source.get("claimName") else [FieldError.required(f"{path}.claimName")]


def _downward(source: Object, path: str) -> Errors:
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("items") or ()):
        errors += _downward_item(item, f"{path}.items[{index}]")
    return errors


def _downward_item(item: Object, path: str) -> Errors:
    errors: Errors = []
    if not item.get("path"):
        errors.append(FieldError.required(f"{path}.path"))
    else:
        errors += relative_path_errors(item["path"], f"{path}.path")
    if (reference := item.get("fieldRef")) is not None:
        errors += field_ref_errors(reference, f"{path}.fieldRef", _FILE_FIELDS)
    elif item.get("resourceFieldRef") is None:
        errors.append(FieldError.required(f"{path}.fieldRef", "one of fieldRef and resourceFieldRef is required"))
    return errors + _mode(item.get("mode"), f"{path}.mode")


def _projected(source: Object, path: str) -> Errors:
    errors = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, part in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        for name, held in part.items():
            if name in ("secret", "configMap"):
                errors += [] if held.get("name") else [FieldError.required(f"{where}.{name}.name")]
                errors += _items(held, f"{where}.{name}")
            elif name == "downwardAPI":
                errors += _downward(held, f"{where}.{name}")
            elif name == "serviceAccountToken":
                errors += _token(held, f"{where}.{name}")
    return errors


def _token(source: Object, path: str) -> Errors:
    errors: Errors = []
    seconds = source.get("expirationSeconds", 3600)
    if seconds < _TOKEN_LEAST:
        errors.append(
            FieldError.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    elif seconds > _TOKEN_MOST:
        errors.append(
            FieldError.invalid(
                f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
            )
        )
    if not source.get("path"):
        errors.append(FieldError.required(f"{path}.path"))
    return errors


def _files(source: Object, path: str) -> Errors:
    return _mode(source.get("defaultMode"), f"{path}.defaultMode") + _items(source, path)


def _items(source: Object, path: str) -> Errors:
    errors: Errors = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not item.get("key"):
            errors.append(FieldError.required(f"{where}.key"))
        if not item.get("path"):
            errors.append(FieldError.required(f"{where}.path"))
        else:
            errors += relative_path_errors(item["path"], f"{where}.path")
        errors += _mode(item.get("mode"), f"{where}.mode")
    return errors


def _mode(mode: int | None, path: str) -> Errors:
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [FieldError.invalid(path, mode, _MODE_RANGE)]


_CHECKS: Mapping[str, Callable[[Object, str], Errors]] = {
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "projected": _projected,
}
