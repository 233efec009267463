"""A version 2 document as protobuf: the `openapi.v2.Document` of gnostic's OpenAPIv2.proto.

`kubectl` asks for `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`. Only the fields that our own documents
have are encoded. Numbers are the field numbers of that file.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_TEXT = 2
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode_document(document: Mapping[str, Any]) -> bytes:
    """Encode a document as `openapi.v2_document` builds it."""
    info = document["info"]
    return b"".join(
        (
            _string(1, document["swagger"]),
            _message(2, _string(1, info["title"]) + _string(2, info["version"])),
            _message(8, _named(2, document["paths"], _path_item)),
            _message(9, _named(1, document["definitions"], _schema)),
        )
    )


def _path_item(item: Mapping[str, Any]) -> bytes:
    methods = b"".join(_message(number, _operation(item[name])) for name, number in _METHODS.items() if name in item)
    return methods + b"".join(_message(9, _parameter(parameter)) for parameter in item.get("parameters", ()))


def _operation(operation: Mapping[str, Any]) -> bytes:
    return b"".join(
        (
            _strings(1, operation["tags"]),
            _string(5, operation["operationId"]),
            _strings(6, operation["produces"]),
            _strings(7, operation["consumes"]),
            b"".join(_message(8, _parameter(parameter)) for parameter in operation["parameters"]),
            _message(9, _named(1, operation["responses"], _response)),
            _extensions(13, operation),
        )
    )


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    """A `ParametersItem`: which kind of parameter it is, is told by nested messages."""
    match parameter["in"]:
        case "body":
            fields = _string(2, parameter["name"]) + _string(3, "body") + _boolean(4, parameter["required"])
            return _message(1, _message(1, fields + _message(5, _schema(parameter["schema"]))))
        case "query":
            fields = _simple_parameter(parameter, type_number=6, unique_number=20)
            return _message(1, _message(2, _message(3, fields)))
    return _message(1, _message(2, _message(4, _simple_parameter(parameter, type_number=5, unique_number=19))))


def _simple_parameter(parameter: Mapping[str, Any], *, type_number: int, unique_number: int) -> bytes:
    return b"".join(
        (
            _boolean(1, parameter.get("required", False)),
            _string(2, parameter["in"]),
            _string(3, parameter["description"]),
            _string(4, parameter["name"]),
            _string(type_number, parameter["type"]),
            _boolean(unique_number, parameter.get("uniqueItems", False)),
        )
    )


def _response(response: Mapping[str, Any]) -> bytes:
    schema = _message(2, _message(1, _schema(response["schema"]))) if "schema" in response else b""
    return _message(1, _string(1, response["description"]) + schema)


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [
        _string(1, schema.get("$ref", "")),
        _string(2, schema.get("format", "")),
        _string(4, schema.get("description", "")),
        _strings(19, schema.get("required", ())),
    ]
    if "additionalProperties" in schema:
        parts.append(_message(21, _message(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_message(22, _string(1, schema["type"])))
    if "items" in schema:
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(_message(25, _named(1, schema["properties"], _schema)))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _extensions(number: int, holder: Mapping[str, Any]) -> bytes:
    """The `x-` fields, each as a name and its value in YAML (of which JSON is a part)."""
    return b"".join(
        _message(number, _string(1, name) + _message(2, _bytes(2, msgspec.json.encode(value) + b"\n")))
        for name, value in holder.items()
        if name.startswith("x-")
    )


def _named(number: int, items: Mapping[str, Any], encode: Any) -> bytes:
    return b"".join(_message(number, _string(1, name) + _message(2, encode(item))) for name, item in items.items())


def _message(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | _TEXT) + _varint(len(body)) + body


def _bytes(number: int, value: bytes) -> bytes:
    return _message(number, value) if value else b""


def _string(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _strings(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_message(number, value.encode()) for value in values)


def _boolean(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\1" if value else b""


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
