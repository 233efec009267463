"""Typed decoding: makes a JSON object what upstream's Go types would have made of it.

Unknown fields and nulls go (a null in a list or a map becomes the zero value; Go's zero time is a null), quantities,
times and base64 take their canonical form, and a value of the wrong type is refused in the words of upstream's
decoder. One pass, in place: this runs for every write. `duplicates` finds what a decoded object can no longer show;
strategies validate what is left.
"""

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.machinery import quantity, times
from sampan.machinery.errors import BadRequest
from sampan.machinery.objects import Object
from sampan.machinery.schema import Node


class DecodingError(BadRequest):
    """A value that does not fit its field's type."""


Path = tuple[Any, ...]
"""A linked list from the inside out: (outer path, name or index, node of the holder); empty at the top."""


def decode(obj: Object, node: Node) -> list[str]:
    """Decode `obj` in place and return the paths of the unknown fields that were dropped, as `spec.ports[0].foo`.

    Raises DecodingError at the first value of a wrong type.
    """
    unknown: list[str] = []
    _decode_object(obj, node, (), unknown)
    return unknown


def strict_message(unknown: Sequence[str], duplicate: Sequence[str] = ()) -> str:
    """What a request with `fieldValidation=Strict` is refused with."""
    return "strict decoding error: " + ", ".join(strict_problems(unknown, duplicate))


def strict_problems(unknown: Sequence[str], duplicate: Sequence[str] = ()) -> list[str]:
    """What `fieldValidation=Warn` warns of, one by one."""
    return [f'unknown field "{path}"' for path in unknown] + [f'duplicate field "{path}"' for path in duplicate]


def cannot_handle(kind: str, version: str, why: str) -> BadRequest:
    """The error of a request whose body could not be decoded."""
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def _decode_object(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is not dict:
        raise _mismatch(value, node, path)
    fields = node.properties
    dropped: list[str] = []
    for name, item in value.items():
        field = fields.get(name)
        if field is None:
            unknown.append(_show((path, name, node)))
            dropped.append(name)
        elif item is None:
            dropped.append(name)
        elif type(item) is not field.scalar:
            decoded = _DECODERS[field.kind](item, field, (path, name, node), unknown)
            if decoded is None:
                dropped.append(name)
            elif decoded is not item:
                value[name] = decoded
    for name in dropped:
        del value[name]
    return value


def _decode_map(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is not dict:
        raise _mismatch(value, node, path)
    inner = node.items
    scalar, decoder = inner.scalar, _DECODERS[inner.kind]
    for name, item in value.items():
        if type(item) is scalar:
            continue
        decoded = _zero(inner) if item is None else decoder(item, inner, (path, name, node), unknown)
        if decoded is not item:
            value[name] = decoded
    return value


def _decode_array(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is not list:
        raise _mismatch(value, node, path)
    inner = node.items
    scalar, decoder = inner.scalar, _DECODERS[inner.kind]
    for index, item in enumerate(value):
        if type(item) is scalar:
            continue
        decoded = _zero(inner) if item is None else decoder(item, inner, (path, index, node), unknown)
        if decoded is not item:
            value[index] = decoded
    return value


def _decode_string(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is not str:
        raise _mismatch(value, node, path)
    return _base64(value) if node.format == "byte" else value


def _decode_boolean(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is not bool:
        raise _mismatch(value, node, path)
    return value


def _decode_integer(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    bits = 63 if node.format == "int64" else 31
    if type(value) is not int or not -(1 << bits) <= value < 1 << bits:
        raise _mismatch(value, node, path)
    return value


def _decode_number(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) not in (int, float):
        raise _mismatch(value, node, path)
    return value


def _decode_int_or_string(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is str or (type(value) is int and -(1 << 31) <= value < 1 << 31):
        return value
    raise DecodingError(f"json: cannot unmarshal {_json_type(value, shown=True)} into Go value of type int32")


def _decode_quantity(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    try:
        canonical = quantity.canonical(value if type(value) in (str, int, float) else "")
    except quantity.QuantityError as wrong:
        raise DecodingError(str(wrong)) from None
    return value if canonical == value else canonical


def _decode_time(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    if type(value) is not str:
        raise DecodingError(f"json: cannot unmarshal {_json_type(value)} into Go value of type string")
    micro = node.type_name == "MicroTime"
    if (_is_micro_time if micro else _is_time)(value):
        return value
    try:
        if not _is_rfc3339(value):
            raise ValueError(value)
        moment = times.parse(value)
        text = times.format_micro_time(moment) if micro else times.format_time(moment)
    except ValueError:
        layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"
        message = f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"'
        raise DecodingError(message) from None
    return None if times.is_zero(moment) else text


def _keep(value: Any, node: Node, path: Path, unknown: list[str]) -> Any:
    return value


_DECODERS: Mapping[str, Callable[[Any, Node, Path, list[str]], Any]] = {
    "object": _decode_object,
    "map": _decode_map,
    "array": _decode_array,
    "string": _decode_string,
    "boolean": _decode_boolean,
    "integer": _decode_integer,
    "number": _decode_number,
    "int-or-string": _decode_int_or_string,
    "quantity": _decode_quantity,
    "time": _decode_time,
    "any": _keep,
}

_DATE = r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_is_time = re.compile(f"{_DATE}Z", re.ASCII).fullmatch
_is_micro_time = re.compile(rf"{_DATE}\.\d{{6}}Z", re.ASCII).fullmatch
_is_rfc3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII).fullmatch
_base64_start = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII).match


_JSON_TYPES: Mapping[type, str] = {str: "string", list: "array", dict: "object"}


def _zero(node: Node) -> Any:
    match node.kind:
        case "object" | "map":
            return {}
        case "array":
            return []
        case "integer" | "number" | "int-or-string":
            return 0
        case "boolean":
            return False
        case "quantity":
            return "0"
        case "string":
            return ""
    return None


def _base64(value: str) -> str:
    """Standard base64; line breaks inside are allowed and go. Raises DecodingError."""
    text = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        start = _base64_start(text)
        raise DecodingError(f"illegal base64 data at input byte {start.end() if start else 0}") from None
    return text


def _mismatch(value: Any, node: Node, path: Path) -> DecodingError:
    """The words of Go's `json.UnmarshalTypeError`: it names the innermost struct and the path without indexes."""
    what = _json_type(value, shown=node.kind == "integer")
    if not path:
        return DecodingError(f"json: cannot unmarshal {what} into Go value of type {node.go_type}")
    names: list[str] = []
    struct = ""
    while path:
        path, name, holder = path
        if holder.kind == "object":
            names.append(name)
            struct = struct or holder.type_name
    field = ".".join(reversed(names))
    return DecodingError(f"json: cannot unmarshal {what} into Go struct field {struct}.{field} of type {node.go_type}")


def _json_type(value: Any, *, shown: bool = False) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if shown else "number"
    return next((name for kind, name in _JSON_TYPES.items() if isinstance(value, kind)), "null")


def _show(path: Path) -> str:
    steps: list[str] = []
    while path:
        path, name, _ = path
        steps.append(f"[{name}]" if isinstance(name, int) else f".{name}")
    return "".join(reversed(steps)).removeprefix(".")
