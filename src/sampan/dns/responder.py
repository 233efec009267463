"""From a packet to its answer.

The table `_hot` holds, for the bytes of a query after its id, the bytes of the answer after its id: the common case is
one look-up and one concatenation, and needs to understand nothing. What is not there is parsed, sent through the chain
of plugins of its zone, encoded, and kept if it depends on nothing but the cluster. Every change of the cluster empties
the table, so that no answer outlives what it was made from.
"""

import logging
import time
from collections.abc import Mapping
from typing import Literal

from sampan.dns import turning, wire
from sampan.dns.answering import Later
from sampan.dns.metrics import DROPPED, TYPES, Label, Metrics
from sampan.dns.plugins.base import Address, Dropped, Next, NoAnswer, Outcome, Request
from sampan.dns.timing import Batches
from sampan.dns.turning import Answers
from sampan.dns.wire import Malformed, NotAnswerable, Reply

log = logging.getLogger(__name__)

HOT_SIZE = 16384

Protocol = Literal["udp", "tcp"]


class _Hot:
    """The answers to one query, sent in turn; how often that was, and how much of it is counted."""

    __slots__ = ("answers", "counted", "hits", "label")

    def __init__(self, answers: Answers, label: Label) -> None:
        self.answers = answers
        self.hits = self.counted = 0
        self.label = label


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
        self._hot: dict[bytes, _Hot] = {}
        self._batches = Batches()
        self._aside, self._aside_seconds = 0, 0.0

    def forget(self) -> None:
        """Something has changed: let go of all answers."""
        self.settle()
        self._hot.clear()

    def settle(self) -> None:
        """Bring the metrics up to date with what was answered from the table."""
        answered: dict[str, int] = {}
        for hot in self._hot.values():
            if hot.hits > hot.counted:
                times = hot.hits - hot.counted
                self._metrics.count(hot.label, times)
                hot.counted = hot.hits
                answered[hot.label.zone] = answered.get(hot.label.zone, 0) + times
        self._batches.settle(answered, self._metrics.seconds, self._server)

    def observe(self, seconds: float, times: int) -> None:
        """So many packets were handled at once in so much time. What was not in the table has been measured already."""
        times -= self._aside
        if times > 0:
            self._batches.add(max(0.0, seconds - self._aside_seconds), times)
        self._aside, self._aside_seconds = 0, 0.0

    def answer_udp(self, packet: bytes, client: Address) -> bytes | Later | None:
        """The whole answer, or what will give it, or None for what must not be answered."""
        hot = self._hot.get(packet[2:])
        if hot is None:
            return self._answer(packet, client, "udp")
        turn = hot.hits
        hot.hits = turn + 1
        answers = hot.answers
        return packet[:2] + answers[turn % len(answers)]

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
        zone, site = self._site(request.query.name)
        try:
            reply = await self._reply(site, request)
        except Dropped:
            return b""
        except NoAnswer:
            reply = Reply(wire.SERVFAIL, authoritative=False)
        except Exception:
            log.exception("answering %s %s", request.query.name, request.query.type)
            self._metrics.panics.add()
            reply = Reply(wire.SERVFAIL, authoritative=False)
        answer = packet[:2] + self._send(packet, request, reply, zone, begun)
        self._metrics.seconds.observe(time.perf_counter() - begun, self._server, zone, "")
        return answer

    def _site(self, name: str) -> tuple[str, Next | None]:
        """The zone with the longest name that this one lies in, and its chain."""
        while True:
            if (site := self._sites.get(name)) is not None:
                return f"{name}.", site
            if not name:
                return DROPPED, None
            name = name.partition(".")[2]

    async def _reply(self, site: Next | None, request: Request) -> Reply:
        if site is None or request.query.type in (wire.AXFR, wire.IXFR):
            return Reply(wire.REFUSED, authoritative=False)
        return await site(request)

    def _send(self, packet: bytes, request: Request, reply: Reply, zone: str, begun: float) -> bytes:
        """Encode, count, and keep the answer or tell those who wanted to know."""
        query = request.query
        limit = query.udp_size if request.protocol == "udp" else wire.MAX_SIZE
        if request.turning:
            reply = turning.turned(reply, request.identity % turning.turns(reply))
        keep = request.lasting and request.protocol == "udp" and not request.watchers and not request.guarded
        ready = keep and request.turning
        answers = turning.ready(query, reply, limit) if ready else (wire.build(query, reply, limit),)
        answer = answers[0]
        label = self._label(request, reply, zone, len(answer) + 2)
        self._metrics.count(label)
        if keep:
            self._keep(packet, answers, label)
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

    def _keep(self, packet: bytes, answers: Answers, label: Label) -> None:
        """Keep the answers ready for all who will ask the same."""
        if len(self._hot) >= HOT_SIZE:
            self.forget()
        hot = self._hot[packet[2:]] = _Hot(answers, label)
        hot.hits = hot.counted = 1
