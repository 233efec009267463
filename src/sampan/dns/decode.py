"""Answers of other servers, read into records whose names are no longer compressed.

What `wire.build` writes again may then be put together, cut or aged like anything made here. Types that may not be
compressed (RFC 3597) are copied as they are.
"""

import struct
from collections.abc import Callable

from sampan.dns import wire
from sampan.dns.wire import Record, Reply

_header = struct.Struct("!6H")
_record = struct.Struct("!HHIH")
_NAMES_IN_DATA = {
    wire.NS: (0, 1), wire.CNAME: (0, 1), wire.PTR: (0, 1), wire.DNAME: (0, 1), wire.MX: (2, 1), wire.SRV: (6, 1),
    wire.SOA: (0, 2), 3: (0, 1), 4: (0, 1), 7: (0, 1), 8: (0, 1), 9: (0, 1), 14: (0, 2), 17: (0, 2), 18: (2, 1),
}  # fmt: skip
"""For each type that may be compressed: how many bytes come before its names, and how many names there are."""
_MAX_TTL = 0x7FFFFFFF


class Unreadable(ValueError):
    """Not a DNS message, or one whose records contradict its lengths."""


def parse_answer(packet: bytes) -> tuple[Reply, bool]:
    """The content of an answer, and whether it was cut off. Raises Unreadable."""
    try:
        return _parse(packet)
    except (struct.error, IndexError) as error:
        raise Unreadable("the message ends too early") from error


def _parse(packet: bytes) -> tuple[Reply, bool]:
    _, flags, questions, *counts = _header.unpack_from(packet)
    at = wire.HEADER_SIZE
    for _ in range(questions):
        at = read_name(packet, at)[1] + 4
    rcode = flags & 0xF
    sections: list[tuple[Record, ...]] = []
    for count in counts:
        found: list[Record] = []
        for _ in range(count):
            name, at = read_name(packet, at)
            kind, klass, ttl, size = _record.unpack_from(packet, at)
            at += _record.size
            if len(packet) < at + size:
                raise Unreadable("a record is longer than the message")
            if kind == wire.OPT:
                rcode |= ttl >> 20 & 0xFF0
            elif klass == wire.IN:
                data = _expand(packet, at, kind, size)
                found.append(Record(name_text(name), kind, data, ttl if ttl <= _MAX_TTL else 0))
            at += size
        sections.append(tuple(found))
    authentic = bool(flags & wire.AUTHENTIC_DATA)
    answers, authority, additional = sections
    own = bool(flags & wire.AUTHORITATIVE)
    reply = Reply(rcode, answers, authority, additional, authoritative=own, authentic=authentic)
    return reply, bool(flags & wire.TRUNCATED)


def read_name(packet: bytes, at: int) -> tuple[bytes, int]:
    """A name without compression, and where it ends in the packet. Raises Unreadable, IndexError."""
    parts: list[bytes] = []
    size, end, limit = 0, 0, at
    while length := packet[at]:
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | packet[at + 1]
            if at >= limit:
                raise Unreadable("a pointer that does not lead back")
            limit = at
            continue
        size += length + 1
        if length > 63 or size > 254 or at + length >= len(packet):
            raise Unreadable("not a domain name")
        parts.append(packet[at : at + length + 1])
        at += length + 1
    return b"".join(parts) + b"\0", end or at + 1


def name_text(name: bytes) -> str:
    """An uncompressed name as text, in lower case, without its last dot."""
    labels: list[str] = []
    at = 0
    while length := name[at]:
        labels.append(wire.decode_label(name[at + 1 : at + 1 + length]))
        at += length + 1
    return ".".join(labels)


def rename_data(kind: int, data: bytes, rename: Callable[[str], str | None]) -> bytes:
    """A record's uncompressed data with other names in it; None leaves a name as it is. Raises ValueError."""
    before, names = _NAMES_IN_DATA.get(kind, (0, 0))
    if not names:
        return data
    found, at = data[:before], before
    for _ in range(names):
        name, at = read_name(data, at)
        new = rename(name_text(name))
        found += name if new is None else wire.encode_name(new)
    return found + data[at:]


def _expand(packet: bytes, at: int, kind: int, size: int) -> bytes:
    """The data of a record with the names in it uncompressed."""
    end = at + size
    before, names = _NAMES_IN_DATA.get(kind, (size, 0))
    data = packet[at : at + before]
    at += before
    for _ in range(names):
        name, at = read_name(packet, at)
        data += name
    if at > end:
        raise Unreadable("a name is longer than its record")
    return data + packet[at:end]
