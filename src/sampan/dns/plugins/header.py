"""`header { [response|query] set|clear FLAG… }`: the header's flags, of answers or of what is passed on."""

from dataclasses import dataclass, replace

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request
from sampan.dns.wire import Reply

FLAGS = {
    "response": {
        "aa": wire.AUTHORITATIVE, "ra": wire.RECURSION_AVAILABLE, "rd": wire.RECURSION_DESIRED,
        "ad": wire.AUTHENTIC_DATA, "cd": wire.CHECKING_DISABLED,
    },
    "query": {"rd": wire.RECURSION_DESIRED, "ad": wire.AUTHENTIC_DATA, "cd": wire.CHECKING_DISABLED},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """Bits that are set and bits that are cleared; no bit is both."""

    raised: int = 0
    lowered: int = 0

    def then(self, bits: int, *, set: bool) -> "Change":
        if set:
            return Change(self.raised | bits, self.lowered & ~bits)
        return Change(self.raised & ~bits, self.lowered | bits)


@dataclass(frozen=True, slots=True)
class HeaderOptions:
    query: Change = Change()
    response: Change = Change()


class Header(Plugin):
    def __init__(self, options: HeaderOptions) -> None:
        self._options = options

    async def serve(self, request: Request, next: Next) -> Reply:
        query, response = self._options.query, self._options.response
        asked = request.query
        request.query = replace(asked, flags=(asked.flags | query.raised) & ~query.lowered)
        try:
            reply = await next(request)
        finally:
            request.query = asked
        return replace(reply, raised=response.raised, lowered=response.lowered)


def parse(directive: Directive, zones: tuple[str, ...]) -> HeaderOptions:
    directive.expect(0)
    changes = {"query": Change(), "response": Change()}
    for option in directive.options:
        words = [option.name, *option.arguments]
        about = words.pop(0) if words[0] in changes else "response"
        action, *names = words or [""]
        if action not in ("set", "clear") or not names:
            raise option.error("expected: [response|query] set|clear FLAG…")
        for name in names:
            if name.lower() not in FLAGS[about]:
                raise option.error(f"unknown flag {name!r} of a {about}; there are {', '.join(FLAGS[about])}")
            changes[about] = changes[about].then(FLAGS[about][name.lower()], set=action == "set")
    return HeaderOptions(**changes)


def make(options: HeaderOptions, context: PluginContext) -> Plugin:
    return Header(options)


KIND = Kind("header", parse, make, answers=False, any_class=True)
