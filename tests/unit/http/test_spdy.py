"""SPDY/3.1: headers round-trip through the shared dictionary, streams carry bytes both ways and end separately."""

import asyncio
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.http.spdy import SPDYConnection, SPDYStream
from sampan.http.spdy_headers import DICTIONARY, BadHeaders, HeaderDecoder, HeaderEncoder

SYN_STREAM, SYN_REPLY, PING, FIN = 1, 2, 6, 1


class Pipe:
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        self.incoming = asyncio.StreamReader()
        self.sent = bytearray()

    async def read_exactly(self, count: int) -> bytes:
        try:
            return await self.incoming.readexactly(count)
        except asyncio.IncompleteReadError as error:
            raise EOFError from error

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def close(self) -> None:
        self.incoming.feed_eof()


def control(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", stream, flags << 24 | len(body)) + body


def open_stream(encoder: HeaderEncoder, stream: int, **headers: str) -> bytes:
    return control(SYN_STREAM, struct.pack(">IIBB", stream, 0, 0, 0) + encoder.encode(headers))


def test_the_dictionary_is_that_of_the_standard() -> None:
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


names = st.text("abcdefgh-", min_size=1, max_size=20)


@given(st.lists(st.dictionaries(names, st.text(max_size=50).filter(lambda text: "\0" not in text)), max_size=4))
def test_header_blocks_round_trip_in_order(blocks: list[dict[str, str]]) -> None:
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    assert [decoder.decode(encoder.encode(block)) for block in blocks] == blocks


@pytest.mark.parametrize("block", [b"", b"nonsense", HeaderEncoder().encode({"a": "b"})[:8]])
def test_damaged_header_blocks_are_refused(block: bytes) -> None:
    with pytest.raises(BadHeaders):
        HeaderDecoder().decode(block)


def test_a_stream_is_answered_and_carries_bytes_both_ways() -> None:
    async def scenario() -> None:
        pipe, opened, encoder = Pipe(), list[SPDYStream](), HeaderEncoder()
        connection = SPDYConnection(pipe, opened.append)
        pipe.incoming.feed_data(open_stream(encoder, 1, streamtype="data") + data(1, b"hello", FIN))
        pipe.incoming.feed_data(control(PING, b"\0\0\0\7"))
        running = asyncio.create_task(connection.run())
        while b"\0\0\0\7" not in pipe.sent:
            await asyncio.sleep(0)
        stream = opened[0]
        assert stream.headers == {"streamtype": "data"}
        assert [await stream.read(), await stream.read()] == [b"hello", b""]
        await stream.write(b"answer")
        await stream.close()
        assert struct.unpack_from(">HH", pipe.sent) == (0x8003, SYN_REPLY)
        assert bytes(pipe.sent).endswith(data(1, b"answer") + data(1, b"", FIN))
        pipe.incoming.feed_eof()
        await running

    asyncio.run(scenario())


def test_the_end_of_the_connection_is_the_end_of_its_streams() -> None:
    async def scenario() -> None:
        pipe, opened = Pipe(), list[SPDYStream]()
        pipe.incoming.feed_data(open_stream(HeaderEncoder(), 1, streamtype="data"))
        pipe.incoming.feed_eof()
        await SPDYConnection(pipe, opened.append).run()
        assert await opened[0].read() == b""
        with pytest.raises(ConnectionError):
            await opened[0].write(b"x")

    asyncio.run(scenario())


@given(st.binary(max_size=200))
def test_no_bytes_break_the_connection_with_anything_but_its_end(noise: bytes) -> None:
    async def scenario() -> None:
        pipe = Pipe()
        pipe.incoming.feed_data(noise)
        pipe.incoming.feed_eof()
        await SPDYConnection(pipe, lambda stream: None).run()

    asyncio.run(scenario())
