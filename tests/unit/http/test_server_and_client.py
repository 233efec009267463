"""The HTTP server and client, against each other over loopback sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sampan.http.client import HTTPClient
from sampan.http.messages import MAX_BODY, BodyTooLarge, Response
from sampan.http.server import Handler, Request, serve


async def echo(request: Request) -> Response | None:
    if request.path == "/stream":
        stream = await request.stream(200, {"Content-Type": "text/plain"})
        for number in range(3):
            await stream.write(b"%d\n" % number)
        await stream.close()
        return None
    if request.path == "/boom":
        raise RuntimeError("boom")
    if request.path == "/upgrade":
        reader, writer = await request.upgrade({"Connection": "Upgrade", "Upgrade": "SPDY/3.1"})
        writer.write((await reader.readexactly(4)).upper())
        await writer.drain()
        writer.close()
        return None
    try:
        body = await request.read()
    except BodyTooLarge:
        return Response(413, b"", "text/plain")
    text = f"{request.method} {request.path} {request.query.get('a')} ".encode()
    return Response(200, text + body, "text/plain")


@asynccontextmanager
async def running(handler: Handler = echo) -> AsyncIterator[HTTPClient]:
    server = await serve(handler, host="127.0.0.1", port=0)
    client = HTTPClient(f"http://127.0.0.1:{server.port}")
    try:
        yield client
    finally:
        await client.close()
        await server.close()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/x", None, b"GET /x  "),
        ("GET", "/a%20b?a=1%2B1&a=2", None, b"GET /a b 1+1 "),
        ("POST", "/x?a=", b"hello", b"POST /x  hello"),
        ("HEAD", "/x", None, b""),
        ("DELETE", "/x", b"{}", b"DELETE /x  {}"),
    ],
)
def test_a_request_reaches_the_handler_and_its_answer_returns(method, path, body, expected):
    async def check():
        async with running() as client:
            answer = await client.request(method, path, body=body)
            assert (answer.status, answer.body) == (200, expected)

    run(check())


def test_connections_are_reused_and_a_stream_leaves_them_usable():
    async def check():
        async with running() as client:
            for _ in range(3):
                assert (await client.request("GET", "/stream")).body == b"0\n1\n2\n"
                assert (await client.request("GET", "/x")).status == 200
            assert len(client._open) == 1

    run(check())


def test_a_connection_is_read_again_after_an_answer_that_filled_its_buffer():
    size = (1 << 20) + 1

    async def large(request: Request) -> Response:
        return Response(200, b"x" * size)

    async def check():
        async with running(large) as client:
            async with client.stream("GET", "/") as answer:
                [connection] = client._open
                while not connection._complete:
                    await asyncio.sleep(0)
                assert len(await answer.read()) == size
            assert len((await client.request("GET", "/", timeout=5)).body) == size
            assert client._open == {connection}

    run(check())


def test_a_handler_that_fails_answers_500_and_serves_on():
    async def check():
        async with running() as client:
            assert (await client.request("GET", "/boom")).status == 500
            assert (await client.request("GET", "/x")).status == 200

    run(check())


def test_a_body_over_the_limit_is_refused():
    async def check():
        async with running() as client:
            assert (await client.request("POST", "/x", body=b"x" * (MAX_BODY + 1))).status == 413
            assert (await client.request("POST", "/x", body=b"x" * MAX_BODY)).status == 200

    run(check())


def test_an_upgraded_connection_carries_raw_bytes_both_ways():
    async def check():
        async with running() as client:
            answer = await client.upgrade("POST", "/upgrade", {"Upgrade": "SPDY/3.1"})
            assert answer.status == 101
            assert answer.streams
            reader, writer = answer.streams
            writer.write(b"ping")
            assert await reader.read() == b"PING"
            writer.close()

    run(check())


def test_a_refused_upgrade_returns_the_ordinary_answer():
    async def check():
        async with running() as client:
            answer = await client.upgrade("GET", "/x", {"Upgrade": "SPDY/3.1"})
            assert (answer.status, answer.body) == (200, b"GET /x  ")

    run(check())


@pytest.mark.parametrize(
    "raw",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", b"G" * 200],
)
def test_malformed_requests_get_400_and_the_server_lives(raw):
    async def check():
        async with running() as client:
            reader, writer = await asyncio.open_connection(client._host, client._port)
            writer.write(raw)
            answer = await asyncio.wait_for(reader.read(), 5)
            assert answer.startswith(b"HTTP/1.1 400")
            writer.close()
            assert (await client.request("GET", "/x")).status == 200

    run(check())


def test_pipelined_requests_are_answered_in_order():
    async def check():
        async with running() as client:
            reader, writer = await asyncio.open_connection(client._host, client._port)
            count = 50
            writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(count)))
            for number in range(count):
                assert (await reader.readuntil(b"GET /%d  " % number)).startswith(b"HTTP/1.1 200")
            writer.close()

    run(check())


def test_a_streaming_handler_is_cancelled_when_its_client_leaves():
    async def check():
        left = asyncio.Event()

        async def forever(request: Request) -> None:
            stream = await request.stream()
            await stream.write(b"x")
            try:
                await asyncio.sleep(3600)
            finally:
                left.set()

        async with running(forever) as client:
            async with client.stream("GET", "/") as answer:
                assert await anext(answer.chunks) == b"x"
            await asyncio.wait_for(left.wait(), 5)

    run(check())


def test_a_slow_reader_holds_the_writer_back():
    async def check():
        progress = 0

        async def flood(request: Request) -> None:
            nonlocal progress
            stream = await request.stream()
            for _ in range(400):
                await stream.write(b"x" * 65536)
                progress += 1
            await stream.close()

        async with running(flood) as client, client.stream("GET", "/") as answer:
            await anext(answer.chunks)
            for _ in range(50):
                await asyncio.sleep(0.002)
            assert progress < 400
            received = 0
            async for chunk in answer.chunks:
                received += len(chunk)
            assert progress == 400

    run(check())


def test_who_sends_requests_without_taking_answers_is_held_back():
    async def check():
        answered = 0

        async def large(request: Request) -> Response:
            nonlocal answered
            answered += 1
            return Response(200, b"x" * 1_000_000)

        async with running(large) as client:
            reader, writer = await asyncio.open_connection(client._host, client._port, limit=1)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
            while not answered:
                await asyncio.sleep(0.002)
            for _ in range(50):
                await asyncio.sleep(0.002)
            assert answered < 50
            received = 0
            while received < 200_000_000:
                received += len(await reader.read(1 << 20))
            assert answered == 200
            writer.close()

    run(check())


def test_an_unreachable_server_is_an_oserror():
    async def check():
        client = HTTPClient("http://127.0.0.1:1")
        with pytest.raises(OSError):
            await client.request("GET", "/")

    run(check())
