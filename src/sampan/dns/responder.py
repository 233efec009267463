"""The DNS responder turns a query packet into an answer, with two caches of encoded answers.

`_packets` caches by the whole query after its id: the common case is one look-up and one concatenation. `_entries`
caches by name, type and flags, whatever the spelling, EDNS size, options and id of the query: a packet that misses the
first cache is split without decoding its name, and its answer is assembled from an entry. A query that misses both is
parsed, passed through the plugin chain of its zone, encoded, and cached if the answer depends only on the cluster's
objects. A change of a Service drops the answers made from it; any other change drops all. Both caches are bounded, so
that no client can exhaust memory or CPU by asking in many ways.
"""

import logging
import time
from collections.abc import Mapping
from typing import Literal

from sampan.dns import rotation, wire
from sampan.dns.answering import Later
from sampan.dns.cluster import Key
from sampan.dns.metrics import DROPPED, TYPES, Label, Metrics
from sampan.dns.plugins.base import Address, Dropped, Next, NoAnswer, Outcome, Request
from sampan.dns.rotation import Answers, Encode
from sampan.dns.timing import Batches
from sampan.dns.wire import Malformed, NotAnswerable, Reply

log = logging.getLogger(__name__)

MAX_ENTRIES = 16384
MAX_ENTRY_BYTES = 16 << 20
MAX_PACKETS = 8192

Protocol = Literal["udp", "tcp"]
QuestionKey = tuple[bytes, bytes, int, bool, int]


class _CacheEntry:
    """The answers to one question: how often they were sent, and how many of these are counted in the metrics."""

    __slots__ = ("answers", "counted", "hits", "key", "label", "max_edns_size", "packets", "service")

    def __init__(self, key: QuestionKey, answers: Answers, label: Label, request: Request) -> None:
        self.key = key
        self.answers = answers
        self.label = label
        self.service = request.service
        self.max_edns_size = request.max_edns_size
        self.hits = self.counted = 0
        self.packets: set[bytes] = set()
        """Keys of `_packets` that use this entry."""


class _CachedPacket:
    """One query after its id, ready to be answered."""

    __slots__ = ("encode", "entry")

    def __init__(self, entry: _CacheEntry, encode: Encode) -> None:
        self.entry = entry
        self.encode = encode


class Responder:
    """Answers the packets of one listener. `chains` has the chain of plugins for each zone served."""

    def __init__(
        self,
        chains: Mapping[str, Next],
        metrics: Metrics,
        server: str = "dns://:53",
        address: Address = ("0.0.0.0", 53),
    ) -> None:
        self._chains = chains
        self._metrics = metrics
        self._server = server
        self._address = address
        self._family = 2 if ":" in address[0] else 1
        self._packets: dict[bytes, _CachedPacket] = {}
        self._entries: dict[QuestionKey, _CacheEntry] = {}
        self._entry_bytes = 0
        self._by_service: dict[Key | None, dict[QuestionKey, _CacheEntry]] = {}
        self._batches = Batches()
        self._answered: dict[str, int] = {}
        self._uncached, self._uncached_seconds = 0, 0.0

    def forget(self, service: Key | None = None) -> None:
        """Drop the answers made from a Service, and those that may depend on anything; without a Service, all."""
        if service is None:
            self.settle()
            self._packets.clear()
            self._entries.clear()
            self._by_service.clear()
            self._entry_bytes = 0
            return
        for affected in (service, None):
            for entry in self._by_service.pop(affected, {}).values():
                self._drop(entry)

    def settle(self) -> None:
        """Bring the metrics up to date with what was answered from the tables."""
        for entry in self._entries.values():
            self._count_hits(entry)
        answered, self._answered = self._answered, {}
        self._batches.settle(answered, self._metrics.seconds, self._server)

    def _count_hits(self, entry: _CacheEntry) -> None:
        times = entry.hits - entry.counted
        if times:
            self._metrics.count(entry.label, times)
            entry.counted = entry.hits
            zone = entry.label.zone
            self._answered[zone] = self._answered.get(zone, 0) + times

    def observe(self, seconds: float, times: int) -> None:
        """Record that a batch of `times` packets took `seconds`. Cache misses were measured one by one already."""
        times -= self._uncached
        if times > 0:
            self._batches.add(max(0.0, seconds - self._uncached_seconds), times)
        self._uncached, self._uncached_seconds = 0, 0.0

    def answer_udp(self, packet: bytes, client: Address) -> bytes | Later | None:
        """The whole answer, a coroutine that returns it, or None if the packet must not be answered."""
        found = self._packets.get(packet[2:])
        if found is None:
            return self._answer_cached(packet) or self._answer(packet, client, "udp")
        entry = found.entry
        turn = entry.hits
        entry.hits = turn + 1
        return packet[:2] + found.encode(turn)

    def _answer_cached(self, packet: bytes) -> bytes | None:
        """The answer to a query whose packet is not cached but whose question is."""
        asked = wire.plain_question(packet)
        entry = self._entries.get(asked.key) if asked is not None else None
        if asked is None or entry is None:
            return None
        turn = entry.hits
        entry.hits = turn + 1
        if asked.edns_size > entry.max_edns_size:
            asked = asked._replace(edns_size=entry.max_edns_size)
        encode = entry.answers.encoder(asked.question, asked.udp_size, asked.opt)
        if asked.is_bare:
            self._store_packet(packet, entry, encode)
        return packet[:2] + encode(turn)

    def answer_tcp(self, packet: bytes, client: Address) -> bytes | Later | None:
        """As `answer_udp`, without its limit on size."""
        return self._answer(packet, client, "tcp")

    def _answer(self, packet: bytes, client: Address, protocol: Protocol) -> bytes | Later | None:
        begun = time.perf_counter()
        try:
            query = wire.parse_query(packet)
        except NotAnswerable:
            self._metrics.no_queries.add()
            return None
        except Malformed as wrong:
            answer = wire.error(packet, wrong.rcode)
            sizes = (len(packet), len(answer))
            label = Label(self._server, protocol, self._family, "other", DROPPED, wrong.rcode, "", False, *sizes)
            self._metrics.count(label)
            return answer
        identity = int.from_bytes(packet[:2], "big")
        request = Request(query, client, protocol, identity, len(packet), local=self._address)
        later = self._respond(packet, request, begun)
        try:
            later.send(None)
        except StopIteration as done:
            at_once: bytes = done.value
            return at_once or None
        else:
            return later
        finally:
            if protocol == "udp":
                self._uncached += 1
                self._uncached_seconds += time.perf_counter() - begun

    async def _respond(self, packet: bytes, request: Request, begun: float) -> bytes:
        zone, chain = find_chain(self._chains, request.query.name)
        asked = request.query
        failure = Reply(wire.SERVFAIL, authoritative=False)
        try:
            answer = packet[:2] + self._send(packet, request, await self._reply(chain, request), zone, begun)
        except Dropped:
            return b""
        except NoAnswer:
            answer = packet[:2] + self._send(packet, request, failure, zone, begun)
        except Exception:
            log.exception("answering %s %s", wire.presentation(asked.name), asked.type)
            self._metrics.panics.add()
            request.query, request.lasting = asked, False
            answer = packet[:2] + self._send(packet, request, failure, zone, begun)
        self._metrics.seconds.observe(time.perf_counter() - begun, self._server, zone, "")
        return answer

    async def _reply(self, chain: Next | None, request: Request) -> Reply:
        if chain is None or request.query.type in (wire.AXFR, wire.IXFR):
            return Reply(wire.REFUSED, authoritative=False)
        return await chain(request)

    def _send(self, packet: bytes, request: Request, reply: Reply, zone: str, begun: float) -> bytes:
        """Encode and count the answer, cache it if possible, and notify watchers."""
        query = request.query
        limit = query.udp_size if request.protocol == "udp" else wire.MAX_SIZE
        if request.rotating:
            reply = rotation.rotate(reply, request.identity % rotation.rotations(reply))
        answer = wire.build(query, reply, limit)
        label = self._label(request, reply, zone, len(answer) + 2)
        self._metrics.count(label)
        if self._is_cacheable(request, reply):
            self._store(packet, request, reply, label)
        seconds = time.perf_counter() - begun
        flags = int.from_bytes(answer[:2], "big")
        for watcher in request.watchers:
            watcher(request, Outcome(reply.rcode, flags, len(answer) + 2, seconds, not reply.answers))
        return answer

    def _label(self, request: Request, reply: Reply, zone: str, sent: int) -> Label:
        query = request.query
        name = wire.TYPE_NAMES.get(query.type, "other")
        type_name = name if name in TYPES else "other"
        place = (self._server, request.protocol, self._family)
        return Label(*place, type_name, zone, reply.rcode, request.writer or "", query.dnssec, request.size, sent)

    def _is_cacheable(self, request: Request, reply: Reply) -> bool:
        return (
            request.lasting
            and request.protocol == "udp"
            and not (request.watchers or request.guarded or reply.options)
            and reply.rcode <= 0xF
        )

    def _store(self, packet: bytes, request: Request, reply: Reply, label: Label) -> None:
        """Cache the answers for later queries with the same question; the oldest entries are evicted."""
        asked = wire.plain_question(packet)
        if asked is None:
            return
        answers = rotation.prepare(request.query, reply, rotating=request.rotating)
        entry = _CacheEntry(asked.key, answers, label, request)
        if (known := self._entries.get(asked.key)) is not None:
            self._evict(known)
        self._entries[asked.key] = entry
        self._by_service.setdefault(request.service, {})[asked.key] = entry
        self._entry_bytes += answers.size
        while len(self._entries) > 1 and (len(self._entries) > MAX_ENTRIES or self._entry_bytes > MAX_ENTRY_BYTES):
            self._evict(next(iter(self._entries.values())))

    def _store_packet(self, packet: bytes, entry: _CacheEntry, encode: Encode) -> None:
        if len(self._packets) >= MAX_PACKETS:
            oldest = next(iter(self._packets))
            self._packets.pop(oldest).entry.packets.discard(oldest)
        self._packets[packet[2:]] = _CachedPacket(entry, encode)
        entry.packets.add(packet[2:])

    def _evict(self, entry: _CacheEntry) -> None:
        affected = self._by_service[entry.service]
        del affected[entry.key]
        if not affected:
            del self._by_service[entry.service]
        self._drop(entry)

    def _drop(self, entry: _CacheEntry) -> None:
        self._count_hits(entry)
        del self._entries[entry.key]
        self._entry_bytes -= entry.answers.size
        for packet in entry.packets:
            self._packets.pop(packet, None)


def find_chain(chains: Mapping[str, Next], name: str) -> tuple[str, Next | None]:
    """The zone with the longest suffix of a name, as metrics show it, and its plugin chain."""
    while True:
        if (chain := chains.get(name)) is not None:
            return f"{name}.", chain
        if not name:
            return DROPPED, None
        name = name.partition(".")[2]
