"""NDP frames for IPv6 over Ethernet (RFC 4861): parses neighbour solicitations, builds neighbour advertisements."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from sampan.kernel.packet import LOAD_BYTE, LOAD_HALF, matching

ETHERTYPE = 0x86DD
ICMPV6 = 58
SOLICITATION, ADVERTISEMENT = 135, 136
_SOLICITED, _OVERRIDE = 0x40000000, 0x20000000
_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_MESSAGE = struct.Struct("!BBHI16s")
_OPTION = struct.Struct("!BB6s")
_SOURCE_LINK, _TARGET_LINK = 1, 2
_ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")
_ALL_NODES_MAC = b"\x33\x33\0\0\0\x01"
_UNSPECIFIED = b"\0" * 16
_BODY = _ETHERNET.size + _IPV6.size

SOLICITATIONS = matching((LOAD_HALF, 12, ETHERTYPE), (LOAD_BYTE, 20, ICMPV6), (LOAD_BYTE, 54, SOLICITATION))
"""A filter (`packet.py`) for neighbour solicitations alone."""


@dataclass(frozen=True, slots=True)
class Solicitation:
    """A neighbour solicitation for `target`. `sender` is `::` in duplicate address detection (RFC 4862)."""

    sender_mac: bytes
    sender: str
    target: str


def read_solicitation(frame: bytes) -> Solicitation | None:
    """The solicitation in a frame; None if the frame is anything else or malformed (RFC 4861, section 7.1.1)."""
    if len(frame) < _BODY + _MESSAGE.size:
        return None
    _to, mac, kind = _ETHERNET.unpack_from(frame)
    head, length, following, hops, sender, destination = _IPV6.unpack_from(frame, _ETHERNET.size)
    if kind != ETHERTYPE or head >> 28 != 6 or following != ICMPV6 or hops != 255 or length < _MESSAGE.size:
        return None
    message = frame[_BODY : _BODY + length]
    if len(message) < length or _checksum(sender, destination, message):
        return None
    number, code, _sum, _reserved, target = _MESSAGE.unpack_from(message)
    if number != SOLICITATION or code or target[0] == 0xFF:
        return None
    mac = _source_link(message[_MESSAGE.size :]) or mac
    if mac[0] & 1:
        return None
    return Solicitation(mac, socket.inet_ntop(socket.AF_INET6, sender), socket.inet_ntop(socket.AF_INET6, target))


def _source_link(options: bytes) -> bytes | None:
    """The source link-layer address option; None if there is none."""
    while len(options) >= 2:
        kind, size = options[0], 8 * options[1]
        if not size or size > len(options):
            return None
        if kind == _SOURCE_LINK and size == _OPTION.size:
            return options[2:8]
        options = options[size:]
    return None


def advertisement(asked: Solicitation, mac: bytes) -> bytes:
    """The answer to a solicitation: its target has the MAC `mac`. Sent to all nodes if the sender is `::`."""
    target = socket.inet_pton(socket.AF_INET6, asked.target)
    sender = socket.inet_pton(socket.AF_INET6, asked.sender)
    if sender == _UNSPECIFIED:
        return _frame(_ALL_NODES_MAC, mac, _ALL_NODES, target, _OVERRIDE)
    return _frame(asked.sender_mac, mac, sender, target, _SOLICITED | _OVERRIDE)


def announcement(address: str, mac: bytes) -> bytes:
    """An unsolicited advertisement to all nodes."""
    return _frame(_ALL_NODES_MAC, mac, _ALL_NODES, socket.inet_pton(socket.AF_INET6, address), _OVERRIDE)


def solicited_node(address: str) -> bytes:
    """The solicited-node multicast address of an address, 16 bytes (RFC 4291, section 2.7.1)."""
    return socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + socket.inet_pton(socket.AF_INET6, address)[13:]


def solicitation(sender: str, target: str, mac: bytes) -> bytes:
    """A solicitation, as a neighbour with the MAC `mac` sends it."""
    group = solicited_node(target)
    packed = socket.inet_pton(socket.AF_INET6, target)
    message = _MESSAGE.pack(SOLICITATION, 0, 0, 0, packed) + _OPTION.pack(_SOURCE_LINK, 1, mac)
    return _wrap(b"\x33\x33" + group[12:], mac, socket.inet_pton(socket.AF_INET6, sender), group, message)


def _frame(to: bytes, mac: bytes, destination: bytes, target: bytes, flags: int) -> bytes:
    message = _MESSAGE.pack(ADVERTISEMENT, 0, 0, flags, target) + _OPTION.pack(_TARGET_LINK, 1, mac)
    return _wrap(to, mac, target, destination, message)


def _wrap(to: bytes, mac: bytes, source: bytes, destination: bytes, message: bytes) -> bytes:
    summed = message[:2] + struct.pack("!H", _checksum(source, destination, message)) + message[4:]
    head = _IPV6.pack(6 << 28, len(message), ICMPV6, 255, source, destination)
    return _ETHERNET.pack(to, mac, ETHERTYPE) + head + summed


def _checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """The checksum of a message whose checksum field is 0; of a complete message, 0 if its checksum is correct."""
    data = source + destination + struct.pack("!IHBB", len(message), 0, 0, ICMPV6) + message
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
