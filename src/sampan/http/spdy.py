"""The server side of SPDY/3.1: many byte streams in one connection, opened by the client.

Kubernetes has used it since before HTTP/2 for exec, attach and port-forward; kubectl falls back on it, and tunnels it
through WebSocket for port-forward. As in all Kubernetes implementations there is no flow control by windows: a slow
reader holds the whole connection up. `sampan.node.streaming` gives the streams their meaning.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from sampan.http.spdy_headers import BadHeaders, HeaderDecoder, HeaderEncoder

UPGRADE = "SPDY/3.1"
MAX_FRAME = 1 << 20
MAX_UNREAD = 1 << 20
"""Bytes that may wait in one stream before the connection is no longer read."""

_VERSION = 0x8003
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 4, 6, 7, 8
_FIN = 0x01
_WRITE_CHUNK = 32 * 1024
_PROTOCOL_ERROR, _CANCEL = 1, 5


class Transport(Protocol):
    """A reliable stream of bytes: a socket, or the messages of a WebSocket."""

    async def read_exactly(self, count: int) -> bytes:
        """Raises EOFError at the end."""

    async def send(self, data: bytes) -> None: ...

    async def close(self) -> None: ...


class StreamTransport:
    """An asyncio reader and writer as a `Transport`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read_exactly(self, count: int) -> bytes:
        try:
            return await self._reader.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()


class SPDYStream:
    """One stream: `headers` from the client, bytes both ways, each direction ended on its own."""

    def __init__(self, connection: "SPDYConnection", identifier: int, headers: Mapping[str, str]) -> None:
        self.id = identifier
        self.headers = headers
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._ended = False
        self._finished = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def read(self) -> bytes:
        """The next bytes; b"" once the client has ended its direction or the connection is gone."""
        while not self._chunks:
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._unread -= len(chunk)
        if self._unread < MAX_UNREAD:
            self._room.set()
        return chunk

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the stream or the connection is gone."""
        if self._finished:
            raise ConnectionResetError("the stream is closed")
        for start in range(0, len(data), _WRITE_CHUNK):
            await self._connection.send_data(self.id, data[start : start + _WRITE_CHUNK], 0)

    async def close(self) -> None:
        """End our direction. Repeatable."""
        if not self._finished:
            self._finished = True
            await self._connection.send_data(self.id, b"", _FIN)
            if self._ended:
                self._connection.forget(self.id)

    async def reset(self) -> None:
        """Give both directions up."""
        self._finished = True
        self.end()
        await self._connection.send_reset(self.id, _CANCEL)

    # --- for the connection

    async def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._unread += len(data)
        self._changed.set()
        if self._unread >= MAX_UNREAD:
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        self._ended = True
        self._changed.set()
        self._room.set()

    @property
    def finished(self) -> bool:
        """Whether our direction has ended."""
        return self._finished

    def break_off(self) -> None:
        self._finished = True
        self.end()


class SPDYConnection:
    """One connection; `on_stream` hears of every stream that the client opens, and accepts it by doing nothing."""

    def __init__(self, transport: Transport, on_stream: Callable[[SPDYStream], None]) -> None:
        self._transport = transport
        self._on_stream = on_stream
        self._streams: dict[int, SPDYStream] = {}
        self._encoder = HeaderEncoder()
        self._decoder = HeaderDecoder()
        self._closed = False

    async def run(self) -> None:
        """Read frames until the client leaves or breaks the protocol; then every stream is at its end."""
        try:
            while True:
                head = await self._transport.read_exactly(8)
                first, second = struct.unpack(">II", head)
                length = second & 0xFFFFFF
                if length > MAX_FRAME:
                    return
                body = await self._transport.read_exactly(length) if length else b""
                if first & 0x80000000:
                    await self._control(first & 0xFFFF, second >> 24, body)
                else:
                    await self._data(first & 0x7FFFFFFF, second >> 24, body)
        except (EOFError, ConnectionError, BadHeaders, struct.error):
            return
        finally:
            self._closed = True
            for stream in self._streams.values():
                stream.break_off()

    async def close(self) -> None:
        """Close the connection under all streams."""
        self._closed = True
        await self._transport.close()

    async def send_data(self, stream: int, data: bytes, flags: int) -> None:
        await self._send(struct.pack(">II", stream, flags << 24 | len(data)) + data)

    def forget(self, stream: int) -> None:
        """Drop a stream that has ended in both directions."""
        self._streams.pop(stream, None)

    async def send_reset(self, stream: int, status: int) -> None:
        self._streams.pop(stream, None)
        await self._send(_control_frame(_RST_STREAM, 0, struct.pack(">II", stream, status)))

    async def _send(self, frame: bytes) -> None:
        if self._closed:
            raise ConnectionResetError("the connection is closed")
        await self._transport.send(frame)

    async def _control(self, kind: int, flags: int, body: bytes) -> None:
        if kind == _SYN_STREAM:
            await self._open(flags, body)
        elif kind == _PING:
            await self._send(_control_frame(_PING, 0, body))
        elif kind == _RST_STREAM:
            stream = self._streams.pop(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF, None)
            if stream:
                stream.break_off()
        elif kind == _HEADERS:
            self._decoder.decode(body[4:])
            self._end_if(flags, struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)

    async def _open(self, flags: int, body: bytes) -> None:
        identifier = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
        stream = SPDYStream(self, identifier, self._decoder.decode(body[10:]))
        if identifier in self._streams:
            await self.send_reset(identifier, _PROTOCOL_ERROR)
            return
        self._streams[identifier] = stream
        await self._send(_control_frame(_SYN_REPLY, 0, struct.pack(">I", identifier) + self._encoder.encode({})))
        self._end_if(flags, identifier)
        self._on_stream(stream)

    async def _data(self, identifier: int, flags: int, body: bytes) -> None:
        stream = self._streams.get(identifier)
        if stream and body:
            await stream.feed(body)
        self._end_if(flags, identifier)

    def _end_if(self, flags: int, identifier: int) -> None:
        stream = self._streams.get(identifier)
        if stream and flags & _FIN:
            stream.end()
            if stream.finished:
                self.forget(identifier)


def _control_frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", _VERSION, kind, flags << 24 | len(body)) + body
