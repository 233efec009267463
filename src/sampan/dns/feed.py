"""Where the cluster's objects come from: the API server, connected to when a Corefile first needs it.

A reload never touches this: the same informers feed the `Cluster` for as long as the process lives.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from sampan.client.config import Config
from sampan.client.informer import Informers
from sampan.client.resources import ENDPOINT_SLICES
from sampan.client.rest import Client, Observer
from sampan.dns import config
from sampan.dns.cluster import Cluster, follow, follow_pods
from sampan.dns.metrics import Metrics
from sampan.dns.objects import EndpointSlice
from sampan.dns.plugins.kubernetes import KubernetesOptions
from sampan.dns.programming import Programming


class Feed:
    def __init__(self, connect: Callable[[], Config], cluster: Cluster, metrics: Metrics) -> None:
        self._connect = connect
        self._cluster, self._metrics = cluster, metrics
        self._programming = Programming(cluster, metrics)
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
        self._programming.active = True

    async def close(self) -> None:
        await self._stack.aclose()

    def _start(self, kubernetes: list[KubernetesOptions]) -> Informers:
        found = self._config(kubernetes)
        client = Client(found, user_agent="sampan-dns", observe=self._observer(urlsplit(found.server).netloc))
        self._stack.push_async_callback(client.close)
        informers = Informers(client)
        follow(informers, self._cluster)
        informers.of(ENDPOINT_SLICES, EndpointSlice).add_handler(self._programming.handle)
        running = asyncio.get_running_loop().create_task(informers.run())
        self._stack.callback(running.cancel)
        return informers

    def _config(self, kubernetes: list[KubernetesOptions]) -> Config:
        """The first place that a Corefile names; else the one given from outside. Raises OSError, ConfigError."""
        for each in kubernetes:
            if each.kubeconfig[0]:
                return Config.from_kubeconfig(Path(each.kubeconfig[0]), each.kubeconfig[1] or None)
        for each in kubernetes:
            if each.endpoint:
                certificate, key, authorities = each.tls
                return Config(each.endpoint, ca_file=authorities, cert_file=certificate, key_file=key)
        return self._connect()

    def _observer(self, host: str) -> Observer:
        def observe(method: str, status: int, seconds: float) -> None:
            self._metrics.rest_requests.add(str(status) if status else "<error>", method, host)
            self._metrics.rest_seconds.observe(seconds, method, host)

        return observe
