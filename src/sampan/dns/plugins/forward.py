"""`forward FROM TO…`: ask other resolvers for the names below FROM.

Resolvers are tried in the order that the policy gives, healthy ones first, each for a short while, until one answers or
the time for all is over. An answer that UDP cut off is asked for again over TCP, so that what the cache keeps is whole.
"""

import asyncio
import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sampan.dns import decode, wire
from sampan.dns.metrics import FORWARD_DURATION, Metrics
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, Request, Surroundings, in_zone, in_zones, later
from sampan.dns.plugins.forward_options import ForwardOptions, parse
from sampan.dns.upstream import Upstream
from sampan.dns.wire import Query, Reply

EDNS_SIZE = 1232
ATTEMPT_SECONDS = 2.0
TOTAL_SECONDS = 5.0
_PASSED_ON = wire.RECURSION_DESIRED | wire.CHECKING_DISABLED | wire.AUTHENTIC_DATA


@dataclass(frozen=True, slots=True)
class Times:
    """How long one resolver may take, and all together."""

    attempt: float = ATTEMPT_SECONDS
    total: float = TOTAL_SECONDS


class Forward(Plugin):
    def __init__(self, options: ForwardOptions, metrics: Metrics, times: Times = Times()) -> None:
        self._options = options
        self._metrics = metrics
        self._times = times
        check = _packet(options.check_name, wire.NS, wire.RECURSION_DESIRED if options.check_recursive else 0)
        self._upstreams = [
            Upstream(address, expire=options.expire, check_every=options.check_every, check=check)
            for address in options.servers
        ]
        for upstream in self._upstreams:
            upstream.failed = lambda to=upstream.name: metrics.add("coredns_forward_healthcheck_failures_total", to=to)  # type: ignore[misc]
        self._running = 0
        self._turn = 0

    async def stop(self) -> None:
        for upstream in self._upstreams:
            await upstream.close()

    async def serve(self, request: Request, next: Next) -> Reply:
        options, name = self._options, request.query.name
        if not in_zone(name, options.zone) or in_zones(name, options.excepted):
            return await next(request)
        if not self._upstreams:
            raise NoAnswer("no upstream to ask")
        if options.max_concurrent and self._running >= options.max_concurrent:
            self._metrics.add("coredns_forward_max_concurrent_rejects_total")
            return Reply(wire.REFUSED, authoritative=False)
        await later()
        self._running += 1
        try:
            return await self._ask(request)
        finally:
            self._running -= 1

    async def _ask(self, request: Request) -> Reply:
        """Ask one resolver after the other. Raises NoAnswer."""
        deadline = time.monotonic() + self._times.total
        reply: Reply | None = None
        problem = "no healthy upstreams"
        for upstream in self._in_order():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(self._times.attempt, left)):
                    reply = await self._ask_one(upstream, request)
            except TimeoutError:
                problem = f"{upstream.name}: i/o timeout"
                upstream.suspect()
            except (OSError, decode.Unreadable) as error:
                problem = f"{upstream.name}: {error}"
                upstream.suspect()
            else:
                if reply.rcode not in self._options.failover:
                    return reply
        if reply is None:
            raise NoAnswer(problem)
        return reply

    async def _ask_one(self, upstream: Upstream, request: Request) -> Reply:
        """One resolver's answer. Raises OSError, TimeoutError, Unreadable."""
        begun = time.perf_counter()
        options, query = self._options, request.query
        self._metrics.add("coredns_forward_requests_total", to=upstream.name)
        tcp = options.force_tcp or (request.protocol == "tcp" and not options.prefer_udp)
        packet = question_packet(query)
        reply, cut = decode.parse_answer(await upstream.ask(packet, tcp=tcp))
        if reply.rcode in (wire.FORMERR, wire.NOTIMP) and not query.dnssec:
            plain = question_packet(query, edns=False)
            reply, cut = decode.parse_answer(await upstream.ask(plain, tcp=tcp))
        if cut:
            reply, _ = decode.parse_answer(await upstream.ask(packet, tcp=True))
        rcode = wire.RCODE_NAMES.get(reply.rcode, str(reply.rcode))
        self._metrics.add("coredns_forward_responses_total", to=upstream.name, rcode=rcode)
        seconds = time.perf_counter() - begun
        self._metrics.observe(FORWARD_DURATION, seconds, 1, proxy_name="forward", rcode=rcode, to=upstream.name)
        return reply

    def _in_order(self) -> Sequence[Upstream]:
        """Those that are well, as the policy wants them; if none is, the check may be wrong, and one is tried."""
        order = list(self._upstreams)
        if self._options.policy == "random":
            random.shuffle(order)
        elif self._options.policy == "round_robin":
            self._turn = (self._turn + 1) % len(order)
            order = order[self._turn :] + order[: self._turn]
        limit = self._options.max_fails
        well = [upstream for upstream in order if not limit or upstream.fails < limit]
        if well:
            return well
        self._metrics.add("coredns_forward_healthcheck_broken_total")
        return [] if self._options.fail_fast else [random.choice(order)]


def question_packet(query: Query, *, edns: bool = True) -> bytes:
    """A client's question as we ask it: its name letter by letter, our own size; the id is for others to set."""
    header = struct.pack("!6H", 0, query.flags & _PASSED_ON, 1, 0, 0, int(edns))
    option = struct.pack("!BHHIH", 0, wire.OPT, EDNS_SIZE, query.edns_flags & wire.DNSSEC_OK, 0)
    return header + query.question + (option if edns else b"")


def _packet(name: str, kind: int, flags: int) -> bytes:
    question = wire.encode_name(name) + struct.pack("!2H", kind, wire.IN)
    return struct.pack("!6H", 0, flags, 1, 0, 0, 0) + question


def make(options: ForwardOptions, around: Surroundings) -> Plugin:
    return Forward(options, around.metrics)


KIND = Kind("forward", parse, make)
