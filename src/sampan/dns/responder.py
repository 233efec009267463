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
from sampan.dns.metrics import DURATION, Label, Metrics
from sampan.dns.plugins.base import Address, Next, NoAnswer, Outcome, Request
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

    def __init__(self, sites: Mapping[str, Next], metrics: Metrics, server: str = "dns://:53", family: int = 1) -> None:
        self._sites = sites
        self._metrics = metrics
        self._server = server
        self._family = family
        self._hot: dict[bytes, _Hot] = {}

    def forget(self) -> None:
        """Something has changed: let go of all answers."""
        self.settle()
        self._hot.clear()

    def settle(self) -> None:
        """Bring the metrics up to date with what was answered from the table."""
        for hot in self._hot.values():
            if hot.hits > hot.counted:
                self._metrics.count(hot.label, hot.hits - hot.counted)
                hot.counted = hot.hits

    def observe(self, seconds: float, times: int) -> None:
        """So many packets were answered at once in so much time."""
        self._metrics.observe(DURATION, seconds, times, server=self._server, view="", zone=".")

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
        try:
            query = wire.parse_query(packet)
        except NotAnswerable:
            self._metrics.add("sampan_dns_dropped_total")
            return None
        except Malformed as wrong:
            self._metrics.count(Label(self._server, protocol, self._family, "other", "", wrong.rcode), 1)
            return wire.error(packet, wrong.rcode)
        identity = int.from_bytes(packet[:2], "big")
        request = Request(query, client, protocol, identity, len(packet))
        answer = self._respond(packet, request)
        try:
            answer.send(None)
        except StopIteration as done:
            at_once: bytes = done.value
            return at_once
        return answer

    async def _respond(self, packet: bytes, request: Request) -> bytes:
        begun = time.perf_counter()
        zone, site = self._site(request.query.name)
        try:
            reply = await self._reply(site, request)
        except NoAnswer:
            reply = Reply(wire.SERVFAIL, authoritative=False)
        except Exception:
            log.exception("answering %s %s", request.query.name, request.query.type)
            self._metrics.add("coredns_panics_total")
            reply = Reply(wire.SERVFAIL, authoritative=False)
        return packet[:2] + self._send(packet, request, reply, zone, begun)

    def _site(self, name: str) -> tuple[str, Next | None]:
        """The zone with the longest name that this one lies in, and its chain."""
        while True:
            if (site := self._sites.get(name)) is not None:
                return f"{name}.", site
            if not name:
                return "", None
            name = name.partition(".")[2]

    async def _reply(self, site: Next | None, request: Request) -> Reply:
        query = request.query
        if site is None or query.klass != wire.IN or query.type in (wire.AXFR, wire.IXFR):
            return Reply(wire.REFUSED, authoritative=False)
        return await site(request)

    def _send(self, packet: bytes, request: Request, reply: Reply, zone: str, begun: float) -> bytes:
        """Encode, count, and keep the answer or tell those who wanted to know."""
        query = request.query
        type_name = wire.TYPE_NAMES.get(query.type, "other")
        label = Label(self._server, request.protocol, self._family, type_name, zone, reply.rcode)
        limit = query.udp_size if request.protocol == "udp" else wire.MAX_SIZE
        if request.turning:
            reply = turning.turned(reply, request.identity % turning.turns(reply))
        if request.lasting and request.protocol == "udp" and not request.watchers:
            answers = turning.ready(query, reply, limit) if request.turning else (wire.build(query, reply, limit),)
            return self._keep(packet, answers, label)
        self._metrics.count(label, 1)
        answer = wire.build(query, reply, limit)
        seconds = time.perf_counter() - begun
        outcome = Outcome(reply.rcode, int.from_bytes(answer[:2], "big"), len(answer) + 2, seconds)
        for watcher in request.watchers:
            watcher(request, outcome)
        return answer

    def _keep(self, packet: bytes, answers: Answers, label: Label) -> bytes:
        """Keep the answers ready for all who will ask the same, and give the first."""
        if len(self._hot) >= HOT_SIZE:
            self.forget()
        hot = self._hot[packet[2:]] = _Hot(answers, label)
        hot.hits = 1
        return answers[0]
