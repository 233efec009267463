"""Checks of ConfigMaps and Secrets: keys, sizes, what a type requires, and immutability."""

import base64
import binascii
from collections.abc import Mapping

from sampan.apiserver.registry.validation.rules import Errors, Rules, immutable, named
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_SIZE_MAX = 1 << 20
_REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_FROZEN = "field is immutable when `immutable` is set"
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def _config_map(obj: Object) -> Errors:
    errors: Errors = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in data:
        errors += named(names.config_map_key, key, f"data[{key}]")
        if key in binary:
            message = "duplicate of key present in binaryData"
            errors.append(FieldError.invalid(f"data[{key}]", key, message))
    for key in binary:
        errors += named(names.config_map_key, key, f"binaryData[{key}]")
    size = sum(len(value.encode()) for value in data.values()) + sum(map(_decoded_size, binary.values()))
    if size > _SIZE_MAX:
        errors.append(FieldError.too_long("", _SIZE_MAX))
    return errors


def _secret(obj: Object) -> Errors:
    errors: Errors = []
    data = obj.get("data") or {}
    for key, value in data.items():
        errors += named(names.config_map_key, key, f"data[{key}]")
        if value and not _is_base64(value):
            message = "illegal base64 data at input byte 0"
            errors.append(FieldError.invalid(f"data[{key}]", "<redacted>", message))
    if sum(map(_decoded_size, data.values())) > _SIZE_MAX:
        errors.append(FieldError.too_long("data", _SIZE_MAX))
    kind = obj.get("type", "")
    errors += [FieldError.required(f"data[{key}]") for key in _REQUIRED_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        errors += [FieldError.required("data[username]"), FieldError.required("data[password]")]
    if kind == _ACCOUNT_TOKEN:
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if not annotations.get(_ACCOUNT_NAME):
            errors.append(FieldError.required(f"metadata.annotations[{_ACCOUNT_NAME}]"))
    return errors


def _config_map_update(new: Object, old: Object) -> Errors:
    return _frozen_errors(new, old, ("data", "binaryData")) + _config_map(new)


def _secret_update(new: Object, old: Object) -> Errors:
    errors = immutable(new.get("type"), old.get("type"), "type")
    return errors + _frozen_errors(new, old, ("data",)) + _secret(new)


def _frozen_errors(new: Object, old: Object, fields: tuple[str, ...]) -> Errors:
    if not old.get("immutable"):
        return []
    errors: Errors = []
    if not new.get("immutable"):
        errors.append(FieldError.forbidden("immutable", _FROZEN))
    changed = (field for field in fields if (new.get(field) or {}) != (old.get(field) or {}))
    return errors + [FieldError.forbidden(field, _FROZEN) for field in changed]


def _decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=", -2)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


CONFIG_MAPS = Rules(_config_map, _config_map_update)
SECRETS = Rules(_secret, _secret_update)
