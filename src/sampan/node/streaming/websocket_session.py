"""exec and attach over WebSocket: messages whose first byte is the number of a channel."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from sampan.http.websocket import WebSocket
from sampan.machinery.objects import Object
from sampan.node.streaming.session import SUCCESS, terminal_size

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
_STDIN, _ERROR, _RESIZE, _CLOSE = 0, 3, 4, 255


class WebSocketSession:
    """A `Session` over one WebSocket."""

    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self._socket = socket
        self._structured = protocol != PROTOCOLS[-1]
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._sizes: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._receive())

    async def stdin(self) -> AsyncIterator[bytes]:
        while data := await self._stdin.get():
            yield data

    async def sizes(self) -> AsyncIterator[tuple[int, int]]:
        while size := await self._sizes.get():
            yield size

    async def write(self, stream: int, data: bytes) -> None:
        await self._socket.send(bytes((stream,)) + data)

    async def finish(self, status: Object) -> None:
        try:
            if self._structured:
                await self._socket.send(bytes((_ERROR,)) + msgspec.json.encode(status))
            elif status != SUCCESS:
                await self._socket.send(bytes((_ERROR,)) + str(status["message"]).encode())
        except ConnectionError:
            pass
        await self._socket.close()
        self._task.cancel()

    async def gone(self) -> None:
        await asyncio.shield(self._task)

    async def _receive(self) -> None:
        try:
            while message := await self._socket.receive():
                await self._take(message[0], message[1:])
        except (ConnectionError, msgspec.DecodeError, KeyError, ValueError):
            await self._socket.close()
        finally:
            self._sizes.put_nowait(None)
            if not self._stdin.full():
                self._stdin.put_nowait(b"")

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == _STDIN and data:
            await self._stdin.put(data)
        elif channel == _RESIZE:
            self._sizes.put_nowait(terminal_size(msgspec.json.decode(data)))
        elif channel == _CLOSE and data[:1] == bytes((_STDIN,)):
            await self._stdin.put(b"")
