"""The server side of WebSocket (RFC 6455), over a connection that an HTTP handler has upgraded.

kubectl uses it for exec, attach and port-forward (`sampan.node.streaming`), either with numbered channels or as a
tunnel for SPDY frames (`WebSocketTransport` below carries `sampan.http.spdy`).
"""

import asyncio
import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence

from sampan.http.server import Request

MAX_MESSAGE = 16 * 1024 * 1024

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
TOO_BIG = 1009


class WebSocketError(ConnectionError):
    """The peer broke the protocol; the connection cannot be used any more."""


def is_websocket(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for an upgrade to WebSocket."""
    return headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in headers


def choose_protocol(headers: Mapping[str, str], supported: Sequence[str]) -> str | None:
    """The first of our protocols that the client offers; None when it offers others only, "" when it offers none."""
    offered = [one.strip() for one in headers.get("sec-websocket-protocol", "").split(",") if one.strip()]
    if not offered:
        return ""
    return next((one for one in supported if one in offered), None)


async def accept(request: Request, protocol: str) -> "WebSocket":
    """Answer the handshake and take the connection over."""
    digest = hashlib.sha1((request.headers["sec-websocket-key"] + _GUID).encode(), usedforsecurity=False).digest()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
    }
    if protocol:
        headers["Sec-WebSocket-Protocol"] = protocol
    return WebSocket(*await request.upgrade(headers))


class WebSocket:
    """Whole messages in both directions. Pings are answered here; one task may receive while others send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = False

    async def receive(self) -> bytes | None:
        """The next message, text or binary; None once the peer has closed. Raises WebSocketError."""
        message = bytearray()
        while True:
            try:
                final, opcode, payload = await self._read_frame()
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return None
            if opcode == _CLOSE:
                await self.close()
                return None
            if opcode == _PING:
                await self._send_frame(_PONG, payload)
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                message += payload
                await self._check_size(len(message))
                if final:
                    return bytes(message)

    async def send(self, data: bytes) -> None:
        """Send one binary message and wait while the peer does not keep up. Raises ConnectionError."""
        await self._send_frame(_BINARY, data)

    async def send_text(self, text: str) -> None:
        await self._send_frame(_TEXT, text.encode())

    async def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Say goodbye and close the connection. Repeatable."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.write(_header(_CLOSE, 2 + len(reason.encode())) + struct.pack(">H", code) + reason.encode())
            await self._writer.drain()
        except ConnectionError:
            pass
        self._writer.close()

    async def _read_frame(self) -> tuple[bool, int, bytes]:
        first, second = await self._reader.readexactly(2)
        if first & 0x70 or not second & 0x80:
            await self.close(PROTOCOL_ERROR)
            raise WebSocketError("a frame uses reserved bits or is not masked")
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self._reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self._reader.readexactly(8), "big")
        await self._check_size(length)
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(length) if length else b""
        return bool(first & 0x80), first & 0x0F, unmask(payload, mask)

    async def _check_size(self, length: int) -> None:
        if length > MAX_MESSAGE:
            await self.close(TOO_BIG)
            raise WebSocketError("a message is too large")

    async def _send_frame(self, opcode: int, payload: bytes) -> None:
        if self._closed:
            raise ConnectionResetError("the connection is closed")
        self._writer.write(_header(opcode, len(payload)) + payload)
        await self._writer.drain()


class WebSocketTransport:
    """A stream of bytes inside the binary messages of a WebSocket; what `spdy.Transport` asks for."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._buffer = bytearray()

    async def read_exactly(self, count: int) -> bytes:
        """Raises EOFError at the end."""
        while len(self._buffer) < count:
            message = await self._socket.receive()
            if message is None:
                raise EOFError
            self._buffer += message
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def send(self, data: bytes) -> None:
        await self._socket.send(data)

    async def close(self) -> None:
        await self._socket.close()


def unmask(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask (its own inverse)."""
    if not payload:
        return b""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(len(payload), "little")


def _header(opcode: int, length: int) -> bytes:
    first = 0x80 | opcode
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return struct.pack(">BBH", first, 126, length)
    return struct.pack(">BBQ", first, 127, length)
