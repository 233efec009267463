"""From a packet to its answer, with two tables of answers that are ready.

`_packets` holds answers by the whole query after its id: the common case is one look-up and one concatenation. `_kept`
holds them by name, type and flags, whatever the spelling, EDNS size, options and id of the query: a packet that is not
in the first table is taken apart without decoding its name, and the answer is put together from a kept one. What is in
neither is parsed, sent through the chain of plugins of its zone, encoded, and kept if it depends on nothing but the
cluster. A change of a Service drops the answers that were made from it; any other change drops all. Both tables are
bounded, so that no client can take the memory or the processor of the server by asking in many ways.
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

MAX_KEPT = 16384
MAX_KEPT_BYTES = 16 << 20
MAX_PACKETS = 8192

Protocol = Literal["udp", "tcp"]
QuestionKey = tuple[bytes, bytes, int, bool, int]


class _Kept:
    """The answers to one question; how often they were sent, and how much of that is counted in the metrics."""

    __slots__ = ("answers", "counted", "hits", "key", "label", "max_edns_size", "packets", "service")

    def __init__(self, key: QuestionKey, answers: Answers, label: Label, request: Request) -> None:
        self.key = key
        self.answers = answers
        self.label = label
        self.service = request.service
        self.max_edns_size = request.max_edns_size
        self.hits = self.counted = 0
        self.packets: set[bytes] = set()
        """Keys of `_packets` whose answers are these."""


class _Packet:
    """One query after its id, ready to be answered."""

    __slots__ = ("encode", "kept")

    def __init__(self, kept: _Kept, encode: Encode) -> None:
        self.kept = kept
        self.encode = encode


class Responder:
    """Answers the packets of one listener. `sites` has the chain of plugins for each zone served."""

    def __init__(
        self, sites: Mapping[str, Next], metrics: Metrics, server: str = "dns://:53", address: Address = ("0.0.0.0", 53)
    ) -> None:
        self._sites = sites
        self._metrics = metrics
        self._server = server
        self._address = address
        self._family = 2 if ":" in address[0] else 1
        self._packets: dict[bytes, _Packet] = {}
        self._kept: dict[QuestionKey, _Kept] = {}
        self._kept_bytes = 0
        self._by_service: dict[Key | None, dict[QuestionKey, _Kept]] = {}
        self._batches = Batches()
        self._answered: dict[str, int] = {}
        self._aside, self._aside_seconds = 0, 0.0

    def forget(self, service: Key | None = None) -> None:
        """Drop the answers made from a Service, and those that may depend on anything; without a Service, all."""
        if service is None:
            self.settle()
            self._packets.clear()
            self._kept.clear()
            self._by_service.clear()
            self._kept_bytes = 0
            return
        for concerned in (service, None):
            for kept in self._by_service.pop(concerned, {}).values():
                self._drop(kept)

    def settle(self) -> None:
        """Bring the metrics up to date with what was answered from the tables."""
        for kept in self._kept.values():
            self._count_hits(kept)
        answered, self._answered = self._answered, {}
        self._batches.settle(answered, self._metrics.seconds, self._server)

    def _count_hits(self, kept: _Kept) -> None:
        times = kept.hits - kept.counted
        if times:
            self._metrics.count(kept.label, times)
            kept.counted = kept.hits
            zone = kept.label.zone
            self._answered[zone] = self._answered.get(zone, 0) + times

    def observe(self, seconds: float, times: int) -> None:
        """So many packets were handled at once in so much time. What was not in the table has been measured already."""
        times -= self._aside
        if times > 0:
            self._batches.add(max(0.0, seconds - self._aside_seconds), times)
        self._aside, self._aside_seconds = 0, 0.0

    def answer_udp(self, packet: bytes, client: Address) -> bytes | Later | None:
        """The whole answer, or what will give it, or None for what must not be answered."""
        found = self._packets.get(packet[2:])
        if found is None:
            return self._answer_kept(packet) or self._answer(packet, client, "udp")
        kept = found.kept
        turn = kept.hits
        kept.hits = turn + 1
        return packet[:2] + found.encode(turn)

    def _answer_kept(self, packet: bytes) -> bytes | None:
        """The answer to a query whose packet is new but whose question is not."""
        asked = wire.plain_question(packet)
        kept = self._kept.get(asked.key) if asked is not None else None
        if asked is None or kept is None:
            return None
        turn = kept.hits
        kept.hits = turn + 1
        if asked.edns_size > kept.max_edns_size:
            asked = asked._replace(edns_size=kept.max_edns_size)
        encode = kept.answers.encoder(asked.question, asked.udp_size, asked.opt)
        if asked.is_bare:
            self._keep_packet(packet, kept, encode)
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
                self._aside += 1
                self._aside_seconds += time.perf_counter() - begun

    async def _respond(self, packet: bytes, request: Request, begun: float) -> bytes:
        zone, site = site_of(self._sites, request.query.name)
        asked = request.query
        failure = Reply(wire.SERVFAIL, authoritative=False)
        try:
            answer = packet[:2] + self._send(packet, request, await self._reply(site, request), zone, begun)
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

    async def _reply(self, site: Next | None, request: Request) -> Reply:
        if site is None or request.query.type in (wire.AXFR, wire.IXFR):
            return Reply(wire.REFUSED, authoritative=False)
        return await site(request)

    def _send(self, packet: bytes, request: Request, reply: Reply, zone: str, begun: float) -> bytes:
        """Encode, count, and keep the answer or tell those who wanted to know."""
        query = request.query
        limit = query.udp_size if request.protocol == "udp" else wire.MAX_SIZE
        if request.rotating:
            reply = rotation.rotate(reply, request.identity % rotation.rotations(reply))
        answer = wire.build(query, reply, limit)
        label = self._label(request, reply, zone, len(answer) + 2)
        self._metrics.count(label)
        if self._can_be_kept(request, reply):
            self._keep(packet, request, reply, label)
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

    def _can_be_kept(self, request: Request, reply: Reply) -> bool:
        return (
            request.lasting
            and request.protocol == "udp"
            and not (request.watchers or request.guarded or reply.options)
            and reply.rcode <= 0xF
        )

    def _keep(self, packet: bytes, request: Request, reply: Reply, label: Label) -> None:
        """Keep the answers ready for all who will ask the same; the oldest go where there is no room."""
        asked = wire.plain_question(packet)
        if asked is None:
            return
        answers = rotation.prepare(request.query, reply, rotating=request.rotating)
        kept = _Kept(asked.key, answers, label, request)
        if (known := self._kept.get(asked.key)) is not None:
            self._evict(known)
        self._kept[asked.key] = kept
        self._by_service.setdefault(request.service, {})[asked.key] = kept
        self._kept_bytes += answers.size
        while len(self._kept) > 1 and (len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES):
            self._evict(next(iter(self._kept.values())))

    def _keep_packet(self, packet: bytes, kept: _Kept, encode: Encode) -> None:
        if len(self._packets) >= MAX_PACKETS:
            oldest = next(iter(self._packets))
            self._packets.pop(oldest).kept.packets.discard(oldest)
        self._packets[packet[2:]] = _Packet(kept, encode)
        kept.packets.add(packet[2:])

    def _evict(self, kept: _Kept) -> None:
        concerned = self._by_service[kept.service]
        del concerned[kept.key]
        if not concerned:
            del self._by_service[kept.service]
        self._drop(kept)

    def _drop(self, kept: _Kept) -> None:
        self._count_hits(kept)
        del self._kept[kept.key]
        self._kept_bytes -= kept.answers.size
        for packet in kept.packets:
            self._packets.pop(packet, None)


def site_of(sites: Mapping[str, Next], name: str) -> tuple[str, Next | None]:
    """The zone with the longest name that a name lies in, as metrics show it, and its chain of plugins."""
    while True:
        if (site := sites.get(name)) is not None:
            return f"{name}.", site
        if not name:
            return DROPPED, None
        name = name.partition(".")[2]
