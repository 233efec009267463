"""DNS wire format (RFC 1035, EDNS: RFC 6891): parses queries and builds answers.

dnspython could do this, but takes 100 ms to import and 100 µs for each message. `decode` reads the answers of other
servers. A name is text in lower case without its last dot, each byte one character; a dot inside a label is
`INNER_DOT`, so that it cannot be taken for a separator.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33
NAPTR, DNAME, OPT, IXFR, AXFR, ANY = 35, 39, 41, 251, 252, 255
IN, CHAOS, HESIOD, ANY_CLASS = 1, 3, 4, 255
CLASS_NAMES = {IN: "IN", CHAOS: "CH", HESIOD: "HS", ANY_CLASS: "ANY"}
INNER_DOT = "\u0100"
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
BADVERS = 16
QR, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
AUTHENTIC_DATA, CHECKING_DISABLED, DNSSEC_OK = 0x0020, 0x0010, 0x8000
OPCODE_MASK = 0x7800
HEADER_SIZE = 12
MIN_UDP_SIZE = 512
MAX_UDP_SIZE = 4096
MAX_SIZE = 65535
TYPE_NAMES = {
    A: "A", NS: "NS", CNAME: "CNAME", SOA: "SOA", PTR: "PTR", TXT: "TXT", AAAA: "AAAA", SRV: "SRV", ANY: "ANY",
    HINFO: "HINFO", MX: "MX", NAPTR: "NAPTR", DNAME: "DNAME",
    43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA",
    64: "SVCB", 65: "HTTPS", IXFR: "IXFR", AXFR: "AXFR", 256: "URI", 257: "CAA",
}  # fmt: skip
RCODE_NAMES = {
    NOERROR: "NOERROR", FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NXDOMAIN: "NXDOMAIN", NOTIMP: "NOTIMP",
    REFUSED: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", BADVERS: "BADVERS",
    23: "BADCOOKIE",
}  # fmt: skip

_header = struct.Struct("!6H")
_type_class = struct.Struct("!2H")
_record = struct.Struct("!HHIH")
_opt = struct.Struct("!BHHIH")
_code_size = struct.Struct("!2H")
_ESCAPED = {code: f"\\{code:03}" for code in range(256) if not 0x20 <= code <= 0x7E}
_ESCAPED |= {ord(char): f"\\{char}" for char in " '@;()\"\\"}
_ESCAPED[ord(INNER_DOT)] = "\\."
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class NotAnswerable(Exception):
    """A packet that must not be answered at all: too short, or itself an answer."""


class Malformed(Exception):
    """A query that can be answered only with an error code."""

    def __init__(self, rcode: int) -> None:
        super().__init__(RCODE_NAMES.get(rcode, str(rcode)))
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `name` is lower case, without the last dot; `question` is the section as it was sent."""

    flags: int
    name: str
    type: int
    klass: int
    question: bytes
    edns_size: int = 0
    edns_flags: int = 0
    options: bytes = b""
    """The EDNS options that the client has sent, encoded."""

    @property
    def dnssec(self) -> bool:
        """Whether the client wants signatures (the DO bit)."""
        return bool(self.edns_flags & DNSSEC_OK)

    @property
    def udp_size(self) -> int:
        """How large an answer over UDP may be."""
        return max(MIN_UDP_SIZE, min(self.edns_size, MAX_UDP_SIZE))


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record whose data is already encoded."""

    name: str
    type: int
    data: bytes
    ttl: int = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `chase` is a name elsewhere whose records belong behind the last CNAME."""

    rcode: int = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    chase: str = ""
    authoritative: bool = True
    authentic: bool = False
    options: tuple[tuple[int, bytes], ...] = ()
    """EDNS options, code and data, for a client that knows EDNS."""
    klass: int = IN
    """The class of all its records."""
    raised: int = 0
    """Header flags that are always set."""
    lowered: int = 0
    """Header flags that are never set."""


def parse_query(packet: bytes) -> Query:
    """Read a query. Raises NotAnswerable, or Malformed with the code to answer."""
    if len(packet) < HEADER_SIZE:
        raise NotAnswerable
    _, flags, questions, answers, authorities, additionals = _header.unpack_from(packet)
    if flags & QR:
        raise NotAnswerable
    if flags & OPCODE_MASK:
        raise Malformed(NOTIMP)
    if questions != 1 or answers or authorities or additionals > 1:
        raise Malformed(FORMERR)
    name, end = _question_name(packet)
    if len(packet) < end + 4:
        raise Malformed(FORMERR)
    kind, klass = _type_class.unpack_from(packet, end)
    end += 4
    opt = _read_opt(packet, end) if additionals else ()
    return Query(flags, name, kind, klass, packet[HEADER_SIZE:end], *opt)


def question_of(packet: bytes) -> bytes:
    """The question section of a query that has one. Raises Malformed."""
    _, end = _question_name(packet)
    return packet[HEADER_SIZE : end + 4]


def error(packet: bytes, rcode: int) -> bytes:
    """An answer without any section, to a query that could not be read.

    BADVERS, for an EDNS version other than 0, needs an OPT record and repeats the question (RFC 6891, section 6.1.3).
    """
    identity, flags = struct.unpack_from("!2H", packet)
    flags = QR | flags & (OPCODE_MASK | RECURSION_DESIRED) | rcode & 0xF
    if rcode <= 0xF:
        return _header.pack(identity, flags, 0, 0, 0, 0)
    option = _opt.pack(0, OPT, MAX_UDP_SIZE, rcode >> 4 << 24, 0)
    return _header.pack(identity, flags, 1, 0, 0, 1) + question_of(packet) + option


def build(query: Query, reply: Reply, limit: int) -> bytes:
    """The answer without its id, so that it can be sent to everyone who asks the same.

    What does not fit into `limit` bytes is left out from the end. The TC bit says so, unless only additional records
    were left out (RFC 2181, section 9).
    """
    options = encode_options(reply.options) if query.edns_size else b""
    writer = _Writer(query, reply.klass, limit - HEADER_SIZE - (11 + len(options) if query.edns_size else 0))
    counts = [writer.add_all(section) for section in (reply.answers, reply.authority)]
    flags = response_flags(query, reply, truncated=writer.full)
    counts.append(writer.add_all(reply.additional))
    body = bytes(writer.body)
    if query.edns_size:
        body += encode_opt(query.edns_size, query.edns_flags, reply.rcode, len(options)) + options
        counts[2] += 1
    return _header.pack(0, flags, 1, *counts)[2:] + body


def response_flags(query: Query, reply: Reply, *, truncated: bool = False) -> int:
    """The second word of an answer's header."""
    flags = QR | query.flags & (RECURSION_DESIRED | CHECKING_DISABLED) | RECURSION_AVAILABLE | reply.rcode & 0xF
    flags |= (AUTHORITATIVE if reply.authoritative else 0) | (TRUNCATED if truncated else 0)
    flags |= AUTHENTIC_DATA if reply.authentic else 0
    return (flags | reply.raised) & ~reply.lowered


def encode_opt(size: int, flags: int, rcode: int = NOERROR, length: int = 0) -> bytes:
    """The OPT record of an answer; of the client's EDNS flags only DO is repeated. `length` bytes of options follow."""
    return _opt.pack(0, OPT, size, (rcode >> 4) << 24 | flags & DNSSEC_OK, length)


class PlainQuestion(NamedTuple):
    """A query of the common form, split without decoding its name; see `plain_question`.

    `key` is equal for queries whose answers differ only in spelling, id and size. `edns_size` is 0 without EDNS.
    """

    key: tuple[bytes, bytes, int, bool, int]
    question: bytes
    edns_size: int
    edns_flags: int
    is_bare: bool

    @property
    def udp_size(self) -> int:
        return max(MIN_UDP_SIZE, min(self.edns_size, MAX_UDP_SIZE))

    @property
    def opt(self) -> bytes:
        return encode_opt(self.edns_size, self.edns_flags) if self.edns_size else b""


def plain_question(packet: bytes) -> PlainQuestion | None:
    """A query with one question and at most an OPT record of version 0; None for everything else.

    The name ends at the first zero byte. A name with a zero byte inside a label is cut there, which gives a key that no
    query accepted by `parse_query` has. `is_bare`: the packet has no EDNS options and nothing after its records.
    """
    end = packet.find(0, HEADER_SIZE)
    if end < 0 or len(packet) < end + 5:
        return None
    _, flags, questions, answers, authorities, additionals = _header.unpack_from(packet)
    if flags & (QR | OPCODE_MASK) or (questions, answers, authorities) != (1, 0, 0) or additionals > 1:
        return None
    size = edns_flags = 0
    end_of_records = at = end + 5
    if additionals:
        if len(packet) < at + 11:
            return None
        root, kind, size, extra, length = _opt.unpack_from(packet, at)
        end_of_records = at + 11
        if root or kind != OPT or extra >> 16 & 0xFF or len(packet) < end_of_records + length:
            return None
        size, edns_flags = max(size, MIN_UDP_SIZE), extra & 0xFFFF
    asked = flags & (RECURSION_DESIRED | CHECKING_DISABLED)
    key = (packet[HEADER_SIZE:end].lower(), packet[end:at], asked, bool(additionals), edns_flags & DNSSEC_OK)
    return PlainQuestion(key, packet[HEADER_SIZE:at], size, edns_flags, len(packet) == end_of_records)


def encode_options(options: Sequence[tuple[int, bytes]]) -> bytes:
    """EDNS options as an OPT record carries them."""
    return b"".join(_code_size.pack(code, len(data)) + data for code, data in options)


def read_options(data: bytes) -> list[tuple[int, bytes]]:
    """EDNS options, code and data; what is cut off at the end is left out."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 4 <= len(data):
        code, size = _code_size.unpack_from(data, at)
        at += 4 + size
        if at <= len(data):
            found.append((code, data[at - size : at]))
    return found


def encode_name(name: str) -> bytes:
    """A name uncompressed. Raises ValueError for one that is too long or has an empty label."""
    encoded = bytearray()
    for label in name.split(".") if name else ():
        data = encode_label(label)
        if not 0 < len(data) < 64:
            raise ValueError(f"not a domain name: {name!r}")
        encoded.append(len(data))
        encoded += data
    if len(encoded) > 254:
        raise ValueError(f"not a domain name: {name!r}")
    encoded.append(0)
    return bytes(encoded)


def encode_label(label: str) -> bytes:
    """The bytes of a label. Raises ValueError for characters that stand for no byte."""
    return label.replace(INNER_DOT, ".").encode("latin-1")


def presentation(name: str) -> str:
    """A name as people read it, with its last dot and without anything that a log or terminal would take for its own.

    Bytes that are not printable ASCII are `\\DDD`, characters with a meaning in zone files have a backslash (RFC 1035
    section 5.1, RFC 4343 section 2.1).
    """
    return f"{name.translate(_ESCAPED)}."


def lower(name: str) -> str:
    """A name in lower case, as DNS means it: ASCII letters alone (RFC 4343). `str.lower` would change `INNER_DOT`."""
    return name.translate(_LOWER)


def decode_label(data: bytes) -> str:
    return data.lower().decode("latin-1").replace(".", INNER_DOT)


def encode_records(query: Query, reply: Reply, space: int) -> tuple[bytes, list[int]]:
    """The question and the records behind it, as many as fit into `space` bytes, and where each record ends.

    Names are compressed by pointers to what stands before them, so the bytes up to any record's end are valid as well.
    """
    writer = _Writer(query, reply.klass, space)
    for section in (reply.answers, reply.authority, reply.additional):
        writer.add_all(section)
    return bytes(writer.body), writer.ends


class _Writer:
    """Writes records behind a question, with names compressed, until the space is used up."""

    def __init__(self, query: Query, klass: int, space: int) -> None:
        self.body = bytearray(query.question)
        self.ends: list[int] = []
        self.full = False
        self._space = space
        self._class = klass
        self._offsets: dict[str, int] = {}
        self._remember(query.name, 0)

    def add_all(self, records: Sequence[Record]) -> int:
        """Write as many of the records as fit, and say how many those are."""
        for count, record in enumerate(records):
            if self.full or not self._add(record):
                self.full = True
                return count
        return len(records)

    def _add(self, record: Record) -> bool:
        start = len(self.body)
        self._add_name(record.name)
        self.body += _record.pack(record.type, self._class, record.ttl, len(record.data))
        self.body += record.data
        if len(self.body) > self._space:
            del self.body[start:]
            return False
        self.ends.append(len(self.body))
        return True

    def _add_name(self, name: str) -> None:
        start, rest = len(self.body), name
        while rest and rest not in self._offsets:
            label, _, rest = rest.partition(".")
            self.body.append(len(label))
            self.body += encode_label(label)
        self.body += struct.pack("!H", 0xC000 | self._offsets[rest]) if rest else b"\0"
        self._remember(name, start)

    def _remember(self, name: str, at: int) -> None:
        """Note where a name and each of its endings stand, if a pointer can reach that far."""
        position = HEADER_SIZE + at
        while name and position < 0x4000:
            if name in self._offsets:
                return
            self._offsets[name] = position
            label, _, name = name.partition(".")
            position += len(label) + 1


def _question_name(packet: bytes) -> tuple[str, int]:
    """The name and where it ends."""
    labels: list[str] = []
    at, size = HEADER_SIZE, 0
    while True:
        if at >= len(packet):
            raise Malformed(FORMERR)
        length = packet[at]
        if not length:
            return ".".join(labels), at + 1
        size += length + 1
        if length > 63 or size > 254:
            raise Malformed(FORMERR)
        labels.append(decode_label(packet[at + 1 : at + 1 + length]))
        at += length + 1


def _read_opt(packet: bytes, at: int) -> tuple[int, int, bytes]:
    """The size, flags and options of an OPT record. Other additional records are malformed queries to us."""
    if len(packet) < at + 11:
        raise Malformed(FORMERR)
    root, kind, size, extra, length = _opt.unpack_from(packet, at)
    if root or kind != OPT or len(packet) < at + 11 + length:
        raise Malformed(FORMERR)
    if extra >> 16 & 0xFF:
        raise Malformed(BADVERS)
    return max(size, MIN_UDP_SIZE), extra & 0xFFFF, packet[at + 11 : at + 11 + length]
