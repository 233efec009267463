"""`nsid [TEXT]`: which of several servers has answered, for clients that ask so (RFC 5001)."""

import socket
from dataclasses import replace

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, no_options
from sampan.dns.wire import Reply

CODE = 3


class NSID(Plugin):
    def __init__(self, text: str) -> None:
        self._data = text.encode()

    async def serve(self, request: Request, next: Next) -> Reply:
        reply = await next(request)
        if any(code == CODE for code, _ in wire.read_options(request.query.options)):
            return replace(reply, options=(*reply.options, (CODE, self._data)))
        return reply


def parse(directive: Directive, zones: tuple[str, ...]) -> str:
    no_options(directive)
    return " ".join(directive.arguments) or socket.gethostname()


def make(text: str, context: PluginContext) -> Plugin:
    return NSID(text)


KIND = Kind("nsid", parse, make, answers=False, any_class=True)
