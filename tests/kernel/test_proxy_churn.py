"""Half an hour's changes in seconds, while the proxy is killed again and again: the kernel ends as a fresh start's."""

import asyncio
import random
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sampan.api.core_v1 import Service
from sampan.client.config import Config
from sampan.client.resources import ENDPOINT_SLICES, SERVICES
from sampan.client.rest import Client
from sampan.kernel import ipvs, netns
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.metrics import Metrics
from sampan.proxy.objects import Slice
from sampan.proxy.options import ProxyOptions
from sampan.proxy.servicecidrs import SERVICE_CIDRS, ServiceCIDR
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker
from support import iptablesvariants
from support.apiserver import running_apiserver
from support.proxydumps import DUMPS, Dump
from support.proxyprocess import ProxyProcess

T = TypeVar("T")

pytestmark = pytest.mark.kernel

NODE_IP = "10.2.2.10"
CHANGES = 360
"""One every five seconds of half an hour."""

KILLS = 4
NAMES = [f"svc-{number}" for number in range(25)]


def choose(variant: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The mode of a variant."""
    if variant == "ipvs" and not ipvs.loaded():
        pytest.skip("this kernel has no IPVS; test_proxy_ipvs.py runs this test on one that has it")
    return iptablesvariants.choose(variant, directory, monkeypatch)


def in_network(path: Path, action: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in a new network namespace."""
    netns.create_network(path)
    try:
        up = f"ip link set lo up; ip addr add {NODE_IP}/32 dev lo"
        netns.run_in(path, lambda: subprocess.run(["sh", "-ec", up], check=True))
        return netns.run_in(path, lambda: asyncio.run(asyncio.wait_for(action(), 60)))
    finally:
        netns.delete(path)


class Churn:
    """Random changes of Services and slices, each valid for the API."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self._ports: dict[str, int] = {}

    async def change(self) -> None:
        name = self._chance.choice(NAMES)
        if name not in self._ports:
            self._ports[name] = self._chance.choice([80, 81])
            await self._client.create(SERVICES, self._service(name))
            await self._client.create(ENDPOINT_SLICES, self._slice(name))
        elif self._chance.random() < 0.15:
            del self._ports[name]
            await self._client.delete(SERVICES, name, "default")
            await self._client.delete(ENDPOINT_SLICES, name, "default")
        elif self._chance.random() < 0.2:
            await self._client.patch(SERVICES, name, {"spec": self._policies()}, "default")
        else:
            await self._client.update(ENDPOINT_SLICES, self._slice(name))

    def _service(self, name: str) -> dict[str, Any]:
        ports = [{"name": "web", "port": self._ports[name], "protocol": "TCP"}]
        spec = {"type": self._chance.choice(["ClusterIP", "NodePort", "LoadBalancer"]), "ports": ports}
        return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}

    def _policies(self) -> dict[str, Any]:
        return {
            "sessionAffinity": self._chance.choice(["None", "ClientIP"]),
            "internalTrafficPolicy": self._chance.choice(["Cluster", "Local"]),
            "externalIPs": self._chance.choice([[], ["198.51.100.7"]]),
        }

    def _slice(self, name: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {
                    "addresses": [f"10.244.{NAMES.index(name)}.{number}"],
                    "nodeName": self._chance.choice(["node-1", "node-2"]),
                    "conditions": {"ready": self._chance.random() < 0.8},
                }
                for number in self._chance.sample(range(1, 9), self._chance.randint(0, 6))
            ],
        }


@pytest.mark.parametrize("variant", [*DUMPS, iptablesvariants.LEGACY])
def test_after_churn_and_kills_the_kernel_is_as_after_a_fresh_start(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change reaches the kernel once, whenever the proxy dies: before, during or after its transaction."""
    mode = choose(variant, tmp_path, monkeypatch)

    async def scenario() -> None:
        async with running_apiserver() as config:
            client, proxy = Client(config), ProxyProcess(config, mode, (NODE_IP,))
            try:
                await churn(client, proxy)
                tracker = await seen_by_a_fresh_proxy(client)
                wanted = await asyncio.to_thread(in_network, tmp_path / "fresh", lambda: synced(mode, tracker))
                assert "10.96." in str(wanted), "nothing would equal nothing"
                await until_equal(DUMPS[mode], wanted)
            finally:
                await proxy.kill()
                await client.close()

    in_network(tmp_path / "churned", scenario)


def test_every_mode_is_compared() -> None:
    assert set(DUMPS) == set(BACKENDS)


async def churn(client: Client, proxy: ProxyProcess) -> None:
    chance = random.Random(7)
    changes = Churn(client, chance)
    kills = set(chance.sample(range(CHANGES), KILLS))
    await proxy.start()
    for number in range(CHANGES):
        await changes.change()
        if number in kills:
            await proxy.kill()
            await proxy.start(until_ready=chance.random() < 0.5)


async def seen_by_a_fresh_proxy(client: Client) -> Tracker:
    tracker = Tracker("node-1", (4,), (NODE_IP,))
    for service in (await client.list(SERVICES, type=Service)).items:
        tracker.service_changed(None, service)
    for slice_ in (await client.list(ENDPOINT_SLICES, type=Slice)).items:
        tracker.slice_changed(None, slice_)
    for cidr in (await client.list(SERVICE_CIDRS, type=ServiceCIDR)).items:
        tracker.set_service_cidrs(cidr.spec.cidrs)
    return tracker


async def synced(mode: str, tracker: Tracker) -> Dump:
    """What the mode makes of that in an empty kernel."""
    options = ProxyOptions(node_name="node-1", node_ips=(NODE_IP,), config=Config(server="https://unused"), mode=mode)
    syncer = Syncer(tracker, {4: BACKENDS[mode](options, 4)}, Metrics())
    assert await syncer.sync()
    syncer.close()
    return await DUMPS[mode]()


async def until_equal(dump: Callable[[], Awaitable[Dump]], wanted: Dump) -> None:
    """Wait until the kernel is as wanted; what differs is told of."""
    found: Dump = {}
    try:
        async with asyncio.timeout(15):
            while found != wanted:
                await asyncio.sleep(0.05)
                found = await dump()
    except TimeoutError:
        different = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
        raise AssertionError({name: (found.get(name), wanted.get(name)) for name in different}) from None
