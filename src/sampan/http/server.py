"""An HTTP/1.1 server for asyncio: one handler function, whole responses, streams, and protocol upgrades.

It exists because no maintained server offers what the Kubernetes protocol needs together: cheap long streams with
backpressure (watch), and giving the raw connection away (SPDY and WebSocket upgrades). httptools does the parsing.
"""

import asyncio
import logging
import socket
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import httptools

from sampan.http.flow import WriteFlow, adopt_streams
from sampan.http.messages import MAX_BODY, MAX_HEADERS, BodyTooLarge, Headers, Query, Response, head, split_target

log = logging.getLogger(__name__)

IDLE_SECONDS = 120.0
"""A connection without a request for this long is closed; so is one that takes this long to send a request."""

HOPELESS_BODY = 16 * MAX_BODY
"""A body over MAX_BODY is read and answered politely; one over this is cut off."""

MAX_PIPELINED = 8
"""Requests that may wait on one connection before its reading is paused."""


class Request:
    """One request, with its body already received."""

    __slots__ = ("_connection", "_too_large", "body", "headers", "method", "path", "query", "raw_path")

    def __init__(self, connection: "_Connection", method: str, target: str, headers: Headers) -> None:
        self._connection = connection
        self._too_large = False
        self.method = method
        self.raw_path = target
        self.headers = headers
        self.path, query = split_target(target)
        self.query = Query(query)
        self.body = b""

    @property
    def peer_cert(self) -> bytes | None:
        """The client's verified certificate (DER), if it sent one."""
        return self._connection.peer_cert

    @property
    def peer_subject(self) -> list[tuple[str, str]]:
        """The names in the client's certificate that was verified: `("commonName", "someone")`; empty if none was."""
        return self._connection.peer_subject

    @property
    def peer(self) -> tuple[str, int]:
        return self._connection.peer

    async def read(self) -> bytes:
        """The body. Raises BodyTooLarge."""
        if self._too_large:
            raise BodyTooLarge
        return self.body

    async def stream(self, status: int = 200, headers: Mapping[str, str] | None = None) -> "Stream":
        """Begin an answer of unknown length; the handler then returns None. It is cancelled if the client leaves."""
        return self._connection.start_stream(status, headers or {})

    async def upgrade(
        self, headers: Mapping[str, str], status: int = 101
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Leave HTTP and take the connection over; the handler then returns None and owns the writer."""
        return self._connection.upgrade(status, headers)


Handler = Callable[[Request], Awaitable[Response | None]]


class Stream:
    """A chunked answer in progress."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    @property
    def closed(self) -> bool:
        transport = self._connection.transport
        return transport is None or transport.is_closing()

    async def write(self, data: bytes) -> None:
        """Send one chunk and wait while the client does not keep up. Raises ConnectionResetError."""
        self.write_now(data)
        await self._connection.drain()

    def write_now(self, data: bytes) -> None:
        """Send one chunk without waiting. Raises ConnectionResetError."""
        if self._connection.transport is None or self.closed:
            raise ConnectionResetError("the client closed the connection")
        if data:
            self._connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    @property
    def backlog(self) -> int:
        """Bytes written that the client has not taken yet."""
        transport = self._connection.transport
        return transport.get_write_buffer_size() if transport else 0

    def abort(self) -> None:
        """Cut the connection, with whatever waits in it."""
        if self._connection.transport:
            self._connection.transport.abort()

    async def close(self) -> None:
        """End the answer; the connection stays usable."""
        if not self.closed and self._connection.transport:
            self._connection.transport.write(b"0\r\n\r\n")


class _Connection(WriteFlow):
    """One client connection: parses, runs one handler at a time, writes answers in order."""

    def __init__(self, server: "Server") -> None:
        super().__init__()
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._pending: list[Request] = []
        self._task: asyncio.Task[None] | None = None
        self._streaming = False
        self._upgrading = False
        self._handed_over = False
        self._early = b""
        self.last_active = 0.0
        self._begin_message()

    # --- transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's TLS transports are no subclass
        self.last_active = asyncio.get_running_loop().time()
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self.release_writers()
        if self._task and self._streaming:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self.last_active = asyncio.get_running_loop().time()
        if self._upgrading:
            self._keep_early(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = True
            self._keep_early(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(400, str(error) or "malformed request")

    def _keep_early(self, data: bytes) -> None:
        """What follows a request to upgrade waits for the handler's decision; reading is paused meanwhile."""
        self._early += data
        if self.transport:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    # --- parser events

    def _begin_message(self) -> None:
        self._target = b""
        self._headers: Headers = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_message_begin(self) -> None:
        self._begin_message()

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self.transport:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY:
            self._body.append(body)
        elif self._body_bytes > HOPELESS_BODY:
            self._refuse(413, "request body too large")

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        try:
            request = Request(self, method, self._target.decode("utf-8"), self._headers)
        except ValueError:
            self._refuse(400, "the request's path is not valid UTF-8")
            return
        request.body = b"".join(self._body)
        request._too_large = self._body_bytes > MAX_BODY
        self._pending.append(request)
        if len(self._pending) > MAX_PIPELINED and self.transport:
            self.transport.pause_reading()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve_pending())

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADERS:
            raise httptools.HttpParserError("request header fields too large")

    # --- answering

    async def _serve_pending(self) -> None:
        try:
            while self._pending:
                await self._serve(self._pending.pop(0))
        finally:
            self._task = None
        if self.transport and not self.transport.is_closing() and not self._upgrading:
            self.transport.resume_reading()

    async def _serve(self, request: Request) -> None:
        try:
            response = await self._server.handler(request)
        except ConnectionResetError:
            response = None
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = Response(500, b"internal server error\n", "text/plain; charset=utf-8")
        if response is None:
            self._end_stream(request)
        elif self._streaming:
            self.close()
        else:
            self._write_response(request, response)
            await self._taken()

    async def _taken(self) -> None:
        """Waits for a client that sends requests faster than it takes answers; one that takes none is cut off."""
        if self._writable is None:
            return
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self.drain()
        except ConnectionResetError:
            pass
        except TimeoutError:
            if self.transport:
                self.transport.abort()

    def _write_response(self, request: Request, response: Response) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        headers = dict(response.headers)
        if response.content_type:
            headers.setdefault("Content-Type", response.content_type)
        headers.setdefault("Content-Length", str(len(response.body)))
        last = self._is_last(request)
        if last:
            headers["Connection"] = "close"
        body = b"" if request.method == "HEAD" else response.body
        transport.write(head(response.status, headers) + body)
        if last:
            transport.close()

    def _is_last(self, request: Request) -> bool:
        wants_close = "close" in request.headers.get("connection", "").lower()
        return wants_close or self._upgrading or request._too_large or not self._parser.should_keep_alive()

    def start_stream(self, status: int, headers: Mapping[str, str]) -> Stream:
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._streaming = True
        self.transport.write(head(status, {**headers, "Transfer-Encoding": "chunked"}))
        return Stream(self)

    def _end_stream(self, request: Request) -> None:
        self._streaming = False
        self.last_active = asyncio.get_running_loop().time()
        if not self._handed_over and self._is_last(request):
            self.close()

    def upgrade(self, status: int, headers: Mapping[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._server.connections.discard(self)
        self._server.keep(self._task)
        self._handed_over = True
        early, self._early = self._early, b""
        streams = adopt_streams(transport, early)
        transport.resume_reading()
        transport.write(head(status, headers))
        return streams

    def _refuse(self, status: int, why: str) -> None:
        if self.transport and not self.transport.is_closing():
            body = f"{why}\n".encode()
            headers = {"Content-Type": "text/plain", "Content-Length": str(len(body)), "Connection": "close"}
            self.transport.write(head(status, headers) + body)
            self.transport.close()

    # --- for the server

    @property
    def busy(self) -> bool:
        return self._task is not None

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def abort(self) -> None:
        if self._task:
            self._task.cancel()
        if self.transport:
            self.transport.abort()

    @property
    def peer_cert(self) -> bytes | None:
        ssl_object = self.transport.get_extra_info("ssl_object") if self.transport else None
        return ssl_object.getpeercert(binary_form=True) if ssl_object else None

    @property
    def peer_subject(self) -> list[tuple[str, str]]:
        ssl_object = self.transport.get_extra_info("ssl_object") if self.transport else None
        certificate = (ssl_object.getpeercert() if ssl_object else None) or {}
        return [name for names in certificate.get("subject", ()) for name in names]

    @property
    def peer(self) -> tuple[str, int]:
        name = self.transport.get_extra_info("peername") if self.transport else None
        return (name[0], name[1]) if isinstance(name, tuple) else ("", 0)


class Server:
    """A listening server; `close` stops it and drops every connection."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections: set[_Connection] = set()
        self._upgraded: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, sock: socket.socket, ssl: tls.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), sock=sock, ssl=ssl, backlog=1024)
        self._sweeper = loop.create_task(self._sweep())

    @property
    def port(self) -> int:
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    def keep(self, task: asyncio.Task[None] | None) -> None:
        """Hold on to a handler whose connection left HTTP: nothing else does, and the loop's own hold is weak."""
        if task is not None:
            self._upgraded.add(task)
            task.add_done_callback(self._upgraded.discard)

    async def close(self) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        for task in list(self._upgraded):
            task.cancel()
        if self._listener:
            self._listener.close()
        for connection in list(self.connections):
            connection.abort()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 4)
            oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
            for connection in list(self.connections):
                if not connection.busy and connection.last_active < oldest:
                    connection.close()


async def serve(
    handler: Handler,
    *,
    sock: socket.socket | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl: tls.SSLContext | None = None,
) -> Server:
    """Listen on `sock`, or on `host` and `port` (0: any free one), and answer with `handler` until closed."""
    server = Server(handler)
    await server.start(sock or listen(host, port), ssl)
    return server


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises OSError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)
