"""`cancel [TIMEOUT]`: after that long no resolver is asked any more; the client has given up."""

import time

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, no_options
from sampan.dns.wire import Reply

DEFAULT = 5.001


class Cancel(Plugin):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def serve(self, request: Request, next: Next) -> Reply:
        request.deadline = min(request.deadline, time.monotonic() + self._seconds)
        return await next(request)


def parse(directive: Directive, zones: tuple[str, ...]) -> float:
    no_options(directive)
    seconds = directive.seconds() if directive.expect(0, 1) else DEFAULT
    if seconds <= 0:
        raise directive.error(f"{directive.arguments[0]!r} is no time to wait")
    return seconds


def make(seconds: float, context: PluginContext) -> Plugin:
    return Cancel(seconds)


KIND = Kind("cancel", parse, make, answers=False)
