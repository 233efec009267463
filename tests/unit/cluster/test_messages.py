"""Messages cross the channel whole and in order, with their file descriptor, and the end of the other side shows."""

import os

import pytest

from sampan.cluster.messages import (
    Boxed,
    Channel,
    Exited,
    Failed,
    Message,
    Note,
    Ready,
    SocketMade,
    SocketWanted,
    Started,
)

ALL: list[Message] = [
    Boxed(),
    Started("apiserver", 5),
    Ready("apiserver"),
    Note("bootstrap", "node-1 is Ready"),
    Exited("apiserver", -9, 0.1),
    Exited("bootstrap", 0, None),
    Failed("no room"),
    SocketWanted(1, "node-1", datagram=True),
    SocketMade(1, "refused"),
]


def test_every_message_arrives_as_it_was_sent() -> None:
    outer, inner = Channel.pair()
    for message in ALL:
        inner.send(message)
    assert [outer.receive() for _ in ALL] == [(message, None) for message in ALL]


def test_a_descriptor_arrives_with_its_message() -> None:
    outer, inner = Channel.pair()
    reading, writing = os.pipe()
    inner.send(SocketMade(1), writing)
    os.close(writing)
    _, descriptor = outer.receive()
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"x")
    assert os.read(reading, 1) == b"x"


def test_nothing_yet_and_nobody_there_are_told_apart() -> None:
    outer, inner = Channel.pair()
    outer.setblocking(False)
    with pytest.raises(BlockingIOError):
        outer.receive()
    inner.close()
    with pytest.raises(EOFError):
        outer.receive()
