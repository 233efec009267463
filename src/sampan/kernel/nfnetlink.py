"""Netfilter's side of netlink: numbers in network order, and batches that the kernel takes whole or not at all.

nftables and conntrack are subsystems of NETLINK_NETFILTER; their messages are in nft.py and conntrack.py, the wire
format common to all of netlink is in netlink.py. A batch is one send, however large: the kernel has processed it when
send returns, so its answers are there without waiting.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sampan.kernel.netlink import (
    HEADER,
    NLA_TYPE_MASK,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Request,
    Socket,
    attribute,
    failure,
    messages,
)

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_RECEIVE = 1 << 18
_RECEIVE_BUFFER = 8 << 20

_GENERIC = struct.Struct(">BBH")
GENERIC_BYTES = _GENERIC.size


class Message(NamedTuple):
    """One message of a batch, without its sequence number."""

    type: int
    flags: int
    payload: bytes


def be32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in network order, as netfilter wants all its numbers."""
    return attribute(kind, value.to_bytes(4, "big"))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def generic(family: int, payload: bytes) -> bytes:
    """A payload behind netfilter's own small header."""
    return _GENERIC.pack(family, 0, 0) + payload


def elements(data: bytes) -> Iterator[bytes]:
    """The values of a list of attributes of one type."""
    offset, end = 0, len(data)
    while offset + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4 or offset + length > end or not kind & NLA_TYPE_MASK:
            raise ValueError(f"netlink list element of length {length} at {offset} of {end}")
        yield data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class NetfilterSocket(Socket):
    """A socket of NETLINK_NETFILTER in the network namespace that the calling thread is in when it is made."""

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)
        self._send_buffer = 0
        self._grow(_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def batch(self, subsystem: int, batch: Sequence[Message], about: str) -> None:
        """Apply all messages in one transaction. Raises the OSError of the first one refused; then nothing changed."""
        if not batch:
            return
        first = self._sequence + 1
        data = self._frame(subsystem, batch)
        if len(data) > self._send_buffer:
            self._grow(_SO_SNDBUFFORCE, socket.SO_SNDBUF, len(data) + (1 << 16))
            self._send_buffer = len(data)
        self._socket.send(data)
        self._raise_first_failure(first, about)

    def _frame(self, subsystem: int, batch: Sequence[Message]) -> bytes:
        """The batch as one buffer; its last message asks for an acknowledgement, so that silence is never success."""
        edge = _GENERIC.pack(0, 0, subsystem)
        self._sequence += 1
        parts = [_header(_BATCH_BEGIN, 0, edge, self._sequence), edge]
        last = len(batch) - 1
        for index, (kind, flags, payload) in enumerate(batch):
            self._sequence += 1
            parts += (_header(kind, flags | (NLM_F_ACK if index == last else 0), payload, self._sequence), payload)
        self._sequence += 1
        parts += (_header(_BATCH_END, 0, edge, self._sequence), edge)
        return b"".join(parts)

    def _raise_first_failure(self, first: int, about: str) -> None:
        error: OSError | None = None
        answered = False
        while True:
            try:
                data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            for message in messages(data):
                if message.type == NLMSG_ERROR and message.sequence >= first:
                    answered = True
                    error = error or failure(message, about)
        if error is not None:
            raise error
        if not answered:
            raise OSError(f"{about}: the kernel gave no answer")

    def _grow(self, forced: int, plain: int, size: int) -> None:
        """Ask for a larger buffer: past the system's limit where we may, up to it otherwise."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, plain, size)


def _header(kind: int, flags: int, payload: bytes, sequence: int) -> bytes:
    return HEADER.pack(HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, sequence, 0)


def dump_request(subsystem: int, message: int, family: int, payload: bytes, about: str) -> Request:
    return Request(subsystem << 8 | message, 0, generic(family, payload), about)
