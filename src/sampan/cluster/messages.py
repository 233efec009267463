"""What the supervisor (outside) and the box's first process (inside) tell each other, and how.

Small JSON messages over a pair of SOCK_SEQPACKET sockets made before the fork; a message may carry a file descriptor.
`init.py` is at the inner end, `supervisor.py` at the outer one.
"""

from __future__ import annotations

import os
import socket

import msgspec

MAX_MESSAGE = 1 << 16


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class Boxed(_Message, frozen=True):
    """Inside to outside: the namespaces, mounts and LAN exist."""


class Started(_Message, frozen=True):
    """A component runs; `pid` as seen inside the box."""

    component: str
    pid: int


class Ready(_Message, frozen=True):
    """A component does its work."""

    component: str


class Note(_Message, frozen=True):
    """A component tells the user of progress."""

    component: str
    text: str


class Exited(_Message, frozen=True):
    """A component ended. `status` as from os.waitstatus_to_exitcode; it starts again in `retry` seconds, if any."""

    component: str
    status: int
    retry: float | None


class Failed(_Message, frozen=True):
    """The box could not be made."""

    error: str


class SocketWanted(_Message, frozen=True):
    """Outside to inside: make a socket in a node's network, or in the box's own without a node."""

    number: int
    node: str
    datagram: bool = False


class SocketMade(_Message, frozen=True):
    """The answer; the socket comes with it unless there is an `error`."""

    number: int
    error: str = ""


Message = Boxed | Started | Ready | Note | Exited | Failed | SocketWanted | SocketMade

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class Channel:
    """One end. Raises EOFError when the other end is gone, BlockingIOError when there is nothing (if non-blocking)."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(first), cls(second)

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, blocking: bool) -> None:
        self._socket.setblocking(blocking)

    def send(self, message: Message, descriptor: int | None = None) -> None:
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self._socket, [_encode(message)], descriptors)

    def receive(self) -> tuple[Message, int | None]:
        """A message, and the descriptor that came with it, which now belongs to the caller."""
        data, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE, 1)
        if not data:
            raise EOFError
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return _decode(data), descriptors[0] if descriptors else None

    def close(self) -> None:
        self._socket.close()
