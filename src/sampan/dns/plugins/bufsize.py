"""`bufsize [SIZE]`: the largest answer over UDP, whatever a client says it can take."""

from dataclasses import replace

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, no_options
from sampan.dns.wire import Reply

DEFAULT = 1232


class BufSize(Plugin):
    def __init__(self, size: int) -> None:
        self._size = size

    async def serve(self, request: Request, next: Next) -> Reply:
        request.max_edns_size = min(request.max_edns_size, self._size)
        if request.query.edns_size > self._size:
            request.query = replace(request.query, edns_size=self._size)
        return await next(request)


def parse(directive: Directive, zones: tuple[str, ...]) -> int:
    no_options(directive)
    return directive.number(0, wire.MIN_UDP_SIZE, wire.MAX_UDP_SIZE) if directive.expect(0, 1) else DEFAULT


def make(size: int, context: PluginContext) -> Plugin:
    return BufSize(size)


KIND = Kind("bufsize", parse, make, answers=False, any_class=True)
