"""port-forward: for each connection that kubectl accepts, a pair of SPDY streams (data and error) and a connection to
a port on the pod's own loopback. The SPDY frames come raw, or tunnelled through a WebSocket.
"""

import asyncio
import logging
import socket
from pathlib import Path

from sampan.http.spdy import SPDYConnection, SPDYStream, Transport
from sampan.kernel import netns

log = logging.getLogger(__name__)

PROTOCOLS = ("portforward.k8s.io",)
TUNNEL_PROTOCOLS = ("SPDY/3.1+portforward.k8s.io",)
BLOCK = 32 * 1024
CONNECT_SECONDS = 30.0


class PortForward:
    """One client's port-forward into one pod; `network` is the pod's namespace, None the node's own."""

    def __init__(self, transport: Transport, network: Path | None, pod: str) -> None:
        self._network = network
        self._pod = pod
        self._connection = SPDYConnection(transport, self._opened)
        self._pairs: dict[str, dict[str, SPDYStream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the client leaves."""
        try:
            await self._connection.run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._connection.close()

    def _opened(self, stream: SPDYStream) -> None:
        request = stream.headers.get("requestid") or stream.headers.get("port", "")
        pair = self._pairs.setdefault(request, {})
        pair[stream.headers.get("streamtype", "")] = stream
        if {"data", "error"} <= pair.keys():
            del self._pairs[request]
            task = asyncio.create_task(self._forward(pair["data"], pair["error"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, data: SPDYStream, error: SPDYStream) -> None:
        port = data.headers.get("port", "")
        try:
            reader, writer = await self._connect(int(port))
        except (OSError, ValueError, TimeoutError) as problem:
            await self._refuse(data, error, port, str(problem))
            return
        try:
            await error.close()
            await asyncio.gather(_upload(data, writer), _download(reader, data))
        except ConnectionError as problem:
            log.debug("port-forward to %s:%s: %s", self._pod, port, problem)
            await _quietly_reset(data)
        finally:
            writer.close()

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not 0 < port < 65536:
            raise ValueError(f"{port} is not a port")
        try:
            return await self._connect_to("127.0.0.1", socket.AF_INET, port)
        except ConnectionRefusedError:
            try:
                return await self._connect_to("::1", socket.AF_INET6, port)
            except OSError:
                pass
            raise

    async def _connect_to(
        self, host: str, family: socket.AddressFamily, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = self._socket(family)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(connection, (host, port))
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_connection(sock=connection)

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        if self._network is None:
            return socket.socket(family, socket.SOCK_STREAM)
        return netns.run_in(self._network, lambda: socket.socket(family, socket.SOCK_STREAM))

    async def _refuse(self, data: SPDYStream, error: SPDYStream, port: str, why: str) -> None:
        message = f"error forwarding port {port} to pod {self._pod}: failed to connect to localhost:{port}: {why}"
        try:
            await error.write(message.encode())
            await error.close()
            await data.close()
        except ConnectionError:
            pass


async def _upload(stream: SPDYStream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _download(reader: asyncio.StreamReader, stream: SPDYStream) -> None:
    while data := await reader.read(BLOCK):
        await stream.write(data)
    await stream.close()


async def _quietly_reset(stream: SPDYStream) -> None:
    try:
        await stream.reset()
    except ConnectionError:
        pass
