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
from sampan.dns.feed import Feed
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

    def read(self) -> str:
        """The Corefile as it is now. Raises OSError."""
        return self.file.read_text(errors="replace") if self.file is not None else self.text

    @property
    def name(self) -> str:
        return self.file.name if self.file is not None else "Corefile"


async def run(options: DNSOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Answer until cancelled, and a lame-duck period longer; `ready` is called when the first answers can be given.

    Raises CorefileError, ConfigError, OSError.
    """
    wanted = config.read(options.read(), options.name, port=options.port, environment=os.environ)
    cluster = Cluster()
    async with AsyncExitStack() as stack:
        feed = Feed(options.connect, cluster)
        stack.push_async_callback(feed.close)
        service = Service(feed, cluster, domain=options.domain, hosts=options.listen)
        stack.push_async_callback(service.close)
        await service.load(wanted)
        log.info(
            "answering for %s", ", ".join(f"{zone}.:{each.port}" for each in wanted.servers for zone in each.zones)
        )
        ready()
        try:
            await service.follow(options.read, options.name, options.port)
        except asyncio.CancelledError:
            service.ready = False
            log.info("Going into lameduck mode for %gs", service.lameduck)
            await asyncio.sleep(service.lameduck)
            raise
