"""An HTTP/1.1 client for asyncio: pooled connections, whole answers, streams, and protocol upgrades.

The counterpart of `sampan.http.server`; `sampan.client.rest` puts the Kubernetes verbs on top of it.
"""

import asyncio
import socket
import ssl as tls
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from sampan.http.flow import WriteFlow, adopt_streams
from sampan.http.messages import Headers

CONNECT_SECONDS = 10.0
RETRIED = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that are sent again when a pooled connection turns out to be dead."""

_HIGH_WATER = 1 << 20


@dataclass(slots=True)
class Answer:
    """A response with its whole body."""

    status: int
    headers: Headers
    body: bytes = b""


@dataclass(slots=True)
class StreamedAnswer:
    """A response whose body is still arriving; iterate `chunks`."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks])


@dataclass(slots=True)
class UpgradedAnswer:
    """The answer to an upgrade: status 101 with the raw connection, or an ordinary answer with a body."""

    status: int
    headers: Headers
    body: bytes = b""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)


Dial = Callable[[str, int], Awaitable[socket.socket]]
"""Gives a connected, non-blocking socket to a host and port. Raises OSError."""


class HTTPClient:
    """Requests to one server. Raises OSError (ConnectionError, TimeoutError) when it cannot be reached."""

    def __init__(
        self,
        base_url: str,
        *,
        ssl: tls.SSLContext | None = None,
        server_hostname: str | None = None,
        headers: Mapping[str, str] | None = None,
        dial: Dial | None = None,
        limit: int = 64,
    ) -> None:
        """`dial` makes connections instead of the event loop, for instance in another network namespace. `limit` is how
        many requests may be under way at once; streams and upgraded connections do not count.
        """
        parts = urlsplit(base_url)
        self._dial = dial
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._ssl = (ssl or tls.create_default_context()) if parts.scheme == "https" else None
        self._server_hostname = (server_hostname or self._host) if self._ssl else None
        self._headers = {"Host": parts.netloc.rpartition("@")[2], **(headers or {})}
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._turns = asyncio.Semaphore(limit)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send one request and wait for the whole answer, at most `timeout` seconds."""
        exchange = self.stream(method, path, body=body, headers=headers)
        async with self._turns, asyncio.timeout(timeout), exchange as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[StreamedAnswer]:
        """Send one request; the body is read as it arrives. Leaving early closes the connection."""
        message = self._encode(method, path, body, headers)
        connection = await self._send(method, message)
        try:
            yield StreamedAnswer(connection.status, connection.headers, connection.chunks())
        finally:
            self._release(connection)

    async def upgrade(
        self, method: str, path: str, headers: Mapping[str, str], *, body: bytes | None = None
    ) -> UpgradedAnswer:
        """Ask the server to leave HTTP; the streams are the caller's to close when it agrees."""
        message = self._encode(method, path, body, {"Connection": "Upgrade", **headers})
        connection = await self._connect()
        try:
            await connection.exchange(message, method)
            if connection.status != 101:
                return UpgradedAnswer(connection.status, connection.headers, await _join(connection.chunks()))
            self._open.discard(connection)
            return UpgradedAnswer(101, connection.headers, streams=connection.hand_over())
        finally:
            if connection in self._open:
                self._release(connection)

    async def close(self) -> None:
        """Close every connection, busy ones too."""
        for connection in list(self._open):
            connection.close()
        self._open.clear()
        self._idle.clear()

    def _encode(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> bytes:
        merged = {**self._headers, **(headers or {})}
        if body is not None or method in ("POST", "PUT", "PATCH"):
            merged["Content-Length"] = str(len(body or b""))
        lines = "".join(f"{name}: {value}\r\n" for name, value in merged.items())
        target = f"{self._prefix}{path}"
        if " " in target or "\n" in target or lines.count("\n") != len(merged):
            raise ValueError(f"not a valid request: {method} {target!r}")
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")

    async def _send(self, method: str, message: bytes) -> "_Connection":
        """Deliver a request over a pooled or a new connection and wait for the answer's head."""
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            try:
                return await self._exchange(connection, message, method)
            except ConnectionError:
                if method not in RETRIED:
                    raise
        return await self._exchange(await self._connect(), message, method)

    async def _exchange(self, connection: "_Connection", message: bytes, method: str) -> "_Connection":
        try:
            await connection.exchange(message, method)
        except BaseException:
            self._open.discard(connection)
            connection.close()
            raise
        return connection

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            where: dict[str, Any] = {"host": self._host, "port": self._port}
            if self._dial is not None:
                where = {"sock": await self._dial(self._host, self._port)}
            _, connection = await loop.create_connection(
                lambda: _Connection(self._forget), ssl=self._ssl, server_hostname=self._server_hostname, **where
            )
        self._open.add(connection)
        return connection

    def _forget(self, connection: "_Connection") -> None:
        """The server has closed a connection."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _release(self, connection: "_Connection") -> None:
        if connection.reusable:
            self._idle.append(connection)
        else:
            self._open.discard(connection)
            connection.close()


class _Connection(WriteFlow):
    """One connection to the server: one exchange at a time."""

    def __init__(self, on_lost: "Callable[[_Connection], None]") -> None:
        super().__init__()
        self._on_lost = on_lost
        self._reset("GET")
        self._complete = True
        self._keep_alive = True

    def _reset(self, method: str) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers = Headers()
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False
        self._failure: Exception | None = None
        self._event = asyncio.Event()
        self._head: asyncio.Future[None] | None = None
        self._early = b""
        self._method = method
        self._upgraded = False

    # --- transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's TLS transports are no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.release_writers()
        if not self._complete and self.headers and not self._is_framed():
            self._complete = True
            self._event.set()
        elif not self._complete:
            self._fail(ConnectionResetError("the server closed the connection"))
        self._keep_alive = False
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            self._early += data
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._early = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._fail(ConnectionAbortedError(f"malformed answer: {error}"))
            self.close()

    def _is_framed(self) -> bool:
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    # --- parser events

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers.add(key, text)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status == 100:
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._upgraded = self.status == 101
        if self._head and not self._head.done():
            self._head.set_result(None)
        if self._method == "HEAD":
            self._finish()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _HIGH_WATER and self.transport:
            self.transport.pause_reading()
        self._event.set()

    def on_message_complete(self) -> None:
        if self.status == 100:
            self.headers = Headers()
            return
        self._finish()

    def _finish(self) -> None:
        self._complete = True
        self._event.set()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        if self._head and not self._head.done():
            self._head.set_exception(error)
        self._event.set()

    # --- for the client

    @property
    def closed(self) -> bool:
        return self.transport is None or self.transport.is_closing() or not self._keep_alive

    @property
    def reusable(self) -> bool:
        return self._complete and not self._chunks and not self.closed and not self._upgraded

    async def exchange(self, message: bytes, method: str) -> None:
        """Send a request and return once the answer's head is there."""
        self._reset(method)
        self._head = asyncio.get_running_loop().create_future()
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self.transport.resume_reading()
        self.transport.write(message)
        await self._head

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                yield chunk
            if self._failure:
                raise self._failure
            if self._complete:
                return
            self._event.clear()
            if self.transport and not self.transport.is_closing():
                self.transport.resume_reading()
            await self._event.wait()

    def hand_over(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self.transport is not None
        early, self._early = self._early, b""
        return adopt_streams(self.transport, early)

    def close(self) -> None:
        if self.transport:
            self.transport.close()


async def _join(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
