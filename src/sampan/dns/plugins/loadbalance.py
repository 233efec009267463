"""`loadbalance`: several addresses of one name take turns to be first. The `responder` rotates them."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, no_options
from sampan.dns.wire import Reply


class LoadBalance(Plugin):
    async def serve(self, request: Request, next: Next) -> Reply:
        request.rotating = True
        return await next(request)


def parse(directive: Directive, zones: tuple[str, ...]) -> None:
    no_options(directive)
    if directive.expect(0, 1) not in ((), ("round_robin",)):
        raise directive.error(f"unknown policy {directive.arguments[0]!r}; there is round_robin")


def make(options: None, context: PluginContext) -> Plugin:
    return LoadBalance()


KIND = Kind("loadbalance", parse, make, answers=False)
