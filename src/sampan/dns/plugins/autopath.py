"""`autopath [ZONE…] RESOLV-CONF|@kubernetes`: walk a client's search path for it, in one round trip.

With `ndots:5` a pod asks `example.com.NAMESPACE.svc.cluster.local` and three names more before the one it meant. The
first of them is enough: what it would find in the end is answered at once, behind a CNAME. That is only right if the
search path is known to be the client's, so a name is taken as the first of a path only where the client's address is
that of one pod alone, and the name ends in that pod's own namespace.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from sampan.dns import resolvconf, wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, in_zones, no_options
from sampan.dns.wire import Record, Reply, encode_name

KUBERNETES = "@kubernetes"


@dataclass(frozen=True, slots=True)
class AutoPathOptions:
    zones: tuple[str, ...]
    source: str


class AutoPath(Plugin):
    def __init__(self, options: AutoPathOptions, context: PluginContext) -> None:
        self._options = options
        self._context = context
        file = "/etc/resolv.conf" if options.source == KUBERNETES else options.source
        self._searches = resolvconf.search_domains(file)

    async def serve(self, request: Request, next: Next) -> Reply:
        query = request.query
        if query.type not in (wire.A, wire.AAAA) or not in_zones(query.name, self._options.zones):
            return await next(request)
        searches = self._path_of(request.client[0])
        if not searches or not query.name.endswith(f".{searches[0]}"):
            reply = await next(request)
            if reply.rcode == wire.NXDOMAIN:
                request.lasting = False  # the path of another client may lead further
            return reply
        first = await next(request)
        if first.rcode != wire.NXDOMAIN:
            return first
        base = query.name[: -len(searches[0]) - 1]
        for domain in (*searches[1:], ""):
            found = await self._try(request, f"{base}.{domain}" if domain else base, next)
            if found is not None:
                request.lasting = False
                self._context.metrics.autopath.add(self._context.server)
                return found
        request.lasting = False
        return first

    def _path_of(self, client: str) -> tuple[str, ...]:
        """The search path of a client; empty if it is not known."""
        if self._options.source != KUBERNETES:
            return self._searches
        pods = self._context.cluster.pods_at(client)
        if len(pods) != 1:
            return ()
        domain = self._context.domain
        return (f"{pods[0][0]}.svc.{domain}", f"svc.{domain}", domain, *self._searches)

    async def _try(self, request: Request, name: str, next: Next) -> Reply | None:
        """What another name of the path has, under the name that was asked for; None if there is no such name.

        A name without records of the type ends the path, as it does for CoreDNS: would AAAA be denied where A is found,
        a resolver that asks for both at once (musl) would take the name for missing.
        """
        query = request.query
        question = encode_name(name) + query.question[-4:]
        reply = await next(request.about(replace(query, name=name, question=question)))
        if reply.rcode == wire.NXDOMAIN:
            return None
        if not reply.answers:
            return reply
        ttl = min(record.ttl for record in reply.answers)
        alias = Record(query.name, wire.CNAME, encode_name(name), ttl)
        return replace(reply, answers=(alias, *reply.answers), authority=())


def parse(directive: Directive, zones: tuple[str, ...]) -> AutoPathOptions:
    no_options(directive)
    *_, source = directive.expect(1, 999)
    if source.startswith("@") and source != KUBERNETES:
        raise directive.error(f"unknown source {source!r}; there is {KUBERNETES}")
    if not source.startswith("@") and not Path(source).exists():
        raise directive.error(f"{source}: no such file")
    own = replace(directive, arguments=directive.arguments[:-1])
    return AutoPathOptions(own.zones() or zones, source)


def make(options: AutoPathOptions, context: PluginContext) -> Plugin:
    return AutoPath(options, context)


KIND = Kind("autopath", parse, make)
