"""WebSocket: the handshake of RFC 6455, messages in frames of every length, pings, closing."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.http import server, websocket
from sampan.http.server import Request
from sampan.http.websocket import WebSocket, choose_protocol, unmask

MASK = b"\1\2\3\4"


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A client's frame, masked."""
    head = bytes((opcode | (0x80 if final else 0),))
    if len(payload) < 126:
        head += bytes((0x80 | len(payload),))
    elif len(payload) < 65536:
        head += bytes((0x80 | 126,)) + len(payload).to_bytes(2, "big")
    else:
        head += bytes((0x80 | 127,)) + len(payload).to_bytes(8, "big")
    return head + MASK + unmask(payload, MASK)


async def echo(request: Request) -> None:
    socket = await websocket.accept(request, "v5.channel.k8s.io")
    while message := await socket.receive():
        await socket.send(message)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, length = await reader.readexactly(2)
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    return first & 0x0F, await reader.readexactly(length)


def test_messages_of_every_length_come_back_and_pings_are_answered() -> None:
    async def scenario() -> None:
        serving = await server.serve(echo)
        reader, writer, answer = await connect(serving.port)
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
        assert b"Sec-WebSocket-Protocol: v5.channel.k8s.io" in answer
        for size in (1, 125, 126, 65535, 65536):
            payload = os.urandom(size)
            writer.write(frame(2, payload))
            assert await read_frame(reader) == (2, payload)
        writer.write(frame(2, b"in ", final=False) + frame(9, b"ping") + frame(0, b"pieces"))
        assert await read_frame(reader) == (0xA, b"ping")
        assert await read_frame(reader) == (2, b"in pieces")
        writer.write(frame(8, b""))
        assert (await read_frame(reader))[0] == 8
        assert await reader.read() == b""
        writer.close()
        await serving.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("bytes_", [b"\x82\x01x", b"\xf2\x81" + MASK + b"x", b"\x82\xff" + b"\x7f" * 8])
def test_broken_frames_close_the_connection(bytes_: bytes) -> None:
    async def scenario() -> None:
        serving = await server.serve(echo)
        reader, writer, _ = await connect(serving.port)
        writer.write(bytes_)
        assert (await read_frame(reader))[0] == 8
        writer.close()
        await serving.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("b, a", "a"), ("b", "b"), ("", ""), ("c", None)],
)
def test_our_first_protocol_that_the_client_offers_is_chosen(offered: str, chosen: str | None) -> None:
    assert choose_protocol({"sec-websocket-protocol": offered}, ("a", "b")) == chosen


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_unmasking_undoes_masking(payload: bytes, mask: bytes) -> None:
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    assert unmask(masked, mask) == payload


def test_a_closed_socket_refuses_to_send() -> None:
    async def scenario() -> None:
        async def close_then_send(request: Request) -> None:
            socket: WebSocket = await websocket.accept(request, "")
            await socket.close()
            with pytest.raises(ConnectionError):
                await socket.send(b"x")

        serving = await server.serve(close_then_send)
        reader, writer, _ = await connect(serving.port)
        assert (await read_frame(reader))[0] == 8
        writer.close()
        await serving.close()

    asyncio.run(scenario())
