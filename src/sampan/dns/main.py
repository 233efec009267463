"""`run`: cluster DNS, from a Corefile to sockets."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.client.config import Config
from sampan.dns import config, defaults
from sampan.dns.cluster import Cluster
from sampan.dns.config import Reading
from sampan.dns.feed import Feed
from sampan.dns.metrics import Metrics
from sampan.dns.service import Service

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DNSOptions:
    """Where the cluster is, and what to serve."""

    connect: Callable[[], Config]
    """How to reach the API server; called if the Corefile has `kubernetes`."""
    file: Path | None = None
    """The Corefile."""
    text: str = defaults.cluster("cluster.local")
    """The Corefile's content, without a file."""
    domain: str = "cluster.local"
    listen: tuple[str, ...] = ("0.0.0.0",)
    """Where server blocks listen that say nothing of it."""
    port: int = config.DEFAULT_PORT
    """The port of server blocks that name none."""
    lost_lines: Callable[[], float] = lambda: 0.0
    """How many lines of the log were given up so far."""

    def read(self) -> Reading:
        """The Corefile as it is now, with what it imports. Raises OSError."""
        if self.file is None:
            return config.reading(self.text, "Corefile", Path(), self.port, os.environ)
        text = self.file.read_text(errors="replace")
        return config.reading(text, self.file.name, self.file.parent, self.port, os.environ)


async def run(options: DNSOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Answer until cancelled, and a lame-duck period longer; `ready` is called when the first answers can be given.

    Raises CorefileError, ConfigError, OSError.
    """
    first = options.read()
    wanted = first.wanted()
    cluster, metrics = Cluster(), Metrics()
    metrics.lost_lines.read(options.lost_lines)
    async with AsyncExitStack() as stack:
        feed = Feed(options.connect, cluster, metrics)
        stack.push_async_callback(feed.close)
        service = Service(feed, cluster, metrics, domain=options.domain, hosts=options.listen)
        stack.push_async_callback(service.close)
        await service.load(wanted)
        metrics.show_version(first.digest)
        log.info(
            "answering for %s", ", ".join(f"{zone}.:{each.port}" for each in wanted.servers for zone in each.zones)
        )
        ready()
        try:
            await service.follow(options.read, first.digest)
        except asyncio.CancelledError:
            service.ready = False
            log.info("Going into lameduck mode for %gs", service.lameduck)
            await asyncio.sleep(service.lameduck)
            raise
