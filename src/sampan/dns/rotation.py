"""Round-robin rotation: encoded answers that serve every query for one name and type, with rotated addresses.

Each address of a name is first in turn, as with CoreDNS's loadbalance plugin. Most clients use the first address, and a
truncated answer has only some of them, so every address must become the first one.

An answer is cached without what differs from query to query: the id, the question in the client's spelling (RFC 4343),
the OPT record and the size limit. If all records are addresses of the queried name, they are stored as a ring of bytes
of which each answer is a slice; other answers are cut behind the last record that fits. `responder` caches what
`prepare` returns.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from struct import Struct
from typing import Protocol

from sampan.dns import wire
from sampan.dns.wire import Query, Record, Reply

MAX_ENCODED = 8
"""How many rotations are encoded if a ring cannot be used."""
MAX_RECORDS = wire.MAX_UDP_SIZE // 12 + 1
"""One more record of the smallest size than any answer has room for."""

_TO_QUESTION = b"\xc0\x0c"
_HEADER = Struct("!5H")
_RECORD = Struct("!HHIH")


Encode = Callable[[int], bytes]
"""Returns the answer for a turn (a running number), without its id."""


class Answers(Protocol):
    """All rotations of one answer. `size` is its approximate memory in bytes."""

    size: int

    def encoder(self, question: bytes, limit: int, opt: bytes) -> Encode:
        """The encoder for a question as spelt: answers of at most `limit` bytes; `opt` is an OPT record or b""."""
        ...


def rotations(reply: Reply) -> int:
    """The number of different rotations: how many addresses can be first."""
    return max(1, sum(map(_is_address, reply.answers)))


def rotate(reply: Reply, by: int) -> Reply:
    """The reply with its addresses rotated; aliases stay in front."""
    if not by:
        return reply
    addresses = tuple(record for record in reply.answers if _is_address(record))
    others = tuple(record for record in reply.answers if not _is_address(record))
    return replace(reply, answers=(*others, *addresses[by:], *addresses[:by]))


def prepare(query: Query, reply: Reply, *, rotating: bool) -> Answers:
    """The answers for all queries like this one: the same name, type, class and flags."""
    count = rotations(reply) if rotating else 1
    if count == 1:
        return _Encoded(query, [reply])
    owners = {record.name for record in reply.answers}
    if owners == {query.name} and len(reply.answers) == count and not (reply.authority or reply.additional):
        return _Ring(query, reply)
    return _Encoded(query, [rotate(reply, turn) for turn in range(0, count, -(-count // MAX_ENCODED))])


class _Ring:
    """Answers made of a header and a slice of the ring of all records."""

    def __init__(self, query: Query, reply: Reply) -> None:
        encoded = [
            _TO_QUESTION + _RECORD.pack(record.type, reply.klass, record.ttl, len(record.data)) + record.data
            for record in reply.answers
        ]
        self._count, self._width = len(encoded), len(encoded[0])
        self._flags = wire.response_flags(query, reply)
        self._ring = b"".join((*encoded, *encoded))
        self.size = len(self._ring)

    def encoder(self, question: bytes, limit: int, opt: bytes) -> Encode:
        ring, count, width = self._ring, self._count, self._width
        fitting = min(count, (limit - wire.HEADER_SIZE - len(question) - len(opt)) // width)
        flags = self._flags if fitting == count else self._flags | wire.TRUNCATED
        head = _HEADER.pack(flags, 1, fitting, 0, 1 if opt else 0) + question
        span = fitting * width

        def encode(turn: int) -> bytes:
            at = turn % count * width
            return head + ring[at : at + span] + opt

        return encode


class _Encoded:
    """Answers encoded in full, and cut behind the last record that fits."""

    def __init__(self, query: Query, turns: Sequence[Reply]) -> None:
        bare = replace(query, edns_size=0, options=b"")
        self._bodies = [wire.encode_records(bare, _cut(reply), wire.MAX_UDP_SIZE) for reply in turns]
        self._sections = [len(section) for section in (turns[0].answers, turns[0].authority, turns[0].additional)]
        self._flags = wire.response_flags(query, turns[0])
        self.size = sum(len(body) + 8 * len(ends) for body, ends in self._bodies)

    def encoder(self, question: bytes, limit: int, opt: bytes) -> Encode:
        if len(self._bodies) == 1:
            only = self._encode(0, question, limit, opt)
            return lambda turn: only
        return lambda turn: self._encode(turn % len(self._bodies), question, limit, opt)

    def _encode(self, turn: int, question: bytes, limit: int, opt: bytes) -> bytes:
        body, ends = self._bodies[turn]
        fitting = left = bisect_right(ends, limit - wire.HEADER_SIZE - len(opt))
        counts = []
        for section in self._sections:
            counts.append(min(section, left))
            left -= counts[-1]
        is_cut = fitting < self._sections[0] + self._sections[1]
        flags = self._flags | wire.TRUNCATED if is_cut else self._flags
        header = _HEADER.pack(flags, 1, counts[0], counts[1], counts[2] + (1 if opt else 0))
        return header + question + body[len(question) : ends[fitting - 1] if fitting else len(question)] + opt


def _cut(reply: Reply) -> Reply:
    """The reply without the records that never fit into an answer over UDP."""
    return replace(
        reply,
        answers=reply.answers[:MAX_RECORDS],
        authority=reply.authority[:MAX_RECORDS],
        additional=reply.additional[:MAX_RECORDS],
    )


def _is_address(record: Record) -> bool:
    return record.type in (wire.A, wire.AAAA)
