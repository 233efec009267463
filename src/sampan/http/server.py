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

UNREAD_BODY = 64 * 1024
"""Bytes of a body that are kept before its handler reads it; after these the client waits."""

LINGER_SECONDS = 5.0
"""How long the rest of a body that nobody read may take before its connection is cut."""

MAX_PIPELINED = 8
"""Requests that may wait on one connection before its reading is paused."""

MAX_CONNECTIONS = 8192
"""Connections to one server; further ones are closed at once."""

_READING_METHODS = frozenset({"GET", "HEAD"})


class Request:
    """One request as its headers have come; `read` waits for the body."""

    __slots__ = (
        "_body",
        "_connection",
        "_continues",
        "_failure",
        "_is_complete",
        "_size",
        "_waiter",
        "_wanted",
        "headers",
        "is_1_0",
        "keeps_alive",
        "leaves_with_client",
        "method",
        "path",
        "query",
        "raw_path",
    )  # fmt: skip

    def __init__(
        self, connection: "_Connection", method: str, target: str, headers: Headers, *, keeps_alive: bool, version: str
    ) -> None:
        self._connection = connection
        self._body: list[bytes] = []
        self._size = 0
        self._is_complete = self._wanted = False
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self.is_1_0 = version == "1.0"
        self._continues = headers.get("expect", "").lower() == "100-continue" and not self.is_1_0
        self.keeps_alive = keeps_alive
        self.leaves_with_client = method in _READING_METHODS
        self.method = method
        self.raw_path = target
        self.headers = headers
        self.path, query = split_target(target)
        self.query = Query(query)

    # --- for the connection

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_BODY:
            self._body.append(data)
        else:
            self._body.clear()

    def finish(self, failure: Exception | None = None) -> None:
        """The body has ended; with a failure before its end."""
        self._is_complete, self._failure = True, failure
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_complete(self) -> bool:
        return self._is_complete

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self._size

    @property
    def waits_to_be_read(self) -> bool:
        return self._size > UNREAD_BODY and not self._wanted

    @property
    def is_last(self) -> bool:
        """Whether the connection must end after the answer."""
        return not self.keeps_alive or not self._is_complete or self._size > MAX_BODY

    # --- for handlers

    async def read(self) -> bytes:
        """The body. Raises BodyTooLarge, ConnectionResetError."""
        if not self._is_complete:
            self._wanted = True
            if self._continues and not self._size:
                self._continues = False
                if int(self.headers.get("content-length", "0")) > MAX_BODY:
                    raise BodyTooLarge
                self._connection.send_continue()
            self._connection.update_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._failure is not None:
            raise self._failure
        if self._size > MAX_BODY:
            raise BodyTooLarge
        if len(self._body) != 1:
            self._body = [b"".join(self._body)]
        return self._body[0]

    def cancel_when_client_leaves(self) -> None:
        """Cancel the handler when the client closes the connection, as for GET: nobody needs its answer."""
        self.leaves_with_client = True

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

    async def stream(self, status: int = 200, headers: Mapping[str, str] | None = None) -> "Stream":
        """Begin an answer of unknown length; the handler then returns None. It is cancelled if the client leaves."""
        return self._connection.start_stream(self, status, headers or {})

    async def upgrade(
        self, headers: Mapping[str, str], status: int = 101
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Leave HTTP and take the connection over; the handler then returns None and owns the writer."""
        return self._connection.upgrade(status, headers)


Handler = Callable[[Request], Awaitable[Response | None]]


class Stream:
    """An answer of unknown length in progress: chunked, plain until the end for HTTP/1.0, silent for HEAD."""

    __slots__ = ("_connection", "_is_chunked", "_is_silent")

    def __init__(self, connection: "_Connection", request: Request) -> None:
        self._connection = connection
        self._is_silent = request.method == "HEAD"
        self._is_chunked = not request.is_1_0

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
        if data and not self._is_silent:
            self._connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

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
        if not self.closed and self._connection.transport and self._is_chunked and not self._is_silent:
            self._connection.transport.write(b"0\r\n\r\n")


class _Connection(WriteFlow):
    """One client connection: parses, runs one handler at a time, writes answers in order."""

    def __init__(self, server: "Server") -> None:
        super().__init__()
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._pending: list[Request] = []
        self._receiving: Request | None = None
        self._serving: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._streaming = False
        self._upgrading = False
        self._handed_over = False
        self._paused = False
        self._refusal: tuple[int, str] | None = None
        self._early = b""
        self.last_active = 0.0
        self._begin_message()

    # --- transport events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's TLS transports are no subclass
        self.last_active = asyncio.get_running_loop().time()
        if len(self._server.connections) >= MAX_CONNECTIONS:
            self.transport.abort()
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self.release_writers()
        self._pending.clear()
        if self._receiving is not None:
            self._receiving.finish(ConnectionResetError("the client closed the connection"))
        if self._task and (self._streaming or (self._serving is not None and self._serving.leaves_with_client)):
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._upgrading:
            self._keep_early(data)
            return
        if self._refusal is not None:
            return
        if self._receiving is None and not self._in_head:
            self.last_active = asyncio.get_running_loop().time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = True
            self._keep_early(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse_in_turn(400, str(error) or "malformed request")

    def _keep_early(self, data: bytes) -> None:
        """What follows a request to upgrade waits for the handler's decision; reading is paused meanwhile."""
        self._early += data
        self.update_reading()

    def eof_received(self) -> bool:
        return False

    # --- parser events

    def _begin_message(self) -> None:
        self._target = b""
        self._headers = Headers()
        self._header_bytes = 0
        self._in_head = False

    def on_message_begin(self) -> None:
        self._begin_message()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if self._in_head:
            self._headers.add(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        version = self._parser.get_http_version()
        if len(self._headers.getall("host")) != 1 and version == "1.1":
            raise httptools.HttpParserError("a request needs one Host header")
        keeps_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        method = self._parser.get_method().decode("latin-1")
        try:
            target = self._target.decode("utf-8")
            request = Request(self, method, target, self._headers, keeps_alive=keeps_alive, version=version)
        except ValueError:
            raise httptools.HttpParserError("the request's path is not valid UTF-8") from None
        self._receiving = request
        self._pending.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve_pending())

    def on_body(self, body: bytes) -> None:
        request = self._receiving
        if request is None:
            return
        request.feed(body)
        if request.size > HOPELESS_BODY:
            raise httptools.HttpParserError("request body too large")
        if request.waits_to_be_read:
            self.update_reading()

    def on_message_complete(self) -> None:
        request, self._receiving = self._receiving, None
        if request is not None:
            request.finish()
        if len(self._pending) > MAX_PIPELINED:
            self.update_reading()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADERS:
            raise httptools.HttpParserError("request header fields too large")

    def update_reading(self) -> None:
        """Read on, or let the client wait: for an upgrade's decision, for earlier requests, for a body's reader."""
        unread = self._receiving is not None and self._receiving.waits_to_be_read
        paused = self._upgrading or unread or len(self._pending) > MAX_PIPELINED
        if paused is self._paused or self.transport is None or self.transport.is_closing():
            return
        self._paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    # --- answering

    async def _serve_pending(self) -> None:
        try:
            while self._pending:
                self._serving = self._pending.pop(0)
                self.update_reading()
                await self._serve(self._serving)
        finally:
            self._task = self._serving = None
            self.last_active = asyncio.get_running_loop().time()
        if self._refusal is not None:
            self._refuse(*self._refusal)

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
            self.abort_transport()
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
            self.abort_transport()

    def _write_response(self, request: Request, response: Response) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        headers = Headers(response.headers)
        if response.content_type:
            headers.setdefault("Content-Type", response.content_type)
        if response.status != 204 and "content-length" not in headers:
            headers.setdefault("Content-Length", str(len(response.body)))
        last = request.is_last
        if last:
            headers["Connection"] = "close"
        body = b"" if request.method == "HEAD" else response.body
        transport.write(head(response.status, headers) + body)
        if last:
            self._close_after(request)

    def _close_after(self, request: Request) -> None:
        """Close; if the client is still sending a body that nobody read, take some of it first, or it would see a
        reset before the answer.
        """
        self._pending.clear()
        if request.is_complete:
            self.close()
            return
        request._wanted = True
        self.update_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.abort_transport)

    def send_continue(self) -> None:
        if self.transport and not self._streaming:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def start_stream(self, request: Request, status: int, headers: Mapping[str, str]) -> Stream:
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._streaming = True
        sent = Headers(headers)
        if request.is_1_0:
            request.keeps_alive = False
        else:
            sent["Transfer-Encoding"] = "chunked"
        if request.is_last:
            sent["Connection"] = "close"
        self.transport.write(head(status, sent))
        return Stream(self, request)

    def _end_stream(self, request: Request) -> None:
        self._streaming = False
        self.last_active = asyncio.get_running_loop().time()
        if not self._handed_over and request.is_last:
            self._close_after(request)

    def upgrade(self, status: int, headers: Mapping[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._server.connections.discard(self)
        self._server.keep(self._task)
        self._handed_over = True
        early, self._early = self._early, b""
        streams = adopt_streams(transport, early)
        if self._paused:
            transport.resume_reading()
        transport.write(head(status, headers))
        return streams

    def _refuse_in_turn(self, status: int, why: str) -> None:
        """Refuse what cannot be parsed once the requests before it are answered; nothing more is read."""
        self._refusal = (status, why)
        if self._receiving is not None:
            self._receiving.finish(ConnectionResetError("the request's body is malformed"))
            self._receiving = None
        if self._task is None:
            self._refuse(status, why)

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

    def abort_transport(self) -> None:
        if self.transport:
            self.transport.abort()

    def abort(self) -> None:
        if self._task:
            self._task.cancel()
        self.abort_transport()

    def is_overdue(self, oldest: float) -> bool:
        """Whether nothing was asked, or a request has not come whole, since `oldest`."""
        return self.last_active < oldest and (not self.busy or self._receiving is not None)

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
                if connection.is_overdue(oldest):
                    connection.abort_transport()


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
