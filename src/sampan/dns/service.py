"""A running DNS server: sockets that stay open while the generation of plugins behind them changes."""

import asyncio
import logging
import random
from collections.abc import Callable

from sampan.client.config import ConfigError
from sampan.dns.adminserver import AdminServer
from sampan.dns.cluster import Cluster
from sampan.dns.config import Config, Reading
from sampan.dns.feed import Feed
from sampan.dns.generation import Generation
from sampan.dns.lines import CorefileError
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Address
from sampan.dns.server import DNSServer

log = logging.getLogger(__name__)


class Service:
    """`load` it with a Corefile, `follow` the file, `close` it."""

    def __init__(self, feed: Feed, cluster: Cluster, metrics: Metrics, *, domain: str, hosts: tuple[str, ...]) -> None:
        self.ready = False
        self._feed, self._cluster = feed, cluster
        self._domain, self._hosts = domain, hosts
        self._metrics = metrics
        self._generation: Generation | None = None
        self._servers: dict[Address, DNSServer] = {}
        self._admin = AdminServer(lambda: self.ready, self._numbers, metrics)

    async def load(self, wanted: Config) -> None:
        """Serve as a Corefile says, instead of as before. Raises OSError, ConfigError, and then nothing has changed."""
        if self._generation is None:
            await self._admin.open(wanted)
        await self._feed.ensure(wanted)
        fresh = Generation(wanted, self._cluster, self._metrics, domain=self._domain, hosts=self._hosts)
        opened: dict[Address, DNSServer] = {}
        try:
            for address, responder in fresh.responders.items():
                if address not in self._servers:
                    opened[address] = DNSServer(responder)
                    await opened[address].start(*address)
            await self._admin.open(wanted)
            await fresh.start()
        except OSError:
            await fresh.stop()
            for server in opened.values():
                await server.close()
            if self._generation is not None:
                self._generation.show()
            raise
        await self._replace(fresh, opened)
        self.ready = True
        logging.getLogger("sampan").setLevel(logging.DEBUG if wanted.has("debug") else logging.NOTSET)
        for kind in dict.fromkeys(kind for server in wanted.servers for kind, _ in server.plugins if kind.ignored):
            log.warning("plugin/%s: ignored: %s", kind.name, kind.ignored)

    async def _replace(self, fresh: Generation, opened: dict[Address, DNSServer]) -> None:
        """From here on the sockets answer from the new generation; those that it does not want are closed."""
        self._servers |= opened
        for address, responder in fresh.responders.items():
            self._servers[address].responder = responder
        old, self._generation = self._generation, fresh
        for address in self._servers.keys() - fresh.responders.keys():
            await self._servers.pop(address).close()
        if old is not None:
            await old.stop()

    async def follow(self, read: Callable[[], Reading], known: str) -> None:
        """Load the Corefile again whenever it, or what it imports, differs from what is known, if it says `reload`.

        Runs until cancelled.
        """
        while True:
            interval, jitter = self._interval()
            await asyncio.sleep(interval + random.uniform(0, jitter))
            try:
                found = read()
                if found.digest == known:
                    continue
                known = found.digest
                log.info("Reloading")
                await self.load(found.wanted())
                self._metrics.show_version(known)
                log.info("Running configuration SHA512 = %s", known)
                log.info("Reloading complete")
            except (CorefileError, ConfigError, OSError) as error:
                self._metrics.reload_failed.add()
                log.error("Corefile changed but reload failed: %s", error)

    def _interval(self) -> tuple[float, float]:
        chosen = self._generation.config.options("reload") if self._generation else []
        if not chosen:
            return float("inf"), 0.0
        found: tuple[float, float] = chosen[0]
        return found

    @property
    def lameduck(self) -> float:
        """For how many seconds to go on answering after having been told to end."""
        healths = self._generation.config.options("health") if self._generation else []
        return max((health.lameduck for health in healths), default=0.0)

    async def close(self) -> None:
        self.ready = False
        for server in self._servers.values():
            await server.close()
        if self._generation is not None:
            await self._generation.stop()
        await self._admin.close()

    def _numbers(self) -> bytes:
        if self._generation is not None:
            self._generation.settle()
        return self._metrics.render()
