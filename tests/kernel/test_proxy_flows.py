"""Real packets through every proxy mode: the table of support/proxycases.py, distribution, affinity, restart."""

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from sampan.api.core_v1 import ServicePort
from sampan.kernel.conntrack import Conntrack
from sampan.proxy.backends.interface import Counting
from sampan.proxy.backends.registry import BACKENDS
from support.proxyatwork import FAMILIES, Proxy, at_work
from support.proxycases import (
    CASES,
    DRAINING,
    DROPPED,
    EVERYWHERE,
    KEPT,
    LOCAL,
    REFUSED,
    SOURCE_LOST,
    Case,
    address,
)
from support.proxyworld import ADDRESSES, World, has_sctp, world

pytestmark = pytest.mark.kernel

TRIES = 40
PAUSE_SECONDS = 0.02
"""Between requests while a proxy starts: a machine with one slow processor has something else to do, too."""
TOTAL_RETRANSMISSIONS = 100
"""Where tcpi_total_retrans stands in struct tcp_info (linux/tcp.h)."""


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module", params=list(BACKENDS))
def proxy(request: pytest.FixtureRequest, the_world: World) -> Iterator[Proxy]:
    with at_work(request.param, the_world) as made:
        yield made


def flows() -> list[tuple[Case, int]]:
    return [(case, family) for case in CASES for family in case.families]


@pytest.mark.parametrize(("case", "family"), flows(), ids=lambda value: getattr(value, "name", f"IPv{value}"))
def test_flow(proxy: Proxy, case: Case, family: int) -> None:
    """Every client gets to exactly the endpoints it should, seen under the right address, or is turned away."""
    if proxy.mode in case.not_in:
        pytest.skip(case.not_in[proxy.mode])
    if case.protocol == "SCTP" and not has_sctp():
        pytest.skip("this kernel has no SCTP")
    proxy.show(case, family)
    target = address(case, family)
    if case.expect == REFUSED:
        with pytest.raises(ConnectionRefusedError):
            proxy.world.ask(case.client, target, case.protocol)
        return
    if case.expect == DROPPED:
        with pytest.raises(TimeoutError):
            proxy.world.ask(case.client, target, case.protocol, timeout=0.3)
        return
    seen = Counter[tuple[str, str]]()
    while len(seen) < len(case.expect) and seen.total() < TRIES:
        seen[proxy.world.ask(case.client, target, case.protocol)] += 1
    assert {who for who, _ in seen} == set(case.expect)
    client = ADDRESSES[case.client][family]
    kept = case.source == KEPT and proxy.mode not in SOURCE_LOST
    if kept:
        assert {source for _, source in seen} == {client}
    elif case.source:
        assert client not in {source for _, source in seen}


def test_connections_are_spread_evenly(proxy: Proxy) -> None:
    """Chi-squared with two degrees of freedom stays below 20: chance alone exceeds that once in 20,000 runs."""
    proxy.show(Case("even", "pod", "cluster-ip"))
    seen = Counter(proxy.world.ask("pod", ("10.96.0.50", 80))[0] for _ in range(600))
    assert set(seen) == set(EVERYWHERE)
    assert sum((count - 200) ** 2 / 200 for count in seen.values()) < 20


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("destination", ["cluster-ip", "node-port"])
def test_client_ip_affinity_keeps_a_client_with_its_endpoint(proxy: Proxy, destination: str, family: int) -> None:
    """Fifteen connections reach one endpoint; when it goes, another; when affinity goes, all of them."""
    sticky = Case("sticky", "outside", destination, spec={"session_affinity": "ClientIP"})
    target = address(sticky, family)
    proxy.show(sticky, family)
    first = {proxy.world.ask("outside", target)[0] for _ in range(15)}
    assert len(first) == 1
    rest = tuple(who for who in EVERYWHERE if who not in first)
    proxy.show(Case("fewer", "outside", destination, endpoints=rest, spec=sticky.spec), family)
    second = {proxy.world.ask("outside", target)[0] for _ in range(15)}
    assert len(second) == 1
    assert second < set(rest)
    proxy.show(sticky, family)
    assert {proxy.world.ask("outside", target)[0] for _ in range(15)} == second
    proxy.show(Case("free", "outside", destination), family)
    assert len({proxy.world.ask("outside", target)[0] for _ in range(40)}) == 3


def test_removed_service_is_no_longer_answered(proxy: Proxy) -> None:
    """A cluster IP that is gone belongs to nobody: packets leave the node unchanged, and other Services stay."""
    proxy.show(Case("here", "pod", "cluster-ip"))
    assert proxy.world.ask("pod", ("10.96.0.50", 80))
    proxy.forget()
    with pytest.raises(OSError):
        proxy.world.ask("pod", ("10.96.0.50", 80), timeout=0.3)
    proxy.forget_attempts()


def test_unallocated_cluster_ip_is_dropped(proxy: Proxy) -> None:
    """What goes to an address of the Services' network that no Service has does not leave the node."""
    if proxy.mode != "nftables":
        pytest.skip("as upstream's, only the nftables mode knows the Services' network")
    proxy.show(Case("other", "pod", "cluster-ip"))
    unallocated = ("10.96.77.77", 80)
    assert proxy.world.count_leaving(unallocated[0]) == 0
    with pytest.raises(OSError):
        proxy.world.ask("pod", unallocated, timeout=0.3)
    leaving = proxy.world.count_leaving(unallocated[0])
    proxy.tracker.set_service_cidrs(["10.96.0.0/12", "fd00:96::/108"])
    assert proxy.world.on_node(proxy.syncer.sync)
    with pytest.raises(TimeoutError):
        proxy.world.ask("pod", unallocated, timeout=0.3)
    assert proxy.world.count_leaving(unallocated[0]) == leaving > 0
    assert proxy.world.ask("pod", ("10.96.0.50", 80))
    proxy.tracker.set_service_cidrs([])
    assert proxy.world.on_node(proxy.syncer.sync)


def test_connections_and_bytes_are_counted_for_each_service_port(proxy: Proxy) -> None:
    """At every address, in both directions. In the kernel, neither changes nor a restart touch what was counted."""
    if not isinstance(proxy.backends[4], Counting):
        pytest.skip("what this mode has in the kernel does not count")
    case = Case("counted", "pod", "cluster-ip")
    proxy.forget()
    proxy.show(case)
    for target in [address(Case("", "pod", to), 4) for to in ("cluster-ip", "node-port", "external-ip")]:
        with proxy.world.connect("pod", target) as sock:
            sock.sendall(b"x" * 150)
            sock.recv(100)
    assert_counted(proxy)
    proxy.show(Case("fewer", "pod", "cluster-ip", endpoints=LOCAL))
    if proxy.mode in ("nftables", "iptables"):
        proxy.start()
        proxy.show(case)
    assert_counted(proxy)


def assert_counted(proxy: Proxy) -> None:
    """Three connections with 150 bytes each, sooner or later: who relays may count a little after it relayed."""
    deadline = time.monotonic() + 5
    while True:
        (count,) = proxy.world.on_node(proxy.syncer.counts).values()
        moved = count.bytes or 0
        if (count.connections == 3 and 3 * 150 < moved < 10_000) or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert count.connections == 3
    assert 3 * 150 < moved < 10_000


def test_tcp_and_udp_on_one_port_are_independent(proxy: Proxy) -> None:
    """Removing one protocol's port leaves the other working."""
    both = (
        ServicePort(name="web", protocol="TCP", port=80, node_port=30080),
        ServicePort(name="web", protocol="UDP", port=80, node_port=30080),
    )
    tcp = Case("both", "pod", "cluster-ip", spec={"ports": both})
    udp = Case("both", "pod", "cluster-ip", spec={"ports": both}, protocol="UDP")
    proxy.show(tcp)
    with pytest.raises(ConnectionRefusedError):
        proxy.world.ask("pod", ("10.96.0.50", 80), "UDP")
    proxy.show(udp)
    assert proxy.world.ask("pod", ("10.96.0.50", 80), "UDP")
    with pytest.raises(ConnectionRefusedError):
        proxy.world.ask("pod", ("10.96.0.50", 80))


def test_udp_client_follows_when_its_endpoint_goes(proxy: Proxy) -> None:
    """A client that never stops sending from one socket is sent to another endpoint, because its flow is forgotten."""
    proxy.show(Case("one", "pod", "cluster-ip", endpoints=("local-1",), protocol="UDP"))
    with proxy.world.connect("pod", ("10.96.0.50", 80), "UDP") as sock:
        assert proxy.world.ask_again(sock)[0] == "local-1"
        proxy.show(Case("other", "pod", "cluster-ip", endpoints=("local-2",), protocol="UDP"))
        assert proxy.world.ask_again(sock)[0] == "local-2"
        proxy.show(Case("both", "pod", "cluster-ip", endpoints=("local-1", "local-2"), protocol="UDP"))
        assert proxy.world.ask_again(sock)[0] == "local-2", "a flow whose endpoint is still there is left alone"
    assert proxy.world.inside("node", lambda: list(_flows("UDP")))


def _flows(protocol: str) -> list[str]:
    tracking = Conntrack()
    with contextlib.closing(tracking):
        return [flow.backend for flow in tracking.flows(4, protocol)]


def test_udp_client_reaches_a_service_that_had_no_endpoint(proxy: Proxy) -> None:
    """What was refused before is answered as soon as there is an endpoint, from the same socket."""
    proxy.show(Case("none", "pod", "external-ip", endpoints=(), protocol="UDP"))
    target = ("198.51.100.7", 80)
    with proxy.world.connect("pod", target, "UDP") as sock:
        sock.send(b"anyone?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)
        proxy.show(Case("some", "pod", "external-ip", protocol="UDP"))
        assert proxy.world.ask_again(sock)[0] in EVERYWHERE


def test_udp_flow_from_before_the_service_is_forgotten(proxy: Proxy) -> None:
    """A flow that began when the address was nobody's does not keep a new Service from its client."""
    proxy.forget()
    with proxy.world.connect("pod", ("10.96.0.50", 80), "UDP", timeout=0.3) as sock:
        sock.send(b"anyone?")
        with pytest.raises(OSError):
            sock.recv(100)
        proxy.show(Case("some", "pod", "cluster-ip", protocol="UDP"))
        sock.settimeout(2)
        assert proxy.world.ask_again(sock)[0] in EVERYWHERE


def test_established_connection_survives_the_endpoints_draining(proxy: Proxy) -> None:
    """Changes concern new connections only."""
    proxy.show(Case("one", "pod", "cluster-ip", endpoints=("local-1",)))
    with proxy.world.connect("pod", ("10.96.0.50", 80)) as sock:
        assert proxy.world.ask_again(sock)[0] == "local-1"
        proxy.show(Case("draining", "pod", "cluster-ip", conditions={"local-1": DRAINING}))
        assert proxy.world.ask_again(sock)[0] == "local-1"


def test_restart_loses_nothing(proxy: Proxy) -> None:
    """A proxy that starts anew repairs the rules, and meanwhile no packet has to be sent twice."""
    case = Case("steady", "pod", "cluster-ip")
    proxy.show(case)

    async def restart_under_load() -> int:
        asked = 0
        done = asyncio.Event()

        async def ask() -> None:
            nonlocal asked
            while not done.is_set():
                assert await asyncio.to_thread(retransmissions, proxy.world) == 0
                asked += 1
                await asyncio.sleep(PAUSE_SECONDS)

        clients = [asyncio.create_task(ask()) for _ in range(3)]
        for _ in range(5):
            proxy.start()
            await asyncio.to_thread(proxy.show, case)
        done.set()
        await asyncio.gather(*clients)
        return asked

    assert asyncio.run(restart_under_load()) > 5


def retransmissions(where: World) -> int:
    """How many packets of one connection and its question had to be sent again."""
    with where.connect("pod", ("10.96.0.50", 80), timeout=20) as sock:
        where.ask_again(sock)
        information = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", information, TOTAL_RETRANSMISSIONS)[0])


def test_cleanup_leaves_nothing(proxy: Proxy) -> None:
    """After cleanup the kernel has none of the mode's objects, and cleaning up again is no error."""
    proxy.show(Case("here", "pod", "cluster-ip"))
    for backend in proxy.backends.values():
        proxy.world.on_node(backend.cleanup)
        proxy.world.on_node(backend.cleanup)
    left = proxy.world.sh("node", "nft list tables; iptables-save; ip6tables-save")
    assert "sampan" not in left
    assert "KUBE-" not in left
    with pytest.raises(OSError):
        proxy.world.ask("pod", ("10.96.0.50", 80), timeout=0.3)
    proxy.forget_attempts()
    proxy.start()
