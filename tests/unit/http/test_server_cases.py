"""What a connection carries, byte for byte: the cases of RFC 9110 and RFC 9112 in which peers could disagree."""

import asyncio
import re

import pytest

from sampan.http.client import HTTPClient
from sampan.http.messages import MAX_BODY, BodyTooLarge, Headers, Response
from sampan.http.server import Request, serve


async def handler(request: Request) -> Response | None:
    if request.path == "/stream":
        stream = await request.stream()
        for _ in range(3):
            await stream.write(b"piece")
            await asyncio.sleep(0.02)
        await stream.close()
        return None
    if request.path == "/unread":
        return Response(401, b"no")
    try:
        return Response(200, b"<%b:%b>" % (request.path.encode(), await request.read()), "text/plain")
    except BodyTooLarge:
        return Response(413, b"large", "text/plain")


async def exchange(sent: bytes) -> bytes:
    """Everything that the server sends before it closes, or falls silent."""
    server = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    received = b""
    try:
        writer.write(sent)
        while True:
            async with asyncio.timeout(0.5):
                data = await reader.read(65536)
            if not data:
                return received + b"[closed]"
            received += data
    except TimeoutError:
        return received
    finally:
        writer.close()
        await server.close()


def summary(received: bytes) -> str:
    """Status codes and bodies in the order in which they came."""
    text = received.decode("latin-1")
    return " ".join(re.findall(r"(?<=HTTP/1.1 )\d+|<[^>]*>|piece|\[closed\]", text))


H = b"Host: x\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
CASES = {
    "two in one packet": (b"GET /1 HTTP/1.1\r\n" + H + b"\r\nGET /2 HTTP/1.1\r\n" + H + b"\r\n", "200 </1:> 200 </2:>"),
    "the second speaks HTTP/1.0": (
        b"GET /1 HTTP/1.1\r\n" + H + b"\r\nGET /2 HTTP/1.0\r\n\r\n",
        "200 </1:> 200 </2:> [closed]",
    ),
    "the second asks to close": (
        b"GET /1 HTTP/1.1\r\n" + H + b"\r\nGET /2 HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n",
        "200 </1:> 200 </2:> [closed]",
    ),
    "the second is malformed": (
        b"GET /1 HTTP/1.1\r\n" + H + b"\r\nGET\x00 /2 HTTP/1.1\r\n\r\n",
        "200 </1:> 400 [closed]",
    ),
    "the second is malformed behind a stream": (
        b"GET /stream HTTP/1.1\r\n" + H + b"\r\nNONSENSE\r\n\r\n",
        "200 piece piece piece 400 [closed]",
    ),
    "continue is not written into a stream": (
        b"GET /stream HTTP/1.1\r\n" + H + b"\r\nPOST /2 HTTP/1.1\r\n" + H
        + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        "200 piece piece piece 100",
    ),
    "continue is not written for a body that nobody reads": (
        b"POST /unread HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        "401",
    ),
    "continue is refused for a body that is too large": (
        b"POST /x HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        "413",
    ),
    "chunks": (CHUNKED + b"\r\n", "200 </c:abc>"),
    "trailers are no headers of the next request": (
        CHUNKED + b"Host: evil\r\nX-More: y\r\n\r\nGET /2 HTTP/1.1\r\n" + H + b"\r\n",
        "200 </c:abc> 200 </2:>",
    ),
    "a bad chunk size": (
        b"POST /c HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "400 [closed]",
    ),
    "length and chunks": (
        b"POST /c HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 [closed]",
    ),
    "two lengths": (b"POST /c HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400 [closed]"),
    "no host": (b"GET /1 HTTP/1.1\r\n\r\n", "400 [closed]"),
    "two hosts": (b"GET /1 HTTP/1.1\r\n" + H + H + b"\r\n", "400 [closed]"),
    "HEAD of a stream": (
        b"HEAD /stream HTTP/1.1\r\n" + H + b"\r\nGET /2 HTTP/1.1\r\n" + H + b"\r\n",
        "200 200 </2:>",
    ),
    "a stream for HTTP/1.0 is not chunked": (b"GET /stream HTTP/1.0\r\n\r\n", "200 piece piece piece [closed]"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_connection_stays_in_step(case: str) -> None:
    sent, expected = CASES[case]
    received = asyncio.run(exchange(sent))
    assert summary(received) == expected, received


def test_an_http_1_0_stream_has_no_chunk_sizes() -> None:
    received = asyncio.run(exchange(b"GET /stream HTTP/1.0\r\n\r\n"))
    assert received.endswith(b"\r\n\r\npiecepiecepiece[closed]")


def test_a_body_that_nobody_reads_is_not_kept() -> None:
    """A client that is refused by its headers alone is made to wait; the server keeps little of what it sends."""

    async def scenario() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        async def refuse(request: Request) -> Response:
            asked.set()
            await go.wait()
            return Response(401, b"no")

        server = await serve(refuse)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 2_900_000)
        await asked.wait()
        for _ in range(50):
            await asyncio.sleep(0.002)
        (connection,) = server.connections
        assert connection._receiving is not None
        assert connection._receiving.size < 1_000_000
        go.set()
        writer.close()
        await server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_work_for_a_client_that_has_left_is_cancelled_if_it_may_be(method: str) -> None:
    """Reads, and what says so, end with the connection; a write goes on, because half of one would be worse."""

    async def scenario() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()
        outcome: list[str] = []

        async def slow(request: Request) -> Response:
            begun.set()
            try:
                await asyncio.sleep(0.3)
                outcome.append("finished")
            except asyncio.CancelledError:
                outcome.append("cancelled")
                raise
            finally:
                ended.set()
            return Response(200)

        server = await serve(slow)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(method.encode() + b" / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await begun.wait()
        writer.transport.abort()
        async with asyncio.timeout(5):
            await ended.wait()
        await server.close()
        assert outcome == ["cancelled" if method == "GET" else "finished"]

    asyncio.run(scenario())


def test_repeated_headers_are_joined_but_each_line_can_be_had_and_cookies_are_sent_apart() -> None:
    async def scenario() -> None:
        cookies = Headers()
        cookies.add("set-cookie", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT")
        cookies.add("set-cookie", "b=2")

        async def answer(request: Request) -> Response:
            return Response(200, b"", "", cookies)

        server = await serve(answer)
        client = HTTPClient(f"http://127.0.0.1:{server.port}")
        found = await client.request("GET", "/")
        assert isinstance(found.headers, Headers)
        assert list(found.headers.getall("set-cookie")) == list(cookies.getall("set-cookie"))
        await client.close()
        await server.close()

    asyncio.run(scenario())
