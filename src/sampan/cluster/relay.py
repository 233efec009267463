"""Relays: what comes to a socket of the machine goes on through one that was made inside the box, and back.

`TCPRelay` joins each connection to one of its own, byte for byte, each direction's end on its own (RFC 9293, section
3.6: half-closed connections). `UDPRelay` keeps a socket for each client that sends, until nothing has come for a while.
Neither buffers more than a bounded amount for anybody; what all together may have open is counted by `Room`. Where a
connection leads is decided by the `dial` that `publish.py` gives.
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
"""Connections or packets that are taken at once, before others get their turn."""
WANTED_FILES = 16384
RESERVED_FILES = 512
"""Descriptors that the supervisor keeps for its other work."""
RETRY_SECONDS = 0.1
PROBE_SECONDS = 30.0
"""How often a half-closed connection is checked for a client that has vanished."""
COMPLAINT_SECONDS = 10.0
FLOW_IDLE_SECONDS = 90.0
MAX_FLOWS = 512
"""Of one UDP port; the one that has been idle longest gives way to a new one."""
MAX_WAITING = 16
"""Packets of a client that are kept until its flow is made."""

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
_NO_LINGER = struct.pack("ii", 1, 0)
_TCP_CLOSE = 7

log = logging.getLogger(__name__)

Dial = Callable[[], Awaitable[socket.socket]]
"""Gives a connected socket that does not block. Raises Unreachable, OSError."""


class Unreachable(Exception):
    """There is nothing to connect to, and why."""


class Relay(Protocol):
    """Either kind. It owns its socket and all that comes of it until it is closed."""

    def close(self) -> None: ...


class Room:
    """How many descriptors relays may still hold, all of them together."""

    def __init__(self, descriptors: int) -> None:
        self.left = descriptors

    def take(self, descriptors: int) -> bool:
        if self.left < descriptors:
            return False
        self.left -= descriptors
        return True

    def give_back(self, descriptors: int) -> None:
        self.left += descriptors


def room_of_process() -> Room:
    """All that the process may open but a reserve, after its limit was raised as far as it can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else min(soft, WANTED_FILES)
    return Room(max(files - RESERVED_FILES, files // 4))


class _Complaints:
    """Says what is wrong, but not for every connection of a client that tries again and again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0.0

    def __call__(self, error: object) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + COMPLAINT_SECONDS
            log.warning("%s: %s", self._name, error)


class TCPRelay:
    """Joins every connection to `listener` with one that `dial` makes. Made within a running event loop."""

    def __init__(self, listener: socket.socket, dial: Dial, room: Room, name: str) -> None:
        self._listener = listener
        self._dial = dial
        self._room = room
        self._complain = _Complaints(name)
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
            except OSError as error:  # no descriptors: the connection waits, and would wake us at once
                self._complain(error)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(RETRY_SECONDS, self._listen)
                return
            client.setblocking(False)
            if not self._room.take(2):
                self._complain("too many connections are open")
                _reset(client)
                continue
            connection = self._loop.create_task(self._join(client))
            self._connections.add(connection)
            connection.add_done_callback(self._ended)

    def _ended(self, connection: asyncio.Task[None]) -> None:
        self._connections.discard(connection)
        self._room.give_back(2)
        if not connection.cancelled() and (error := connection.exception()):
            log.error("a relayed connection failed", exc_info=error)

    async def _join(self, client: socket.socket) -> None:
        """Carries one connection until both directions have ended."""
        try:
            inside = await self._dial()
        except (Unreachable, OSError) as error:
            self._complain(error)
            _reset(client)
            return
        except BaseException:
            _reset(client)
            raise
        await _carry_both(client, inside)


async def _carry_both(client: socket.socket, inside: socket.socket) -> None:
    """Owns both sockets. What ends one of them badly resets the other."""
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
    """Copies one direction and passes its end on. Raises OSError."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _vanished(reading: asyncio.Task[None], end: socket.socket) -> bool:
    """Whether a peer that had said its last word, to which nobody listens any more, has gone altogether."""
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
    """What one client sends and gets. `inside` is there once it is made; `waiting` is sent then."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.inside: socket.socket | None = None
        self.waiting: list[bytes] = []
        self.used = 0.0
        self.making: asyncio.Task[None] | None = None


class UDPRelay:
    """Passes packets on and their answers back. Made within a running event loop.

    A client is an address and port, and which of the machine's addresses it sends to. What cannot be sent at once is
    dropped, as UDP may; that a port inside is closed cannot be told to a client, so its next packet tries anew.
    """

    def __init__(
        self,
        sock: socket.socket,
        dial: Dial,
        room: Room,
        name: str,
        *,
        idle: float = FLOW_IDLE_SECONDS,
        max_flows: int = MAX_FLOWS,
    ) -> None:
        self._outside = udp.prepare(sock, addresses_change=True)
        self._dial = dial
        self._room = room
        self._complain = _Complaints(name)
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
                return  # nothing more, or what an answer to a client that is gone has brought
            key = (client, *getattr(client, "asked", ()))
            flow = self._flows.get(key) or self._begin(key, client)
            if flow is None:
                continue
            self._touch(key, flow)
            if flow.inside is not None:
                self._pass_on(key, flow, packet)
            elif len(flow.waiting) < MAX_WAITING:
                flow.waiting.append(packet)

    def _begin(self, key: tuple[object, ...], client: Client) -> _Flow | None:
        if len(self._flows) >= self._max_flows:
            self._end(next(iter(self._flows)))
        if not self._room.take(1):
            if not self._flows:
                self._complain("too many connections are open")
                return None
            self._end(next(iter(self._flows)))
            self._room.take(1)
        flow = self._flows[key] = _Flow(client)
        flow.making = self._loop.create_task(self._make(key, flow))
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle, self._end_idle)
        return flow

    async def _make(self, key: tuple[object, ...], flow: _Flow) -> None:
        try:
            inside = await self._dial()
        except (Unreachable, OSError) as error:
            self._complain(error)
            flow.making = None
            self._end(key)
            return
        flow.inside, flow.making = inside, None
        self._loop.add_reader(inside, self._answer, key, flow, inside)
        for packet in flow.waiting:
            self._pass_on(key, flow, packet)
        flow.waiting.clear()

    def _pass_on(self, key: tuple[object, ...], flow: _Flow, packet: bytes) -> None:
        if flow.inside is None:
            return  # an earlier packet has ended the flow
        try:
            flow.inside.send(packet)
        except BlockingIOError:
            return
        except OSError:  # what came back for an earlier packet: nobody is there
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
                continue  # no room, or the client is gone

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
        self._room.give_back(1)
        if flow.making is not None:
            flow.making.cancel()
        if flow.inside is not None:
            self._loop.remove_reader(flow.inside)
            flow.inside.close()
            flow.inside = None
