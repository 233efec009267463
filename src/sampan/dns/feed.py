"""Where the cluster's objects come from: the API server, connected to when a Corefile first needs it.

A reload never touches this: the same informers feed the `Cluster` for as long as the process lives.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from sampan.client.config import Config
from sampan.client.informer import Informers
from sampan.client.rest import Client
from sampan.dns import config
from sampan.dns.cluster import Cluster, follow, follow_pods
from sampan.dns.plugins.kubernetes import KubernetesOptions


class Feed:
    def __init__(self, connect: Callable[[], Config], cluster: Cluster) -> None:
        self._connect = connect
        self._cluster = cluster
        self._stack = AsyncExitStack()
        self._informers: Informers | None = None
        self._pods = False

    async def ensure(self, wanted: config.Config) -> None:
        """Return when everything that a configuration needs is here. Raises OSError, ConfigError."""
        kubernetes: list[KubernetesOptions] = wanted.options("kubernetes")
        if not kubernetes:
            return
        if self._informers is None:
            self._informers = self._start(kubernetes)
        if not self._pods and (wanted.has("autopath") or any(each.zone.pods == "verified" for each in kubernetes)):
            self._pods = True
            follow_pods(self._informers, self._cluster)
        await self._informers.wait_synced()

    async def close(self) -> None:
        await self._stack.aclose()

    def _start(self, kubernetes: list[KubernetesOptions]) -> Informers:
        file, context = next((each.kubeconfig for each in kubernetes if each.kubeconfig[0]), ("", ""))
        found = Config.from_kubeconfig(Path(file), context or None) if file else self._connect()
        client = Client(found, user_agent="sampan-dns")
        self._stack.push_async_callback(client.close)
        informers = Informers(client)
        follow(informers, self._cluster)
        running = asyncio.get_running_loop().create_task(informers.run())
        self._stack.callback(running.cancel)
        return informers
