"""The protobuf wire format (https://protobuf.dev/programming-guides/encoding/): bytes to numbered fields."""

from collections.abc import Iterator
from struct import unpack_from

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGN, _MODULUS = 1 << 63, 1 << 64


class WireError(ValueError):
    """Bytes that are not a protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The number and raw value of each field of one message. Raises WireError."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value - _MODULUS if value >= _SIGN else value
        elif kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > end:
                raise WireError("a field is longer than its message")
            yield tag >> 3, data[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
            if at + size > end:
                raise WireError("a field is longer than its message")
            yield tag >> 3, float(unpack_from("<d" if size == 8 else "<f", data, at)[0])
            at += size
        else:
            raise WireError(f"unknown wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise WireError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (_MODULUS - 1), at
        shift += 7
    raise WireError("a number is too long")
