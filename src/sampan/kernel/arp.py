"""ARP frames for IPv4 over Ethernet (RFC 826; announcements: RFC 5227): parses requests, builds replies."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from sampan.kernel.packet import BROADCAST, LOAD_HALF, MINIMUM_FRAME, matching

ETHERTYPE = 0x0806
_ZERO = b"\0" * 6
REQUEST, REPLY = 1, 2
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")

REQUESTS = matching((LOAD_HALF, 12, ETHERTYPE), (LOAD_HALF, 20, REQUEST))
"""A filter (`packet.py`) for requests alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """An ARP request for `target`. A MAC has 6 bytes; `sender` is 0.0.0.0 in a probe (RFC 5227)."""

    sender_mac: bytes
    sender: str
    target: str


def read_request(frame: bytes) -> Request | None:
    """The ARP request in a frame; None if the frame is anything else or malformed."""
    if len(frame) < _FRAME.size:
        return None
    _to, _from, kind, link, protocol, link_size, size, operation, mac, sender, _mac, target = _FRAME.unpack_from(frame)
    if (kind, link, protocol, link_size, size, operation) != (ETHERTYPE, 1, 0x0800, 6, 4, REQUEST):
        return None
    if mac[0] & 1:  # a multicast source address is invalid
        return None
    return Request(mac, socket.inet_ntoa(sender), socket.inet_ntoa(target))


def reply(request: Request, mac: bytes) -> bytes:
    """The reply to a request: its target has the MAC `mac`."""
    return _frame(request.sender_mac, mac, REPLY, request.target, request.sender_mac, request.sender)


def announcements(address: str, mac: bytes) -> tuple[bytes, bytes]:
    """Gratuitous ARP by broadcast, as a request and as a reply, because some systems accept only one of the two."""
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
    return packed.ljust(MINIMUM_FRAME, b"\0")
