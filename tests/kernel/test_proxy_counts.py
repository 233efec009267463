"""What is counted for each Service, with real packets in every mode and both variants of iptables."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.proxy.backends.accounting import TABLE
from sampan.proxy.backends.interface import Count, RuleCounting
from sampan.proxy.backends.registry import BACKENDS
from support.iptablesvariants import COMMANDS, LEGACY, choose
from support.proxyatwork import FAMILIES, Proxy, at_work
from support.proxycases import CLUSTER_IP, NODE_PORT, Case, address
from support.proxyworld import NODE, World, world

pytestmark = pytest.mark.kernel

IPTABLES = ("iptables", LEGACY)
PAYLOAD = 150
LARGE = 100_000
GATEWAY = "10.244.0.1"
"""An address of the node that is no Node's address."""


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        made.serve("node", 4, "TCP")
        yield made


@pytest.fixture(params=[*BACKENDS, LEGACY])
def proxy(
    request: pytest.FixtureRequest, the_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    with at_work(choose(request.param, tmp_path, monkeypatch), the_world) as made:
        yield made


iptables_only = pytest.mark.parametrize("proxy", IPTABLES, indirect=True)


def counted(proxy: Proxy, connections: int, at_least: int) -> Count:
    """The Service's count, as soon as it has so many: who relays may count a little after it relayed."""
    deadline = time.monotonic() + 5
    while True:
        found = list(proxy.world.on_node(proxy.syncer.counts).values())
        count = found[0] if found else Count(0, 0)
        enough = count.connections >= connections and (count.bytes is None or count.bytes >= at_least)
        if enough or time.monotonic() > deadline:
            return count
        time.sleep(0.02)


def exchange(proxy: Proxy, client: str, target: tuple[str, int], protocol: str = "TCP", size: int = PAYLOAD) -> None:
    with proxy.world.connect(client, target, protocol) as sock:
        sock.sendall(b"x" * size)
        sock.recv(100)


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_address_of_a_service_counts(proxy: Proxy, family: int, protocol: str) -> None:
    """From pods, the node and outside alike; changes of endpoints lose nothing; a Service that goes takes its own."""
    case = Case("counted", "pod", "cluster-ip", protocol=protocol)
    proxy.show(case, family)
    asked = [
        ("pod", "cluster-ip"), ("node", "cluster-ip"), ("outside", "node-port"), ("pod", "node-port"),
        ("outside", "external-ip"), ("outside", "load-balancer"),
    ]  # fmt: skip
    for client, destination in asked:
        exchange(proxy, client, address(Case("", client, destination), family), protocol)
    proxy.show(Case("fewer", "pod", "cluster-ip", endpoints=("local-1",), protocol=protocol), family)
    exchange(proxy, "pod", address(case, family), protocol)
    total = len(asked) + 1
    count = counted(proxy, total, total * PAYLOAD)
    assert count.connections == total
    assert count.bytes is not None
    assert total * PAYLOAD <= count.bytes < total * 1000
    proxy.forget()
    assert proxy.world.on_node(proxy.syncer.counts) == {}


def test_what_stays_on_the_node_is_counted_once(proxy: Proxy) -> None:
    """Packets from the node to an endpoint that is the node itself leave it and enter it in one."""
    proxy.show(Case("host network", "node", "cluster-ip", endpoints=("node",)))
    with proxy.world.connect("node", (CLUSTER_IP[4], 80)) as client:
        client.sendall(b"x" * LARGE)
        count = counted(proxy, 1, LARGE)
    assert count.connections == 1
    assert LARGE <= (count.bytes or 0) < LARGE * 3 // 2


@iptables_only
def test_counting_shows_in_no_listing_of_iptables(proxy: Proxy) -> None:
    """What documentation shows of the chains is all there is, in either variant's listing."""
    proxy.show(Case("shown", "pod", "cluster-ip"))
    for command in ("iptables-save", "ip6tables-save"):
        listed = proxy.world.sh("node", f"{command} 2>&1")
        assert TABLE not in listed
        assert "incompatible" not in listed
        assert all("KUBE-" in line for line in listed.splitlines() if line.startswith("-A"))


@iptables_only
def test_the_number_of_rules_is_told(proxy: Proxy) -> None:
    """In all, and how many a sync has written: what is told equals what iptables lists, after every change."""
    for endpoints, fewer in ((("local-1",), False), (("local-1", "local-2", "remote"), True), ((), True)):
        proxy.show(Case("told", "pod", "cluster-ip", endpoints=endpoints))
        backend = proxy.backends[4]
        assert isinstance(backend, RuleCounting)
        for table, told in backend.rule_counts.items():
            listed = proxy.world.sh("node", f"iptables-save -t {table}").splitlines()
            assert told.total == len([line for line in listed if line.startswith("-A")]), table
            assert told.written < told.total if fewer else told.written == told.total


@iptables_only
def test_a_node_port_counts_at_every_address_that_serves_it(proxy: Proxy) -> None:
    proxy.show(Case("node port", "pod", "node-port"))
    for ip in (GATEWAY, NODE[4]):
        exchange(proxy, "pod", (ip, NODE_PORT))
    assert counted(proxy, 2, 2 * PAYLOAD).connections == 2


@iptables_only
def test_counting_begins_anew_when_somebody_removed_it(proxy: Proxy) -> None:
    """With the next change; what the rules do is not disturbed."""
    proxy.show(Case("first", "pod", "cluster-ip"))
    proxy.world.sh("node", f"nft delete table ip {TABLE}")
    exchange(proxy, "pod", (CLUSTER_IP[4], 80))
    proxy.show(Case("second", "pod", "cluster-ip", spec={"external_ips": ("198.51.100.8",)}))
    exchange(proxy, "pod", (CLUSTER_IP[4], 80))
    assert counted(proxy, 1, PAYLOAD).connections == 1


@iptables_only
def test_without_nftables_connections_are_counted_and_no_bytes_shown(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mode works as it does on a kernel or machine that has iptables only, and says once what is missing."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in COMMANDS:
        (bare / name).symlink_to(proxy.world.sh("node", f"readlink -f $(command -v {name})").strip())
    with monkeypatch.context() as without:
        without.setenv("PATH", str(bare))
        proxy.start()
        proxy.show(Case("bare", "pod", "cluster-ip"))
        proxy.show(Case("changed", "pod", "cluster-ip", endpoints=("local-1",)))
        for _ in range(2):
            exchange(proxy, "pod", (CLUSTER_IP[4], 80))
        assert proxy.world.on_node(proxy.syncer.counts) != {}
        (count,) = proxy.world.on_node(proxy.syncer.counts).values()
    assert count == Count(2, None)
    assert len([each for each in caplog.messages if "bytes of Services are not counted" in each]) == len(FAMILIES)
