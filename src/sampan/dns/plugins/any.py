"""`any`: the least that may be said to who asks for everything (RFC 8482)."""

from sampan.dns import wire
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, nothing
from sampan.dns.wire import Record, Reply

_TTL = 8482
_HINFO = b"".join(bytes((len(text),)) + text for text in (b"ANY obsoleted", b"See RFC 8482"))


class Any(Plugin):
    async def serve(self, request: Request, next: Next) -> Reply:
        if request.query.type != wire.ANY:
            return await next(request)
        request.lasting = True
        return Reply(answers=(Record(request.query.name, wire.HINFO, _HINFO, _TTL),), authoritative=False)


def make(options: None, context: PluginContext) -> Plugin:
    return Any()


KIND = Kind("any", nothing, make)
