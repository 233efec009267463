"""TCP and UDP relays: forward traffic between a socket of the machine and sockets made inside the box.

`TCPRelay` makes one connection inside for each client connection, and closes each direction separately (half-closed
connections: RFC 9293, section 3.6). `UDPRelay` keeps one socket for each client until its flow is idle. Buffers are
bounded for each client, and `DescriptorBudget` bounds the open descriptors of all relays together. The `dial` function,
which `publish.py` passes, decides where a connection leads.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from sampan.dns import udp
from sampan.dns.udp import Client

CHUNK = 1 << 16
BATCH = 64
"""Connections or packets that are handled at once, before the event loop continues."""
WANTED_FILES = 16384
RESERVED_FILES = 512
"""Descriptors that the supervisor keeps for its other work."""
RETRY_SECONDS = 0.1
PROBE_SECONDS = 30.0
"""How often a half-closed connection is checked for a client that has vanished."""
WARNING_SECONDS = 10.0
FLOW_IDLE_SECONDS = 90.0
MAX_FLOWS = 512
"""Of one UDP port; a new flow replaces the one that has been idle longest."""
MAX_WAITING = 16
"""Packets of a client that are queued until its socket inside is connected."""

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
_NO_LINGER = struct.pack("ii", 1, 0)
_TCP_CLOSE = 7

log = logging.getLogger(__name__)

Dial = Callable[[], Awaitable[socket.socket]]
"""Returns a connected non-blocking socket. Raises Unreachable, OSError."""


class Unreachable(Exception):
    """There is nothing to connect to; the message says why."""


class Relay(Protocol):
    """A TCP or UDP relay. It owns its socket and all connections or flows until it is closed."""

    def close(self) -> None: ...


class DescriptorBudget:
    """How many more descriptors all relays together may open."""

    def __init__(self, descriptors: int) -> None:
        self.left = descriptors

    def take(self, descriptors: int) -> bool:
        if self.left < descriptors:
            return False
        self.left -= descriptors
        return True

    def release(self, descriptors: int) -> None:
        self.left += descriptors


def descriptor_budget_of_process() -> DescriptorBudget:
    """What RLIMIT_NOFILE allows, less a reserve. Raises the soft limit first, to at most WANTED_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else min(soft, WANTED_FILES)
    return DescriptorBudget(max(files - RESERVED_FILES, files // 4))


class _RateLimitedWarning:
    """Logs warnings at most every WARNING_SECONDS, because a client may retry all the time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0.0

    def __call__(self, error: object) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + WARNING_SECONDS
            log.warning("%s: %s", self._name, error)


class TCPRelay:
    """Joins every connection to `listener` with one that `dial` makes. Made within a running event loop."""

    def __init__(self, listener: socket.socket, dial: Dial, budget: DescriptorBudget, name: str) -> None:
        self._listener = listener
        self._dial = dial
        self._budget = budget
        self._warn = _RateLimitedWarning(name)
        self._loop = asyncio.get_running_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Ends listening, and the connections."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in self._connections:
            connection.cancel()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors: the connection stays pending and would wake the loop at once
                self._warn(error)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(RETRY_SECONDS, self._listen)
                return
            client.setblocking(False)
            if not self._budget.take(2):
                self._warn("too many connections are open")
                _reset(client)
                continue
            connection = self._loop.create_task(self._join(client))
            self._connections.add(connection)
            connection.add_done_callback(self._ended)

    def _ended(self, connection: asyncio.Task[None]) -> None:
        self._connections.discard(connection)
        self._budget.release(2)
        if not connection.cancelled() and (error := connection.exception()):
            log.error("a relayed connection failed", exc_info=error)

    async def _join(self, client: socket.socket) -> None:
        """Relays one connection until both directions have ended."""
        try:
            inside = await self._dial()
        except (Unreachable, OSError) as error:
            self._warn(error)
            _reset(client)
            return
        except BaseException:
            _reset(client)
            raise
        await _carry_both(client, inside)


async def _carry_both(client: socket.socket, inside: socket.socket) -> None:
    """Relays both directions and owns both sockets. An error on one of them resets the other."""
    for one in (client, inside):
        _keep_alive(one)
    outer_reader, outer = await asyncio.open_connection(sock=client)
    inner_reader, inner = await asyncio.open_connection(sock=inside)
    loop = asyncio.get_running_loop()
    up = loop.create_task(_carry(outer_reader, inner))
    down = loop.create_task(_carry(inner_reader, outer))
    try:
        while not (up.done() and down.done()):
            await asyncio.wait({up, down}, timeout=PROBE_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            failed = any(one.done() and one.exception() for one in (up, down))
            if failed or (not down.done() and _vanished(up, client)) or (not up.done() and _vanished(down, inside)):
                return
        for writer in (outer, inner):
            writer.close()
        await asyncio.gather(outer.wait_closed(), inner.wait_closed(), return_exceptions=True)
    finally:
        for direction in (up, down):
            direction.cancel()
        for writer in (outer, inner):
            _abort(writer)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies one direction, then closes it for writing. Raises OSError."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _vanished(reading: asyncio.Task[None], end: socket.socket) -> bool:
    """Whether a half-closed connection, which is not read any more, has been closed or reset by its peer."""
    if not reading.done() or end.fileno() < 0:
        return False
    return end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE


def _reset(connection: socket.socket) -> None:
    """Ends a connection so that the other side sees a failure, not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    connection.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


class _Flow:
    """The flow of one client. `waiting` packets are sent once `inside` is connected."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.inside: socket.socket | None = None
        self.waiting: list[bytes] = []
        self.used = 0.0
        self.making: asyncio.Task[None] | None = None


class UDPRelay:
    """Forwards packets and their replies. Made within a running event loop.

    A client is an address and port, and which of the machine's addresses it sends to. What cannot be sent at once is
    dropped, as UDP may; that a port inside is closed cannot be told to a client, so its next packet tries anew.
    """

    def __init__(
        self,
        sock: socket.socket,
        dial: Dial,
        budget: DescriptorBudget,
        name: str,
        *,
        idle: float = FLOW_IDLE_SECONDS,
        max_flows: int = MAX_FLOWS,
    ) -> None:
        self._outside = udp.prepare(sock, addresses_change=True)
        self._dial = dial
        self._budget = budget
        self._warn = _RateLimitedWarning(name)
        self._idle = idle
        self._max_flows = max_flows
        self._loop = asyncio.get_running_loop()
        self._flows: OrderedDict[tuple[object, ...], _Flow] = OrderedDict()
        """By client; the one used last is last."""
        self._sweep: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock, self._receive)

    @property
    def flows(self) -> int:
        return len(self._flows)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        while self._flows:
            self._end(next(iter(self._flows)))
        self._loop.remove_reader(self._outside.socket)
        self._outside.socket.close()

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                packet, client = self._outside.receive(CHUNK)
            except OSError:
                return  # no more packets, or the ICMP error of a reply to a client that is gone
            key = (client, *getattr(client, "asked", ()))
            flow = self._flows.get(key) or self._begin(key, client)
            if flow is None:
                continue
            self._touch(key, flow)
            if flow.inside is not None:
                self._forward(key, flow, packet)
            elif len(flow.waiting) < MAX_WAITING:
                flow.waiting.append(packet)

    def _begin(self, key: tuple[object, ...], client: Client) -> _Flow | None:
        if len(self._flows) >= self._max_flows:
            self._end(next(iter(self._flows)))
        if not self._budget.take(1):
            if not self._flows:
                self._warn("too many connections are open")
                return None
            self._end(next(iter(self._flows)))
            self._budget.take(1)
        flow = self._flows[key] = _Flow(client)
        flow.making = self._loop.create_task(self._make(key, flow))
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle, self._end_idle)
        return flow

    async def _make(self, key: tuple[object, ...], flow: _Flow) -> None:
        try:
            inside = await self._dial()
        except (Unreachable, OSError) as error:
            self._warn(error)
            flow.making = None
            self._end(key)
            return
        flow.inside, flow.making = inside, None
        self._loop.add_reader(inside, self._answer, key, flow, inside)
        for packet in flow.waiting:
            self._forward(key, flow, packet)
        flow.waiting.clear()

    def _forward(self, key: tuple[object, ...], flow: _Flow, packet: bytes) -> None:
        if flow.inside is None:
            return  # sending an earlier packet failed, which ended the flow
        try:
            flow.inside.send(packet)
        except BlockingIOError:
            return
        except OSError:  # ICMP error for an earlier packet: nothing listens there
            self._end(key)

    def _answer(self, key: tuple[object, ...], flow: _Flow, inside: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                packet = inside.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                self._end(key)
                return
            self._touch(key, flow)
            try:
                self._outside.send(packet, flow.client)
            except OSError:
                continue  # the send buffer is full, or the client is gone

    def _touch(self, key: tuple[object, ...], flow: _Flow) -> None:
        flow.used = self._loop.time()
        self._flows.move_to_end(key)

    def _end_idle(self) -> None:
        now = self._loop.time()
        while self._flows:
            key, flow = next(iter(self._flows.items()))
            if flow.used + self._idle > now:
                self._sweep = self._loop.call_at(flow.used + self._idle, self._end_idle)
                return
            self._end(key)
        self._sweep = None

    def _end(self, key: tuple[object, ...]) -> None:
        flow = self._flows.pop(key)
        self._budget.release(1)
        if flow.making is not None:
            flow.making.cancel()
        if flow.inside is not None:
            self._loop.remove_reader(flow.inside)
            flow.inside.close()
            flow.inside = None
