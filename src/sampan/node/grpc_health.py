"""The one call of gRPC's health service that probes need (grpc.health.v1.Health/Check), over plain HTTP/2.

Only what this call takes is spoken: one request, headers sent uncompressed (RFC 7541 literals), and of the answer
only the DATA frames, which hold the message. https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
import struct

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)
NAMES = {UNKNOWN: "UNKNOWN", SERVING: "SERVING", NOT_SERVING: "NOT_SERVING", SERVICE_UNKNOWN: "SERVICE_UNKNOWN"}

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8


MAX_MESSAGE = 64 * 1024


class BadAnswer(Exception):
    """The server does not speak gRPC, or has no health service."""


async def check(host: str, port: int, service: str) -> int:
    """The status of a service (empty: the whole server). Raises OSError, BadAnswer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0) + _request(f"{host}:{port}", service))
        await writer.drain()
        return _status(await _read_message(reader, writer))
    except asyncio.IncompleteReadError as error:
        raise BadAnswer("connection closed before an answer arrived") from error
    finally:
        writer.close()


def _request(authority: str, service: str) -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "kube-probe/1.36",
    }
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    block = b"".join(b"\0" + _text(key) + _text(value) for key, value in headers.items())
    body = struct.pack(">BI", 0, len(message)) + message
    return _frame(_HEADERS, _END_HEADERS, 1, block) + _frame(_DATA, _END_STREAM, 1, body)


async def _read_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    received = b""
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = await reader.readexactly(length) if length else b""
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            received += _unpadded(payload) if flags & _PADDED else payload
            if len(received) > MAX_MESSAGE:
                raise BadAnswer("the answer is too long")
        if len(received) >= 5 and len(received) >= 5 + int.from_bytes(received[1:5], "big"):
            return received[5 : 5 + int.from_bytes(received[1:5], "big")]
        if kind in (_RST_STREAM, _GOAWAY) or (kind in (_HEADERS, _DATA) and flags & _END_STREAM):
            raise BadAnswer("the server has no health service, or none of that name")


def _status(message: bytes) -> int:
    """Field 1 of HealthCheckResponse, a varint below 128; absent means UNKNOWN."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else UNKNOWN


def _unpadded(payload: bytes) -> bytes:
    """The data of a padded frame (RFC 9113, 6.1)."""
    if not payload or payload[0] >= len(payload):
        raise BadAnswer("the server sent a frame with more padding than content")
    return payload[1 : len(payload) - payload[0]]


def _varint(number: int) -> bytes:
    """A protobuf varint: seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes((*found, number))


def _text(text: str) -> bytes:
    """A string that is not Huffman-coded (RFC 7541, 5.1 and 5.2)."""
    raw = text.encode()
    return (bytes((len(raw),)) if len(raw) < 127 else b"\x7f" + _varint(len(raw) - 127)) + raw


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload
