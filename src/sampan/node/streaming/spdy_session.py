"""exec and attach over SPDY/3.1: the client opens one stream for each of error, stdin, stdout, stderr and resize."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from sampan.http.messages import Response
from sampan.http.server import Request
from sampan.http.spdy import UPGRADE, SPDYConnection, SPDYStream, StreamTransport
from sampan.machinery.objects import Object
from sampan.node.streaming.session import SUCCESS, StreamOptions, terminal_size

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
OPEN_SECONDS = 30.0
_STRUCTURED = "v4.channel.k8s.io"
_OUTPUTS = {1: "stdout", 2: "stderr"}


def choose_protocol(request: Request, supported: tuple[str, ...]) -> str | None:
    """The client's first protocol that we know; the oldest if it names none."""
    offered = [one.strip() for one in request.headers.get("x-stream-protocol-version", "").split(",") if one.strip()]
    if not offered:
        return supported[-1]
    return next((one for one in offered if one in supported), None)


async def accept_connection(request: Request, protocol: str) -> StreamTransport:
    """Answer the upgrade and take the connection over."""
    headers = {"Connection": "Upgrade", "Upgrade": UPGRADE, "X-Stream-Protocol-Version": protocol}
    return StreamTransport(*await request.upgrade(headers))


def unsupported(protocols: tuple[str, ...]) -> Response:
    message = f"unable to upgrade: unable to negotiate protocol: server supports {list(protocols)}"
    return Response(403, message.encode(), "text/plain")


class SPDYSession:
    """A `Session` over one SPDY connection."""

    def __init__(self, transport: StreamTransport, protocol: str, options: StreamOptions) -> None:
        self._structured = protocol == _STRUCTURED
        self._expected = self._wanted(options)
        self._streams: dict[str, SPDYStream] = {}
        self._complete = asyncio.Event()
        self._connection = SPDYConnection(transport, self._opened)
        self._task = asyncio.create_task(self._connection.run())

    async def wait_open(self) -> bool:
        """Wait until the client has opened all streams; false if it does not."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._complete.wait()
        except TimeoutError:
            await self._connection.close()
            return False
        return True

    async def stdin(self) -> AsyncIterator[bytes]:
        stream = self._streams.get("stdin")
        while stream and (data := await stream.read()):
            yield data

    async def sizes(self) -> AsyncIterator[tuple[int, int]]:
        stream = self._streams.get("resize")
        text = b""
        while stream and (data := await stream.read()):
            *lines, text = (text + data).replace(b"}", b"}\n").split(b"\n")
            for line in lines:
                if line.strip():
                    yield terminal_size(msgspec.json.decode(line))

    async def write(self, stream: int, data: bytes) -> None:
        target = self._streams.get(_OUTPUTS[stream])
        if target:
            await target.write(data)

    async def finish(self, status: Object) -> None:
        try:
            await self._say(status)
            for stream in self._streams.values():
                await stream.close()
        except ConnectionError:
            pass
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self.gone()
        except TimeoutError:
            await self._connection.close()

    async def gone(self) -> None:
        await asyncio.shield(self._task)

    async def _say(self, status: Object) -> None:
        """Newer clients read a Status, older ones text, and only if something is wrong."""
        if self._structured:
            await self._streams["error"].write(msgspec.json.encode(status))
        elif status != SUCCESS:
            await self._streams["error"].write(str(status["message"]).encode())

    def _opened(self, stream: SPDYStream) -> None:
        self._streams[stream.headers.get("streamtype", "")] = stream
        if self._expected <= self._streams.keys():
            self._complete.set()

    def _wanted(self, options: StreamOptions) -> set[str]:
        wanted = {"stdin": options.stdin, "stdout": options.stdout, "stderr": options.stderr}
        names = {"error"} | {name for name, asked in wanted.items() if asked}
        return names | ({"resize"} if options.tty and self._structured else set())
