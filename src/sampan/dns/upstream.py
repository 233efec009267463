"""One resolver that others' names are asked of: over UDP from a port of its own for each query, or over kept TCP or TLS
connections.

An answer counts only if it comes from that resolver's address and has the id and the question that were sent; anything
else that arrives is ignored, and the wait goes on.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sampan.dns import wire

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

Address = tuple[str, int]
CHECK_SECONDS = 1.0
_MAX_IDLE = 64

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Upstream:
    """A resolver, its connections, and how often in a row its health could not be confirmed."""

    def __init__(
        self,
        address: Address,
        *,
        expire: float,
        check_every: float,
        check: bytes,
        tls: "ssl.SSLContext | None" = None,
        server_name: str = "",
        check_tcp: bool = False,
        most_idle: int = 0,
    ) -> None:
        """With `tls` everything goes over TLS; the certificate must be for `server_name`, or else for the address."""
        self.address = address
        self.name = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        self.fails = 0
        self.failed: Callable[[], None] = lambda: None
        """Called for each failed check."""
        self.connected: Callable[[str, bool], None] = lambda protocol, kept: None
        """Called before each question, with how it is sent, and whether over a connection that was kept."""
        self._expire, self._check_every, self._check = expire, check_every, check
        self._tls, self._server_name = tls, server_name or address[0]
        self._check_tcp = check_tcp
        self._most_idle = most_idle or _MAX_IDLE
        self._idle: deque[tuple[float, Streams]] = deque()
        self._checking: asyncio.Task[None] | None = None

    async def ask(self, packet: bytes, *, tcp: bool) -> bytes:
        """One question, whose id is replaced by one of our own; the answer to it. Raises OSError."""
        query = secrets.token_bytes(2) + packet[2:]
        if tcp or self._tls is not None:
            return await self._ask_tcp(query)
        self.connected("udp", False)
        return await _ask_udp(self.address, query)

    def suspect(self) -> None:
        """It has not answered: ask after its health until it does."""
        if self._check_every and (self._checking is None or self._checking.done()):
            self._checking = asyncio.get_running_loop().create_task(self._check_until_well())

    async def close(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
        while self._idle:
            self._idle.pop()[1][1].close()

    async def _check_until_well(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self.ask(self._check, tcp=self._check_tcp)
            except (OSError, TimeoutError) as error:
                self.fails += 1
                self.failed()
                log.debug("health of %s: %r", self.name, error)
                await asyncio.sleep(self._check_every)
            else:
                self.fails = 0
                return

    async def _ask_tcp(self, query: bytes) -> bytes:
        """A kept connection may have been closed at the other end; a new one then gets its chance."""
        protocol = "tcp" if self._tls is None else "tcp-tls"
        while (kept := self._take()) is not None:
            self.connected(protocol, True)
            try:
                return await self._over(kept, query)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue
        self.connected(protocol, False)
        try:
            return await self._over(await self._open(), query)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the resolver closed the connection") from error

    async def _open(self) -> Streams:
        if self._tls is None:
            return await asyncio.open_connection(*self.address)
        return await asyncio.open_connection(*self.address, ssl=self._tls, server_hostname=self._server_name)

    async def _over(self, streams: Streams, query: bytes) -> bytes:
        reader, writer = streams
        well = False
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            well = answers(answer, query)
        finally:
            if not well:
                writer.close()
        if not well:
            raise ConnectionError("the resolver answered another question")
        self._idle.append((time.monotonic() + self._expire, streams))
        if len(self._idle) > self._most_idle:
            self._idle.popleft()[1][1].close()
        return answer

    def _take(self) -> Streams | None:
        """The connection used last, unless all are too old to be trusted."""
        while self._idle:
            until, streams = self._idle.pop()
            if until > time.monotonic() and not streams[0].at_eof():
                return streams
            streams[1].close()
        return None


def answers(answer: bytes, query: bytes) -> bool:
    """Whether a message is an answer and has the id and the question that were sent (an error may leave that out)."""
    if len(answer) < wire.HEADER_SIZE or answer[:2] != query[:2] or not answer[2] & 0x80:
        return False
    question = wire.question_of(query)
    given = answer[wire.HEADER_SIZE : wire.HEADER_SIZE + len(question)]
    if answer[4:6] == b"\0\0":
        return bool(answer[3] & 0xF)
    return given.lower() == question.lower()


async def _ask_udp(address: Address, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Exchange(query, waiting), remote_addr=address)
    try:
        transport.sendto(query)
        return await waiting
    finally:
        transport.close()


class _Exchange(asyncio.DatagramProtocol):
    """A connected port for one packet, that waits for what answers it; anything else is ignored."""

    def __init__(self, query: bytes, waiting: asyncio.Future[bytes]) -> None:
        self._query, self._waiting = query, waiting

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not self._waiting.done() and answers(data, self._query):
            self._waiting.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._waiting.done():
            self._waiting.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("closed"))
