"""The DNS server's sockets: UDP, drained in batches each time it becomes readable, and TCP with pipelining.

Packets go to a `Responder`. An answer that takes time is sent by a task of its own, so that later packets do not wait.
"""

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sampan.dns.answering import Answering, Later
from sampan.dns.udp import UDP, Client, bind, prepare

log = logging.getLogger(__name__)

BATCH = 128
"""Packets handled before the loop may turn to something else: about two milliseconds."""
MAX_PACKET = 4096
MAX_PENDING = 4000
IDLE_SECONDS = 10.0
MAX_PIPELINED = 64
MAX_CONNECTIONS = 1024
MAX_CONNECTIONS_OF_ONE = 128
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How many answers over UDP may be under way, and how many TCP connections open, in all and of one address.

    More UDP queries than that are dropped, more connections of one address closed at once. Where all connections are
    taken, the one that has been idle for longest is closed for a new one.
    """

    pending: int = MAX_PENDING
    connections: int = MAX_CONNECTIONS
    connections_of_one: int = MAX_CONNECTIONS_OF_ONE


class DNSServer:
    """Listens on one address over UDP and TCP until closed."""

    def __init__(self, responder: Answering, limits: Limits = Limits()) -> None:
        self.responder = responder
        """May be replaced at any time."""
        self._limits = limits
        self._udp: UDP | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._connections: dict[asyncio.Task[Any], _Connection] = {}
        self._clients: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> int:
        """Listen; with port 0 on any that is free for both protocols. Returns the port. Raises OSError."""
        udp, tcp = _bind(host, port)
        await self.serve(udp, tcp)
        found: int = udp.getsockname()[1]
        return found

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Take over sockets that are bound, and do not block. Raises OSError."""
        self._udp = calls = prepare(udp)
        self._tcp = await asyncio.start_server(self._serve_connection, sock=tcp)
        asyncio.get_running_loop().add_reader(udp.fileno(), self._drain, calls)

    async def close(self) -> None:
        """Stop listening and cancel all answers that are under way."""
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp.socket.fileno())
            self._udp.socket.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in (*self._tasks, *self._connections):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._connections, return_exceptions=True)

    def _drain(self, udp: UDP) -> None:
        """Answer what has arrived. This is the hot path: local names, no calls that are not needed."""
        responder = self.responder
        receive, send, answer_udp = udp.receive, udp.send, responder.answer_udp
        start = time.perf_counter()
        handled = 0
        try:
            for handled in range(BATCH):  # noqa: B007
                packet, client = receive(MAX_PACKET)
                answer = answer_udp(packet, client)
                if isinstance(answer, bytes):
                    send(answer, client)
                elif answer is not None:
                    self._later(udp, answer, client)
            else:
                handled = BATCH
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("udp: %s", error)
        responder.observe(time.perf_counter() - start, handled)

    def _later(self, udp: UDP, answer: Later, client: Client) -> None:
        if len(self._tasks) >= self._limits.pending:
            answer.close()
            return

        def done(task: asyncio.Task[bytes]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is None and task.result():
                _send(udp, task.result(), client)

        task = asyncio.get_running_loop().create_task(answer)
        self._tasks.add(task)
        task.add_done_callback(done)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        connection = _Connection(lambda: self.responder, reader, writer)
        if task is None or not self._has_room(connection.host):
            writer.close()
            return
        self._connections[task] = connection
        self._clients[connection.host] += 1
        try:
            await connection.run()
        finally:
            del self._connections[task]
            self._clients[connection.host] -= 1
            if not self._clients[connection.host]:
                del self._clients[connection.host]
            writer.close()

    def _has_room(self, host: str) -> bool:
        """Whether one more connection may be served; another may be closed for it."""
        if self._clients[host] >= self._limits.connections_of_one:
            return False
        if len(self._connections) < self._limits.connections:
            return True
        idle = [each for each in self._connections.values() if each.is_idle]
        if not idle:
            return False
        min(idle, key=lambda each: each.last_used).abort()
        return True


class _Connection:
    """One TCP client: queries are read on while earlier ones are being answered, in any order (RFC 7766)."""

    def __init__(
        self, responder: Callable[[], Answering], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._responder = responder
        self._client = writer.get_extra_info("peername") or ("", 0)
        self.host: str = self._client[0]
        self.is_idle = True
        self.last_used = asyncio.get_running_loop().time()
        self._reader, self._writer = reader, writer
        self._room = asyncio.Semaphore(MAX_PIPELINED)
        self._under_way = 0

    async def run(self) -> None:
        """Serve until the client leaves or is idle for too long; answers that are still under way then are sent."""
        async with asyncio.TaskGroup() as group:
            while (packet := await self._read()) is not None:
                answer = self._responder().answer_tcp(packet, self._client[:2])
                if answer is None:
                    return
                if isinstance(answer, bytes):
                    await self._write(answer)
                    await asyncio.sleep(0)  # queries that are buffered already must not starve other clients
                else:
                    await self._room.acquire()
                    self._under_way += 1
                    group.create_task(self._answer_later(asyncio.get_running_loop().create_task(answer)))

    def abort(self) -> None:
        self.is_idle = False
        self._writer.transport.abort()

    async def _read(self) -> bytes | None:
        """The next packet, or None when no more will come."""
        self.last_used = asyncio.get_running_loop().time()
        self.is_idle = self._under_way == 0
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                size = int.from_bytes(await self._reader.readexactly(2), "big")
                return await self._reader.readexactly(size)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        finally:
            self.is_idle = False

    async def _answer_later(self, answer: Awaitable[bytes]) -> None:
        try:
            await self._write(await answer)
        finally:
            self._under_way -= 1
            self._room.release()

    async def _write(self, answer: bytes) -> None:
        """Send an answer; empty means that there is none to send."""
        if not answer:
            return
        self._writer.write(len(answer).to_bytes(2, "big") + answer)
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError):
            self._writer.transport.abort()


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port. Tries again if the port that the kernel chose for UDP is in use for TCP."""
    for _ in range(_ATTEMPTS if port == 0 else 1):
        udp = bind(host, port)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return udp, socket.create_server((host, udp.getsockname()[1]), family=family, backlog=256)
        except OSError as error:
            udp.close()
            failure = error
    raise failure


def _send(udp: UDP, answer: bytes, client: Client) -> None:
    try:
        udp.send(answer, client)
    except OSError as error:
        log.debug("udp to %s: %s", client, error)
