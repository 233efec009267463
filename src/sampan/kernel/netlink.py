"""Netlink's wire format and one blocking socket for it, common to all netlink families.

Requests are data (`Request`); `Socket.execute` sends any number of them in one system call and checks every answer.
`rtnetlink.py` builds requests for links, addresses, routes and neighbours. See netlink(7).
"""

import errno
import os
import socket
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Self

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_REPLACE = 0x100
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE = 1 << 18

Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """One netlink message before it has a sequence number. `about` says in words what it does, for errors."""

    type: int
    flags: int
    payload: bytes
    about: str = ""

    def encode(self, sequence: int) -> bytes:
        length = HEADER.size + len(self.payload)
        flags = self.flags | NLM_F_REQUEST | NLM_F_ACK
        return HEADER.pack(length, self.type, flags, sequence, 0) + self.payload + bytes(-length % 4)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """A string, with its ending zero."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: bytes, offset: int = 0) -> Attributes:
    """Take attributes apart; of several of one type the last is kept. Raises ValueError if they are malformed."""
    found: Attributes = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise ValueError(f"netlink attribute of length {length} at {offset} of {end}")
        found[kind & NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


@dataclass(frozen=True, slots=True)
class Message:
    """One received message."""

    type: int
    flags: int
    sequence: int
    payload: bytes


def messages(data: bytes) -> Iterator[Message]:
    """Take a datagram apart. Raises ValueError if it is malformed."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise ValueError(f"netlink message of length {length} at {offset} of {len(data)}")
        yield Message(kind, flags, sequence, data[offset + HEADER.size : offset + length])
        offset += (length + 3) & ~3


def failure(message: Message, about: str) -> OSError | None:
    """The error that an acknowledgement carries, with the kernel's own words where it has any."""
    (code,) = struct.unpack_from("=i", message.payload)
    if code == 0:
        return None
    words = os.strerror(-code)
    if message.flags & NLM_F_ACK_TLVS:
        (echoed,) = struct.unpack_from("=I", message.payload, 4)
        start = 4 + (HEADER.size if message.flags & NLM_F_CAPPED else (echoed + 3) & ~3)
        explanation = attributes(message.payload, start).get(NLMSGERR_ATTR_MSG)
        if explanation:
            words = f"{words}: {explanation.rstrip(bytes(1)).decode(errors='replace')}"
    return OSError(-code, words, about) if about else OSError(-code, words)


class Interrupted(Exception):
    """What was being listed changed meanwhile; the list must be asked for again."""


class Socket:
    """A netlink socket in the network namespace that the calling thread is in when it is made."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._sequence = 0
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def execute(self, *requests: Request, ignore: Container[int] = ()) -> None:
        """Send requests together; the kernel obeys them in order. Raises the first error whose errno is not ignored.

        A failing request does not stop those after it.
        """
        if not requests:
            return
        waiting = {}
        data = []
        for request in requests:
            self._sequence += 1
            waiting[self._sequence] = request
            data.append(request.encode(self._sequence))
        self._socket.send(b"".join(data))
        errors = []
        while waiting:
            for message in messages(self._socket.recv(_RECEIVE)):
                if message.type != NLMSG_ERROR or message.sequence not in waiting:
                    continue
                error = failure(message, waiting.pop(message.sequence).about)
                if error is not None and error.errno not in ignore:
                    errors.append(error)
        if errors:
            raise errors[0]

    def ask(self, request: Request) -> bytes | None:
        """The payload of the one answer to a request; None if the kernel has no such object."""
        self._sequence += 1
        self._socket.send(request.encode(self._sequence))
        answer: bytes | None = None
        while True:
            for message in messages(self._socket.recv(_RECEIVE)):
                if message.sequence != self._sequence:
                    continue
                if message.type != NLMSG_ERROR:
                    answer = message.payload
                    continue
                error = failure(message, request.about)
                if error is None:
                    return answer
                if error.errno in (errno.ENODEV, errno.ENOENT, errno.ESRCH):
                    return None
                raise error

    def dump(self, request: Request) -> list[bytes]:
        """The payloads of all answers to a request for a list, taken again while the list changes under us."""
        while True:
            try:
                return self._dump(request)
            except Interrupted:
                continue

    def _dump(self, request: Request) -> list[bytes]:
        self._sequence += 1
        self._socket.send(Request(request.type, request.flags | NLM_F_DUMP, request.payload).encode(self._sequence))
        found: list[bytes] = []
        interrupted = False
        while True:
            for message in messages(self._socket.recv(_RECEIVE)):
                if message.sequence != self._sequence:
                    continue
                interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
                if message.type == NLMSG_ERROR:
                    error = failure(message, request.about)
                    if error is not None:
                        raise error
                elif message.type == NLMSG_DONE:
                    if interrupted:
                        raise Interrupted
                    return found
                else:
                    found.append(message.payload)
