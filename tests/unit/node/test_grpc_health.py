"""gRPC health checks against servers of every kind, well-behaved or not."""

import asyncio

import pytest

from sampan.api.core_v1 import GRPCAction
from sampan.node import grpc_health, probe_actions

SERVING = b"\0\0\0\0\x02\x08\x01"


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + b"\0\0\0\x01" + payload


ANSWERS = {
    "serving": (_frame(0, 0, SERVING), True),
    "padded": (_frame(0, 8, b"\x03" + SERVING + b"\0\0\0"), True),
    "split": (_frame(0, 0, SERVING[:3]) + _frame(0, 1, SERVING[3:]), True),
    "unknown frames first": (_frame(99, 0, b"x") + _frame(0, 0, SERVING), True),
    "not serving": (_frame(0, 0, b"\0\0\0\0\x02\x08\x02"), False),
    "padded without content": (_frame(0, 8, b""), False),
    "more padding than content": (_frame(0, 8, b"\xff" + SERVING), False),
    "nothing": (b"", False),
    "cut short": (_frame(0, 0, SERVING)[:12], False),
    "reset": (_frame(3, 0, b"\0\0\0\0"), False),
    "trailers only": (_frame(1, 5, b""), False),
    "not HTTP/2": (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
    "endless": (_frame(0, 0, b"\0\x7f\xff\xff\xff") + 20 * _frame(0, 0, bytes(16000)), False),
}


async def _ask(answer: bytes, service: str = "") -> tuple[probe_actions.Outcome, bytes]:
    asked = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await reader.read(65536))
        try:
            writer.write(answer)
            await writer.drain()
            writer.close()
        except ConnectionError:
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await probe_actions.grpc(GRPCAction(port=port, service=service), "127.0.0.1", 5), bytes(asked)


@pytest.mark.parametrize("what", ANSWERS)
def test_a_check_succeeds_or_fails_and_never_breaks(what: str):
    answer, expected = ANSWERS[what]
    outcome, _ = asyncio.run(_ask(answer))
    assert outcome.success == expected, outcome


@pytest.mark.parametrize("length", [1, 126, 127, 128, 300])
def test_service_names_of_every_length_are_sent_whole(length: int):
    name = "s" * length
    outcome, asked = asyncio.run(_ask(ANSWERS["serving"][0], name))
    assert outcome.success
    size = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
    assert b"\x0a" + size + name.encode() in asked


def test_lengths_are_as_hpack_and_protobuf_have_them():
    assert grpc_health._text("a" * 127)[:2] == b"\x7f\x00"
    assert grpc_health._text("a" * 400)[:3] == b"\x7f" + bytes((273 & 127 | 128, 273 >> 7))
