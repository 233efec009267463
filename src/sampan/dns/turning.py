"""Several addresses of one name take turns to be first, as with CoreDNS's loadbalance plugin; all of them do.

Most clients take the first address, and an answer that is cut off has only some: so every one must come round. Where
records differ in nothing but the address, no answer is encoded anew for that: the records stand in a ring of bytes, of
which each answer is a piece. `responder` keeps what `ready` gives.
"""

from collections.abc import Sequence
from dataclasses import replace
from struct import pack
from typing import Protocol

from sampan.dns import wire
from sampan.dns.wire import Query, Record, Reply

_MAX_ENCODED = 8
_TO_QUESTION = b"\xc0\x0c"
_COUNTS = 6
"""Where the number of answers ends in a header without its id."""


class Answers(Protocol):
    """Encoded answers without their id, by turn."""

    def __len__(self) -> int: ...

    def __getitem__(self, turn: int, /) -> bytes: ...


def turns(reply: Reply) -> int:
    """How many answers there are that differ in which address is first."""
    return max(1, sum(map(_is_address, reply.answers)))


def turned(reply: Reply, by: int) -> Reply:
    """The reply with its addresses turned; aliases stay in front."""
    if not by:
        return reply
    addresses = tuple(record for record in reply.answers if _is_address(record))
    others = tuple(record for record in reply.answers if not _is_address(record))
    return replace(reply, answers=(*others, *addresses[by:], *addresses[:by]))


def ready(query: Query, reply: Reply, limit: int) -> Answers:
    """All turns of a reply that begins with any; behind an alias only some of them, evenly spread."""
    first = wire.build(query, reply, limit)
    count = turns(reply)
    if count == 1:
        return (first,)
    owners = {record.name for record in reply.answers}
    if owners == {query.name} and len(reply.answers) == count and not (reply.authority or reply.additional):
        return _Ring(first, query, reply.answers)
    others = range(0, count, -(-count // _MAX_ENCODED))[1:]
    return (first, *(wire.build(query, turned(reply, turn), limit) for turn in others))


class _Ring:
    """Answers made of a head, a piece of the ring of all records, and a tail, from the encoded first."""

    def __init__(self, first: bytes, query: Query, records: Sequence[Record]) -> None:
        encoded = [
            _TO_QUESTION + pack("!HHIH", record.type, wire.IN, record.ttl, len(record.data)) + record.data
            for record in records
        ]
        begin = wire.HEADER_SIZE - 2 + len(query.question)
        fitting = int.from_bytes(first[_COUNTS - 2 : _COUNTS], "big")
        self._count, self._width = len(encoded), len(encoded[0])
        self._span = fitting * self._width
        self._head, self._tail = first[:begin], first[begin + self._span :]
        self._ring = b"".join((*encoded, *encoded[: max(0, fitting - 1)]))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, turn: int) -> bytes:
        at = turn * self._width
        return self._head + self._ring[at : at + self._span] + self._tail


def _is_address(record: Record) -> bool:
    return record.type in (wire.A, wire.AAAA)
