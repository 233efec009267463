"""Protobuf messages of the API to the JSON objects they stand for.

`fields.txt` (made by scripts/protobuf_fields.py) names the fields of every message. Upstream writes every field that
is not a pointer, whether it is set or not; what is zero there would be left out of JSON and is left out here. Fields
that this release does not know are dropped, as upstream does.
"""

import base64
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec

from sampan.apiserver.protobuf.wire import WireError, fields
from sampan.machinery import times
from sampan.machinery.objects import Object

MAGIC = b"k8s\x00"
_NANOS = 1_000_000_000


class Field(NamedTuple):
    """`kind` is a scalar's name or a message's; `shape` is `[]`, `{}` (map), `<` (inlined), `*` (pointer) or empty."""

    name: str
    kind: str
    shape: str


Messages = Mapping[str, Mapping[int, Field]]


@cache
def table() -> Messages:
    """All messages by name, without `k8s.io.api.` in front: `core.v1.Pod`."""
    found: dict[str, dict[int, Field]] = {}
    text = files(__package__).joinpath("fields.txt").read_text()
    for block in text.split("\n\n"):
        name, *lines = block.split("\n")
        found[name] = dict(_parse(line) for line in lines if line)
    return found


def _parse(line: str) -> tuple[int, Field]:
    number, name, kind = line.split(" ")
    bare = kind.lstrip("[]{}<*")
    return int(number), Field(name, bare, kind[: len(kind) - len(bare)])


def decode_envelope(data: bytes) -> tuple[str, str, bytes]:
    """A body that begins with MAGIC (runtime.Unknown) → apiVersion, kind and the raw message. Raises WireError."""
    if not data.startswith(MAGIC):
        raise WireError("the body does not begin with the magic number of Kubernetes' protobuf encoding")
    api_version = kind = raw = b""
    for number, value in fields(data[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            parts = {key: part for key, part in fields(value) if isinstance(part, bytes)}
            api_version, kind = parts.get(1, b""), parts.get(2, b"")
        elif number == 2 and isinstance(value, bytes):
            raw = value
    return api_version.decode(), kind.decode(), raw


def decode_message(name: str, data: bytes) -> Object:
    """Raises WireError for what is not such a message, KeyError for a message that is not known."""
    known = table()[name]
    found: Object = {}
    for number, value in fields(data):
        field = known.get(number)
        if field is not None:
            _add(found, field, value)
    return found


def _add(found: Object, field: Field, raw: int | float | bytes) -> None:
    if field.shape == "{}":
        key, value = _map_entry(field.kind, raw)
        found.setdefault(field.name, {})[key] = value
        return
    value = _value(field.kind, raw)
    if field.shape == "[]":
        found.setdefault(field.name, []).append(value)
    elif field.shape == "<":
        found.update(value)
    elif field.shape == "*" or (value is not None and value not in ("", 0)):
        found[field.name] = value


def _map_entry(kind: str, raw: int | float | bytes) -> tuple[str, Any]:
    key, value = "", _value(kind, b"") if kind in ("string", "bytes") else None
    for number, part in fields(_bytes(raw)):
        if number == 1:
            key = _bytes(part).decode()
        elif number == 2:
            value = _value(kind, part)
    return key, value


def _value(kind: str, raw: int | float | bytes) -> Any:
    match kind:
        case "string":
            return _bytes(raw).decode()
        case "int" | "double":
            if isinstance(raw, bytes):
                raise WireError("a number was expected")
            return raw
        case "bool":
            return bool(raw)
        case "bytes":
            return base64.b64encode(_bytes(raw)).decode()
    special = _SPECIAL.get(kind)
    return special(_bytes(raw)) if special else decode_message(kind, _bytes(raw))


def _bytes(raw: int | float | bytes) -> bytes:
    if not isinstance(raw, bytes):
        raise WireError("bytes were expected")
    return raw


def _time(data: bytes) -> str | None:
    """Seconds and nanoseconds; the zero time is written as an empty message."""
    found = dict(fields(data))
    seconds = found.get(1, 0)
    return times.from_epoch(seconds) if isinstance(seconds, int) and abs(seconds) < 1 << 37 and seconds else None


def _micro_time(data: bytes) -> str | None:
    found = dict(fields(data))
    seconds, nanos = found.get(1, 0), found.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int) or not seconds:
        return None
    return f"{times.from_epoch(seconds)[:-1]}.{nanos % _NANOS // 1000:06d}Z"


def _int_or_string(data: bytes) -> int | str:
    found = dict(fields(data))
    if found.get(1, 0) == 1:
        return _bytes(found.get(3, b"")).decode()
    number = found.get(2, 0)
    return number if isinstance(number, int) else 0


def _quantity(data: bytes) -> str:
    return _bytes(dict(fields(data)).get(1, b"")).decode()


def _items(data: bytes) -> list[str]:
    return [_bytes(value).decode() for number, value in fields(data) if number == 1]


def _json(data: bytes) -> Any:
    raw = _bytes(dict(fields(data)).get(1, b""))
    return msgspec.json.decode(raw) if raw else None


_SPECIAL: Mapping[str, Callable[[bytes], Any]] = {
    "meta.v1.Time": _time,
    "meta.v1.MicroTime": _micro_time,
    "meta.v1.FieldsV1": _json,
    "meta.v1.Verbs": _items,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _quantity,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _json,
    "authentication.v1.ExtraValue": _items,
    "authorization.v1.ExtraValue": _items,
    "certificates.v1.ExtraValue": _items,
}
