"""A proxy mode at work on the node of proxyworld.py, made by hand: no API server, every step when the test says so."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from sampan.api.meta_v1 import ObjectMeta
from sampan.client.config import Config
from sampan.kernel.conntrack import Conntrack
from sampan.proxy.backends.interface import Backend
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.metrics import Metrics
from sampan.proxy.objects import ProxyNode
from sampan.proxy.options import ProxyOptions
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker
from support.proxycases import CASES, CLUSTER_IP, HERE, ZONE, Case, service, slice_
from support.proxyworld import NODE, World

FAMILIES = (4, 6)


class Proxy:
    """One mode at work on the world's node."""

    def __init__(self, mode: str, where: World, **options: Any) -> None:
        self.mode = mode
        self.world = where
        self.options = ProxyOptions(
            node_name=HERE,
            node_ips=tuple(NODE.values()),
            config=Config(server="https://unused"),
            mode=mode,
            cluster_cidr="10.244.0.0/16,fd00:244::/32",
            **options,
        )
        self.start()

    def start(self) -> None:
        """Begin as a new process would: knowing nothing of what is in the kernel."""
        self.tracker = Tracker(HERE, FAMILIES, self.options.node_ips)
        self.tracker.node_changed(
            None, ProxyNode(metadata=ObjectMeta(name=HERE, labels={"topology.kubernetes.io/zone": ZONE}))
        )
        self.backends: dict[int, Backend] = {family: BACKENDS[self.mode](self.options, family) for family in FAMILIES}
        self.syncer = Syncer(self.tracker, self.backends, Metrics())
        self.known: dict[int, Case] = {}

    def show(self, case: Case, family: int = 4) -> None:
        """Make the world's Service that of this case, and sync."""
        self.tracker.service_changed(None, service(case, family))
        self.tracker.slice_changed(None, slice_(case, family))
        assert self.world.on_node(self.syncer.sync)

    def forget_attempts(self) -> None:
        """Let the node forget TCP packets that nobody answered at the cluster IP: a connection from a port that is used
        again within two minutes would go where they went."""

        def forget() -> None:
            with closing(Conntrack()) as tracking:
                tracking.delete(4, list(tracking.flows_to(4, "TCP", [(CLUSTER_IP[4], 80)])))

        self.world.inside("node", forget)

    def forget(self) -> None:
        self.tracker.service_changed(service(CASES[0], 4), None)
        assert self.world.on_node(self.syncer.sync)


@contextmanager
def at_work(mode: str, where: World, **options: Any) -> Iterator[Proxy]:
    """A mode on the world's node; skips where the kernel lacks it. What it made is removed at the end."""
    made = Proxy(mode, where, **options)
    for backend in made.backends.values():
        if why := where.inside("node", backend.is_supported):
            pytest.skip(f"{why}; test_proxy_ipvs.py runs these tests on a kernel that has it")
    try:
        yield made
    finally:
        for backend in made.backends.values():
            where.on_node(backend.cleanup)
            backend.close()
