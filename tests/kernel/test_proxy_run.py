"""The whole proxy against a real API server, in a network namespace of their own: events in, kernel entries out."""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.client.resources import ENDPOINT_SLICES, SERVICES
from sampan.client.rest import Client
from sampan.http.client import HTTPClient
from sampan.kernel import netns
from sampan.kernel.nft import Nft
from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import layout
from sampan.proxy.main import run
from sampan.proxy.options import ProxyOptions
from support.apiserver import running_apiserver

pytestmark = pytest.mark.kernel

NODE_IP = "10.2.2.10"


def in_a_network(path: Path, test: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine in a fresh network namespace with loopback and the node's address."""
    netns.create_network(path)
    try:
        netns.run_in(path, lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
        netns.run_in(path, lambda: subprocess.run(["ip", "addr", "add", f"{NODE_IP}/32", "dev", "lo"], check=True))
        netns.run_in(path, lambda: asyncio.run(asyncio.wait_for(test(), 60)))  # type: ignore[arg-type]
    finally:
        netns.delete(path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": ports, **spec}}


def slice_(name: str, ips: list[str], node: str = "node-1") -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05Z"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "nodeName": node, "conditions": {"ready": True}} for ip in ips],
    }  # fmt: skip


def targets_of(nft: Nft, ip: str, count: int) -> list[str]:
    """Where the kernel would send connections to port 80 of `ip`, if it has that many endpoints."""
    key = keys.service_key(ip, "TCP", 80)
    if layout.endpoint_map(count) not in nft.sets(4, layout.TABLE):
        return []
    elements = nft.elements(4, layout.TABLE, layout.endpoint_map(count))
    return sorted(layout.slot_text(data) for found, data in elements if found.startswith(key))


async def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    client = HTTPClient(f"http://{host}:{port}")
    try:
        answer = await client.request("GET", path)
        return answer.status, answer.body
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def running_proxy(options: ProxyOptions) -> Any:
    ready = asyncio.Event()
    proxy = asyncio.create_task(run(options, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({proxy, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    assert ready.is_set(), proxy.done() and proxy.exception()
    try:
        yield
    finally:
        proxy.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await proxy


def test_services_become_kernel_entries_and_follow_their_endpoints(tmp_path: Path) -> None:
    """Create, scale, delete; restart in between. The kernel follows each event, and health and metrics tell of it."""

    async def scenario() -> None:
        async with running_apiserver() as config:
            client = Client(config)
            options = ProxyOptions(node_name="node-1", node_ips=(NODE_IP,), config=config)
            nft = Nft()
            async with running_proxy(options):
                made = await client.create(SERVICES, service("web"))
                ip = made["spec"]["clusterIP"]
                await client.create(ENDPOINT_SLICES, slice_("web", ["10.244.0.1", "10.244.0.2"]))
                await until(lambda: targets_of(nft, ip, 2) == ["10.244.0.1 . 8080", "10.244.0.2 . 8080"])
                await check_health(options)
            await client.update(ENDPOINT_SLICES, slice_("web", ["10.244.0.3"]))
            async with running_proxy(options):
                assert targets_of(nft, ip, 1) == ["10.244.0.3 . 8080"], "a restart repairs before it says ready"
                await client.delete(SERVICES, "web", "default")
                await until(lambda: targets_of(nft, ip, 1) == [])
            nft.close()
            await client.close()

    in_a_network(tmp_path / "net", scenario)


async def check_health(options: ProxyOptions) -> None:
    for path, fields in (
        ("/healthz", {"lastUpdated", "currentTime", "nodeEligible"}), ("/livez", {"lastUpdated", "currentTime"}),
    ):  # fmt: skip
        status, body = await get(options.healthz_port, path)
        assert (status, set(msgspec.json.decode(body))) == (200, fields)
    status, body = await get(options.metrics_port, "/metrics")
    assert status == 200
    assert b"kubeproxy_sync_proxy_rules_duration_seconds_count" in body
    assert b"kubeproxy_network_programming_duration_seconds_bucket" in body
    assert await get(options.metrics_port, "/proxyMode") == (200, b"nftables")
    assert (await get(options.metrics_port, "/nowhere"))[0] == 404


def test_modes_are_switched_on_a_running_node(tmp_path: Path) -> None:
    """The next mode's rules stand before the last one's are removed, and then only they are left."""

    async def scenario() -> None:
        async with running_apiserver() as config:
            client = Client(config)
            made = await client.create(SERVICES, service("web"))
            await client.create(ENDPOINT_SLICES, slice_("web", ["10.244.0.1"]))
            for mode in ("iptables", "nftables", "iptables"):
                options = ProxyOptions(node_name="node-1", node_ips=(NODE_IP,), config=config, mode=mode)
                async with running_proxy(options), asyncio.timeout(10):
                    while await modes_in_kernel(made["spec"]["clusterIP"]) != {mode}:
                        await asyncio.sleep(0.02)
            await client.close()

    in_a_network(tmp_path / "net", scenario)


@pytest.mark.parametrize(
    ("mode", "damage"),
    [
        ("nftables", "nft flush ruleset"),
        ("iptables", "iptables -t nat -F; iptables -t nat -X"),
        ("iptables", "iptables -t filter -F; iptables -t filter -X"),
        ("userspace", "nft flush ruleset"),
    ],
)
def test_what_others_remove_is_made_anew(tmp_path: Path, mode: str, damage: str) -> None:
    """Without any change of a Service; nobody has to restart the proxy."""

    async def scenario() -> None:
        async with running_apiserver() as config:
            client = Client(config)
            made = await client.create(SERVICES, service("web"))
            await client.create(ENDPOINT_SLICES, slice_("web", ["10.244.0.1"]))
            options = ProxyOptions(
                node_name="node-1", node_ips=(NODE_IP,), config=config, mode=mode, sync_period=0.1
            )  # fmt: skip
            async with running_proxy(options):
                rules = await until_it_stands(made["spec"]["clusterIP"])
                await command("sh", "-ec", damage)
                async with asyncio.timeout(10):
                    while await everything() != rules:
                        await asyncio.sleep(0.02)
            await client.close()

    in_a_network(tmp_path / "net", scenario)


async def until_it_stands(ip: str) -> str:
    """All rules, once they know the address and have come to rest."""
    async with asyncio.timeout(10):
        before, now = "", await everything()
        while ip not in now or now != before:
            await asyncio.sleep(0.1)
            before, now = now, await everything()
    return now


async def everything() -> str:
    """The rules of all tables, without what they count, in a fixed order."""
    text = await command("sh", "-c", "nft -s list ruleset; iptables-legacy-save 2>/dev/null")
    lines = [re.sub(r"\[\d+:\d+\]|handle \d+|numgen \S+", "", line) for line in text.splitlines() if line[:1] != "#"]
    return "\n".join(sorted(lines))


async def modes_in_kernel(ip: str) -> set[str]:
    """The modes that have rules for `ip`, or any chain."""
    found = set()
    ours = await command("nft", "list", "tables")
    if f"table ip {layout.TABLE}" in ours.splitlines():
        found.add("nftables")
    chains = await command("iptables-save")
    if ip in chains or "KUBE-" in chains:
        found.add("iptables")
    return found


async def command(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


def test_health_check_node_port_tells_of_local_endpoints(tmp_path: Path) -> None:
    """200 while this node has endpoints, 503 when it has none; the port closes with the Service."""

    async def scenario() -> None:
        async with running_apiserver() as config:
            client = Client(config)
            options = ProxyOptions(node_name="node-1", node_ips=(NODE_IP, "fd00:2::10"), config=config)
            async with running_proxy(options):
                spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32123}
                await client.create(SERVICES, service("lb", **spec))
                await client.create(ENDPOINT_SLICES, slice_("lb", ["10.244.0.1"]))
                await until_status(32123, 200)
                _, body = await get(32123, "/")
                assert msgspec.json.decode(body) == {
                    "service": {"namespace": "default", "name": "lb"},
                    "localEndpoints": 1,
                    "serviceProxyHealthy": True,
                }
                await until_status(32123, 200, "[::1]")
                assert (await get(options.healthz_port, "/healthz", "[::1]"))[0] == 200
                await client.update(ENDPOINT_SLICES, slice_("lb", ["10.244.1.1"], "node-2"))
                await until_status(32123, 503)
                await client.delete(SERVICES, "lb", "default")
                await until_status(32123, 0)
            await client.close()

    in_a_network(tmp_path / "net", scenario)


def test_node_ports_follow_the_addresses_that_they_are_restricted_to(tmp_path: Path) -> None:
    """An address that comes within nodePortAddresses serves, and answers health checks; one that goes does neither."""

    async def scenario() -> None:
        async with running_apiserver() as config:
            client = Client(config)
            options = ProxyOptions(
                node_name="node-1", node_ips=(NODE_IP,), config=config, node_port_addresses=("192.0.2.0/24",)
            )
            nft = Nft()
            served = lambda ip: bool(node_port_elements(nft, ip, 32080))  # noqa: E731
            async with running_proxy(options):
                ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 32080}]
                spec = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32123, "ports": ports}
                await client.create(SERVICES, service("lb", type="LoadBalancer", **spec))
                await client.create(ENDPOINT_SLICES, slice_("lb", ["10.244.0.1"]))
                await command("ip", "addr", "add", "192.0.2.7/32", "dev", "lo")
                await until(lambda: served("192.0.2.7"))
                assert not served(NODE_IP)
                await until_status(32123, 200, "192.0.2.7")
                await until_status(32123, 0, NODE_IP)
                await command("ip", "addr", "del", "192.0.2.7/32", "dev", "lo")
                await until(lambda: not served("192.0.2.7"))
            nft.close()
            await client.close()

    in_a_network(tmp_path / "net", scenario)


def node_port_elements(nft: Nft, ip: str, port: int) -> list[bytes]:
    key = keys.service_key(ip, "TCP", port)
    return [found for found, _ in nft.elements(4, layout.TABLE, layout.EXTERNAL_SERVICES) if found == key]


def test_a_labelled_service_is_left_alone_while_it_is_labelled(tmp_path: Path) -> None:
    """For another proxy, or headless: labels may come and go."""

    async def scenario() -> None:
        async with running_apiserver() as config:
            client = Client(config)
            nft = Nft()
            async with running_proxy(ProxyOptions(node_name="node-1", node_ips=(NODE_IP,), config=config)):
                made = await client.create(SERVICES, service("web"))
                await client.create(ENDPOINT_SLICES, slice_("web", ["10.244.0.1"]))
                ip = made["spec"]["clusterIP"]
                for label in ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"):
                    await until(lambda: targets_of(nft, ip, 1) == ["10.244.0.1 . 8080"])
                    await client.patch(SERVICES, "web", {"metadata": {"labels": {label: "other"}}}, "default")
                    await until(lambda: targets_of(nft, ip, 1) == [])
                    await client.patch(SERVICES, "web", {"metadata": {"labels": {label: None}}}, "default")
                await until(lambda: targets_of(nft, ip, 1) == ["10.244.0.1 . 8080"])
            nft.close()
            await client.close()

    in_a_network(tmp_path / "net", scenario)


async def until_status(port: int, wanted: int, host: str = "127.0.0.1") -> None:
    """Wait until a GET answers that; 0 means that nobody listens."""
    async with asyncio.timeout(10):
        while True:
            try:
                status, _ = await get(port, "/", host)
            except OSError:
                status = 0
            if status == wanted:
                return
            await asyncio.sleep(0.02)
