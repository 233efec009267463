"""`minimal`: answers without what was not asked for: no authority, no additional records."""

from dataclasses import replace

from sampan.dns import wire
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, nothing
from sampan.dns.wire import Reply


class Minimal(Plugin):
    async def serve(self, request: Request, next: Next) -> Reply:
        """Denials and referrals stay whole: their authority is their content."""
        reply = await next(request)
        if reply.rcode != wire.NOERROR or not reply.answers:
            return reply
        return replace(reply, authority=(), additional=())


def make(options: None, context: PluginContext) -> Plugin:
    return Minimal()


KIND = Kind("minimal", nothing, make, answers=False, any_class=True)
