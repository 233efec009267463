"""What one reading of the Corefile becomes: plugins, chained for each zone, behind a responder for each address.

A reload makes a new generation beside the old one; `service` then lets the sockets answer from the new.
"""

import functools
import logging
from collections.abc import Sequence

from sampan.dns.cluster import Cluster
from sampan.dns.config import Config, Server
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Address, Next, NoAnswer, Plugin, Request, Surroundings
from sampan.dns.responder import Responder
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
        self._domain = _domain_of(config, domain)
        sites: dict[Address, dict[str, Next]] = {}
        for server in config.servers:
            addresses = [(host, server.port) for host in server.options("bind") or hosts]
            chain = self._chain(server, addresses[0])
            for address in addresses:
                sites.setdefault(address, {}).update(dict.fromkeys(server.zones, chain))
        for address, chains in sites.items():
            family = 2 if ":" in address[0] else 1
            self.responders[address] = Responder(chains, metrics, server_name(address), family)
        self._unsubscribe = cluster.subscribe(self.forget)

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

    def forget(self) -> None:
        for responder in self.responders.values():
            responder.forget()

    def settle(self) -> None:
        for responder in self.responders.values():
            responder.settle()

    def _chain(self, server: Server, address: Address) -> Next:
        """The plugins of a server block, each with the next one to call."""
        chain: Next = _nobody
        name = server_name(address)

        async def resolve(request: Request) -> Reply:
            return await chain(request)

        around = Surroundings(self._cluster, self._metrics, name, server.zones, self._domain, resolve, self.forget)
        made: list[Plugin] = []
        for kind, options in server.plugins:
            self._metrics.set("coredns_plugin_enabled", 1, server=name, name=kind.name, zone=f"{server.zones[0]}.")
            if kind.make is not None:
                made.append(kind.make(options, around))
        for plugin in reversed(made):
            chain = functools.partial(plugin.serve, next=chain)
        self.plugins += made
        return chain


async def _nobody(request: Request) -> Reply:
    """Behind the last plugin."""
    raise NoAnswer("no next plugin found")


def server_name(address: Address) -> str:
    """CoreDNS's name for a listener."""
    host, port = address
    shown = "" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"dns://{shown}:{port}"


def _domain_of(config: Config, default: str) -> str:
    """The cluster's domain: the first that a `kubernetes` names."""
    named = (domain for options in config.options("kubernetes") for domain in options.domains)
    return next(named, default)
