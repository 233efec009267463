"""TCP listeners: accept, find an endpoint that answers, relay both directions until both have ended.

An endpoint that refuses is passed over for the next one. When a side fails, the other is reset, as it would be without
a relay between them.
"""

import asyncio
import logging
import socket
import struct

from sampan.proxy.backends.userspace.balancer import Balancer
from sampan.proxy.backends.userspace.limits import Limit, Tally
from sampan.proxy.backends.userspace.pump import Pump
from sampan.proxy.state import Endpoint

log = logging.getLogger(__name__)

BACKLOG = 1024
BURST = 64
"""How many connections are accepted before others have their turn."""

CONNECT_SECONDS = (0.25, 0.5, 1.0, 2.0)
"""How long an endpoint may take to answer; as many endpoints are tried."""

FULL_SECONDS = 0.2
"""How long to leave new connections in the backlog when no more files may be opened."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close() send a reset."""


class TCPListener:
    """One listening socket. Use it in the loop's thread only; connections go on after `close`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: str, balancer: Balancer, tally: Tally, limit: Limit
    ) -> None:
        self._loop = loop
        self._balancer = balancer
        self._tally = tally
        self._limit = limit
        self._socket = _listening(address)
        self.port: int = self._socket.getsockname()[1]
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def endpoints_changed(self) -> None:
        """Established connections stay where they are."""

    def _accept(self) -> None:
        for _ in range(BURST):
            if not self._limit.take():
                self._pause()
                return
            try:
                client, address = self._socket.accept()
            except BlockingIOError:
                self._limit.give_back()
                return
            except OSError as error:
                self._limit.give_back()
                log.error("accepting a connection: %s", error)
                self._pause()
                return
            self._start(client, address[0])

    def _pause(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.call_later(FULL_SECONDS, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._accept)

    def _start(self, client: socket.socket, source: str) -> None:
        self._tally.connections += 1
        task = self._loop.create_task(self._serve(client, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket, source: str) -> None:
        try:
            with client:
                _prepare(client)
                server = await self._connect(source)
                if server is None:
                    _reset(client)
                    return
                with server:
                    await _relay(self._loop, client, server, self._tally)
        except OSError as error:
            log.debug("a connection from %s: %s", source, error)
        finally:
            self._limit.give_back()

    async def _connect(self, source: str) -> socket.socket | None:
        """A connection to an endpoint; None if none answers."""
        tried: list[Endpoint] = []
        for seconds in CONNECT_SECONDS:
            endpoint = self._balancer.pick(source, tried)
            if endpoint is None:
                return None
            server = socket.socket(socket.AF_INET6 if ":" in endpoint.ip else socket.AF_INET, socket.SOCK_STREAM)
            try:
                _prepare(server)
                async with asyncio.timeout(seconds):
                    await self._loop.sock_connect(server, (endpoint.ip, endpoint.port))
            except OSError as error:  # TimeoutError, too
                server.close()
                log.debug("%s port %d does not answer: %s", endpoint.ip, endpoint.port, error)
                tried.append(endpoint)
                continue
            return server
        return None


async def _relay(loop: asyncio.AbstractEventLoop, client: socket.socket, server: socket.socket, tally: Tally) -> None:
    """Until both directions have ended, or one has failed: then both sides are reset."""
    done: asyncio.Future[None] = loop.create_future()
    open_directions = 2

    def ended(error: OSError | None) -> None:
        nonlocal open_directions
        open_directions -= 1
        if error is not None:
            _reset(client)
            _reset(server)
        if (error is not None or not open_directions) and not done.done():
            done.set_result(None)

    pumps: list[Pump] = []
    try:
        pumps.append(Pump(loop, client, server, tally, ended))
        pumps.append(Pump(loop, server, client, tally, ended))
        await done
    finally:
        for pump in pumps:
            pump.close()


def _listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind((address, 0))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket) -> None:
    """No waiting, no delay, and a peer that vanished is noticed."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
