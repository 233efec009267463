"""ARP for IPv4 over Ethernet (RFC 826, announcements RFC 5227), as whole frames."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from sampan.kernel.packet import LOAD_HALF, matching

ETHERTYPE = 0x0806
BROADCAST = b"\xff" * 6
_ZERO = b"\0" * 6
REQUEST, REPLY = 1, 2
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_MINIMUM = 60

REQUESTS = matching((LOAD_HALF, 12, ETHERTYPE), (LOAD_HALF, 20, REQUEST))
"""A filter (`packet.py`) for requests alone."""


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody asks who has an address. Hardware addresses have 6 bytes; the sender's address is 0.0.0.0 in a probe."""

    sender_mac: bytes
    sender: str
    target: str


def read_request(frame: bytes) -> Question | None:
    """The question in a frame; None if it is anything else, however malformed."""
    if len(frame) < _FRAME.size:
        return None
    _to, _from, kind, link, protocol, link_size, size, operation, mac, sender, _mac, target = _FRAME.unpack_from(frame)
    if (kind, link, protocol, link_size, size, operation) != (ETHERTYPE, 1, 0x0800, 6, 4, REQUEST):
        return None
    if mac[0] & 1:  # a group answers nowhere
        return None
    return Question(mac, socket.inet_ntoa(sender), socket.inet_ntoa(target))


def reply(question: Question, mac: bytes) -> bytes:
    """That the asked address is at `mac`, to the one who asks."""
    return _frame(question.sender_mac, mac, REPLY, question.target, question.sender_mac, question.sender)


def announcements(address: str, mac: bytes) -> tuple[bytes, bytes]:
    """Unasked, to everybody: as a request and as a reply, because some heed only the one and some the other."""
    return (
        _frame(BROADCAST, mac, REQUEST, address, _ZERO, address),
        _frame(BROADCAST, mac, REPLY, address, BROADCAST, address),
    )


def _frame(to: bytes, mac: bytes, operation: int, sender: str, target_mac: bytes, target: str) -> bytes:
    packed = _FRAME.pack(
        to,
        mac,
        ETHERTYPE,
        1,
        0x0800,
        6,
        4,
        operation,
        mac,
        socket.inet_aton(sender),
        target_mac,
        socket.inet_aton(target),
    )
    return packed.ljust(_MINIMUM, b"\0")
