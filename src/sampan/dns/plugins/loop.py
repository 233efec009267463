"""`loop`: find out whether what is forwarded comes back, and then forward no more.

At the start it asks its own chain a question nobody else can have thought of. If that question arrives from outside as
well, the resolvers behind `forward` lead back here. CoreDNS ends itself then; here the cluster's names go on being
answered, and everything else is answered SERVFAIL until the Corefile changes.
"""

import asyncio
import logging
import secrets
import struct

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, PluginContext, Request, no_options
from sampan.dns.wire import Query, Reply, encode_name

log = logging.getLogger(__name__)

_ENOUGH = 2
_TRIES = 10
_RETRY_SECONDS = 2.0


class Loop(Plugin):
    def __init__(self, context: PluginContext) -> None:
        self._context = context
        zone = context.zones[0]
        self._name = f"{secrets.randbelow(2**62)}.{secrets.randbelow(2**62)}" + (f".{zone}" if zone else "")
        self._seen = 0
        self._asking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._ask())

    async def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    async def serve(self, request: Request, next: Next) -> Reply:
        query = request.query
        if query.type == wire.HINFO and query.name == self._name:
            self._seen += 1
            if self._seen == _ENOUGH + 1:
                zone = f"{self._context.zones[0]}."
                log.error(
                    'Loop (%s -> %s) detected for zone "%s", see https://coredns.io/plugins/loop#troubleshooting. '
                    'Query: "HINFO %s."', request.client[0], self._context.server, zone, self._name,
                )  # fmt: skip
        if self._seen > _ENOUGH:
            raise NoAnswer("what is forwarded comes back; not forwarding")
        return await next(request)

    async def _ask(self) -> None:
        """Send the question until someone answers it."""
        question = encode_name(self._name) + struct.pack("!2H", wire.HINFO, wire.IN)
        query = Query(wire.RECURSION_DESIRED, self._name, wire.HINFO, wire.IN, question)
        for _ in range(_TRIES):
            try:
                await self._context.resolve(Request(query, ("127.0.0.1", 0)))
                return
            except NoAnswer:
                if self._seen > _ENOUGH:
                    return
                self._seen = 0
                await asyncio.sleep(_RETRY_SECONDS)


def parse(directive: Directive, zones: tuple[str, ...]) -> None:
    directive.expect(0)
    no_options(directive)


def make(options: None, context: PluginContext) -> Plugin:
    return Loop(context)


KIND = Kind("loop", parse, make)
