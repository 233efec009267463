"""`chaos [VERSION] [AUTHOR…]`: who this server is, for questions of the class CH (RFC 4892)."""

import socket
from dataclasses import dataclass

from sampan import __version__
from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, no_options
from sampan.dns.wire import Record, Reply

_MOST = 255


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    version: str = f"Sampan-{__version__}"
    authors: tuple[str, ...] = ()


class Chaos(Plugin):
    def __init__(self, options: ChaosOptions) -> None:
        host = socket.gethostname()
        self._texts: dict[str, tuple[str, ...]] = {
            "version.bind": (options.version,),
            "version.server": (options.version,),
            "hostname.bind": (host,),
            "id.server": (host,),
            "authors.bind": options.authors or ("Sampan",),
        }

    async def serve(self, request: Request, next: Next) -> Reply:
        query = request.query
        texts = self._texts.get(query.name)
        if query.klass != wire.CHAOS or query.type not in (wire.TXT, wire.ANY) or texts is None:
            return await next(request)
        records = tuple(Record(query.name, wire.TXT, _text(text), 0) for text in texts)
        return Reply(answers=records, klass=wire.CHAOS)


def _text(text: str) -> bytes:
    data = text.encode()[:_MOST]
    return bytes((len(data),)) + data


def parse(directive: Directive, zones: tuple[str, ...]) -> ChaosOptions:
    no_options(directive)
    if not directive.arguments:
        return ChaosOptions()
    version, *authors = directive.arguments
    return ChaosOptions(version, tuple(authors))


def make(options: ChaosOptions, context: PluginContext) -> Plugin:
    return Chaos(options)


KIND = Kind("chaos", parse, make, any_class=True)
