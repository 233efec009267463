"""What one reading of the Corefile becomes: plugins, chained for each zone, behind a responder for each address.

A reload makes a new generation beside the old one; `service` then lets the sockets answer from the new.
"""

import functools
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace

from sampan.dns import wire
from sampan.dns.cluster import Cluster, Key
from sampan.dns.config import Config, Server
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Address, Kind, Next, NoAnswer, Plugin, PluginContext, Request
from sampan.dns.responder import Responder, find_chain
from sampan.dns.wire import Reply

log = logging.getLogger(__name__)


class Generation:
    def __init__(
        self, config: Config, cluster: Cluster, metrics: Metrics, *, domain: str, hosts: Sequence[str]
    ) -> None:
        self.config = config
        self.responders: dict[Address, Responder] = {}
        self.plugins: list[Plugin] = []
        self._cluster, self._metrics = cluster, metrics
        self._domain, self._hosts = _domain_of(config, domain), hosts
        chains_by_address: dict[Address, dict[str, Next]] = {}
        for server in config.servers:
            addresses = [(host, server.port) for host in server.options("bind") or hosts]
            chain = self._chain(server, addresses[0], chains_by_address.setdefault(addresses[0], {}))
            for address in addresses:
                chains_by_address.setdefault(address, {}).update(dict.fromkeys(server.zones, chain))
        for address, chains in chains_by_address.items():
            self.responders[address] = Responder(chains, metrics, server_name(address), address)
        self._unsubscribe = cluster.subscribe(self.forget)
        self.show()

    def show(self) -> None:
        """Let the gauges tell of this generation, and of no other."""
        self._metrics.plugin_enabled.clear()
        self._metrics.cache_entries.clear()
        for server in self.config.servers:
            for kind, _ in server.plugins:
                if (
                    kind.make is not None or kind.name == "prometheus"
                ):  # CoreDNS counts only plugins that handle queries
                    self._show_enabled(server, kind)
        for plugin in self.plugins:
            plugin.show()

    def _show_enabled(self, server: Server, kind: Kind) -> None:
        name = server_name(((server.options("bind") or self._hosts)[0], server.port))
        for zone in server.zones:
            self._metrics.plugin_enabled.set(1, name, f"{zone}.", "", kind.name)

    async def start(self) -> None:
        """Begin what plugins do beside the queries. Raises OSError."""
        for plugin in self.plugins:
            await plugin.start()

    async def stop(self) -> None:
        """End it, whatever goes wrong with one plugin."""
        self._unsubscribe()
        self.settle()
        for plugin in self.plugins:
            try:
                await plugin.stop()
            except OSError as error:
                log.warning("stopping %s: %s", type(plugin).__name__, error)

    def forget(self, service: Key | None = None) -> None:
        """Drop the answers that depend on a Service; without one, all."""
        for responder in self.responders.values():
            responder.forget(service)

    def settle(self) -> None:
        for responder in self.responders.values():
            responder.settle()

    def _chain(self, server: Server, address: Address, chains: Mapping[str, Next]) -> Next:
        """The plugin chain of a server block. `chains` has all chains of the listener, by zone."""
        name = server_name(address)

        async def resolve(request: Request) -> Reply:
            """A name that an alias leads to may belong to another block."""
            _, chain = find_chain(chains, request.query.name)
            return await (chain or _nobody)(request)

        context = PluginContext(self._cluster, self._metrics, name, server.zones, self._domain, resolve, self.forget)
        made: list[tuple[Kind, Plugin]] = []
        for at, (kind, options) in enumerate(server.plugins):
            if kind.make is not None:
                followed = any(following is kind for following, _ in server.plugins[at + 1 : at + 2])
                made.append((kind, kind.make(options, replace(context, followed=followed))))
        self.plugins += [plugin for _, plugin in made]
        return _linked(made)


def _linked(made: Sequence[tuple[Kind, Plugin]]) -> Next:
    """Two chains, one for the class IN and one for all others, which are the affair of a few plugins."""
    inside: Next = _nobody
    outside: Next = _refuse
    for kind, plugin in reversed(made):
        behind_inside, behind_outside = inside, outside
        if kind.changes_class:
            behind_inside = behind_outside = _by_class(inside, outside)
        inside = _link(kind, plugin, behind_inside)
        if kind.any_class:
            outside = _link(kind, plugin, behind_outside)
    return _by_class(inside, outside)


def _link(kind: Kind, plugin: Plugin, next: Next) -> Next:
    serve = functools.partial(plugin.serve, next=next)
    return functools.partial(_named, serve, kind.name) if kind.answers else serve


async def _named(serve: Next, name: str, request: Request) -> Reply:
    """What a plugin says; if nobody behind it has made the answer, it has."""
    reply = await serve(request)
    if request.writer is None:
        request.writer = name
    return reply


def _by_class(inside: Next, outside: Next) -> Next:
    def choose(request: Request) -> Awaitable[Reply]:
        return inside(request) if request.query.klass == wire.IN else outside(request)

    return choose


async def _nobody(request: Request) -> Reply:
    """Behind the last plugin."""
    raise NoAnswer("no next plugin found")


async def _refuse(request: Request) -> Reply:
    """Behind the last plugin, for a class that nobody serves."""
    request.writer = ""
    return Reply(wire.REFUSED, authoritative=False)


def server_name(address: Address) -> str:
    """CoreDNS's name for a listener."""
    host, port = address
    shown = "" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"dns://{shown}:{port}"


def _domain_of(config: Config, default: str) -> str:
    """The cluster's domain: the first that a `kubernetes` names."""
    named = (domain for options in config.options("kubernetes") for domain in options.domains)
    return next(named, default)
