"""`forward FROM TO…`: ask other resolvers for the names below FROM.

Resolvers are tried in the order that the policy gives, healthy ones first, each for a short while, until one answers or
the time for all is over. An answer that UDP cut off is asked for again over TCP, so that what the cache keeps is whole.
"""

import asyncio
import functools
import random
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sampan.dns import decode, wire
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, PluginContext, Request, in_zone, in_zones, later
from sampan.dns.plugins.forward_options import TLS, ForwardOptions, parse
from sampan.dns.upstream import Upstream
from sampan.dns.wire import Query, Reply

if TYPE_CHECKING:
    import ssl

NAME = "forward"
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
    def __init__(
        self, options: ForwardOptions, metrics: Metrics, times: Times = Times(), *, followed: bool = False
    ) -> None:
        """`followed` says whether another `forward` comes next. Raises OSError for certificates it cannot read."""
        self._options = options
        self._metrics = metrics
        self._times = times
        self._followed = followed
        check = _packet(options.check_name, wire.NS, wire.RECURSION_DESIRED if options.check_recursive else 0)
        self._upstreams = [
            Upstream(
                target.address,
                expire=options.expire,
                check_every=options.check_every,
                check=check,
                tls=context_of(options.tls) if target.tls else None,
                server_name=target.server_name or options.tls.server_name,
                check_tcp=options.force_tcp,
                most_idle=options.most_idle,
            )
            for target in options.servers
        ]
        for upstream in self._upstreams:
            upstream.failed = functools.partial(self._failed, upstream.name)
            upstream.connected = functools.partial(self._connected, upstream.name)
        self._running = 0
        self._turn = 0

    def _failed(self, to: str) -> None:
        self._metrics.forward_failed_checks.add(to)
        self._metrics.failed_checks.add(NAME, to)

    def _connected(self, to: str, protocol: str, kept: bool) -> None:
        counter = self._metrics.connections_kept if kept else self._metrics.connections_made
        counter.add(NAME, to, protocol)

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
            self._metrics.too_many.add()
            return Reply(wire.REFUSED, authoritative=False)
        await later()
        self._running += 1
        try:
            reply = await self._ask(request)
        finally:
            self._running -= 1
        return await next(request) if self._followed and self._goes_on(reply) else reply

    def _goes_on(self, reply: Reply) -> bool:
        """Whether the next `forward` is to be asked instead."""
        nothing = reply.rcode == wire.NOERROR and not reply.answers
        return reply.rcode in self._options.next or (nothing and self._options.next_on_nodata)

    async def _ask(self, request: Request) -> Reply:
        """Ask one resolver after the other. Raises NoAnswer."""
        deadline = min(time.monotonic() + self._times.total, request.deadline)
        reply: Reply | None = None
        problem = "no healthy upstreams"
        for upstream in self._in_order()[: self._options.max_attempts or None]:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(self._times.attempt, left)):
                    reply = await self._ask_one(upstream, request)
            except TimeoutError:
                problem = f"{upstream.name}: i/o timeout"
                self._suspect(upstream)
            except (OSError, decode.Unreadable) as error:
                problem = f"{upstream.name}: {error}"
                self._suspect(upstream)
            else:
                if reply.rcode not in self._options.failover:
                    return reply
        if reply is None:
            raise NoAnswer(problem)
        return reply

    def _suspect(self, upstream: Upstream) -> None:
        if self._options.max_fails:
            upstream.suspect()

    async def _ask_one(self, upstream: Upstream, request: Request) -> Reply:
        """One resolver's answer. Raises OSError, TimeoutError, Unreadable."""
        begun = time.perf_counter()
        options, query = self._options, request.query
        self._metrics.forward_requests.add(upstream.name)
        tcp = options.force_tcp or (request.protocol == "tcp" and not options.prefer_udp)
        packet = question_packet(query, request.options)
        reply, cut = decode.parse_answer(await upstream.ask(packet, tcp=tcp))
        if reply.rcode in (wire.FORMERR, wire.NOTIMP) and not query.dnssec:
            plain = question_packet(query, None)
            reply, cut = decode.parse_answer(await upstream.ask(plain, tcp=tcp))
        if cut:
            reply, _ = decode.parse_answer(await upstream.ask(packet, tcp=True))
        rcode = wire.RCODE_NAMES.get(reply.rcode, str(reply.rcode))
        self._metrics.forward_responses.add(rcode, upstream.name)
        self._metrics.proxy_seconds.observe(time.perf_counter() - begun, NAME, upstream.name, rcode)
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
        self._metrics.all_broken.add()
        return [] if self._options.fail_fast else [random.choice(order)]


def question_packet(query: Query, options: Mapping[int, bytes] | None) -> bytes:
    """A client's question as we ask it: its name letter by letter, our own size; the id is for others to set.

    Of EDNS options only these are sent, whatever the client has sent; without EDNS if they are None.
    """
    header = struct.pack("!6H", 0, query.flags & _PASSED_ON, 1, 0, 0, int(options is not None))
    if options is None:
        return header + query.question
    data = wire.encode_options(list(options.items()))
    flags = query.edns_flags & wire.DNSSEC_OK
    return header + query.question + struct.pack("!BHHIH", 0, wire.OPT, EDNS_SIZE, flags, len(data)) + data


def context_of(tls: TLS) -> "ssl.SSLContext":
    """What a certificate must prove, and our own. Raises OSError."""
    import ssl

    context = ssl.create_default_context(cafile=tls.authorities or None)
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _packet(name: str, kind: int, flags: int) -> bytes:
    question = wire.encode_name(name) + struct.pack("!2H", kind, wire.IN)
    return struct.pack("!6H", 0, flags, 1, 0, 0, 0) + question


def make(options: ForwardOptions, context: PluginContext) -> Plugin:
    return Forward(options, context.metrics, followed=context.followed)


KIND = Kind("forward", parse, make)
