"""The ipvs mode on a real kernel. Where this machine's has no IPVS, all of it runs in user-mode-linux."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.client.config import Config
from sampan.kernel import ipvs
from sampan.kernel.ipvs import SCHEDULERS, Command, Ipvs, Key, Real, Verb
from sampan.proxy.backends.interface import BackendError, Count
from sampan.proxy.backends.ipvs.backend import IpvsBackend
from sampan.proxy.backends.ipvs.kernel import Kernel
from sampan.proxy.backends.ipvs.ledger import Ledger
from sampan.proxy.backends.ipvs.pieces import Node
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.metrics import Metrics
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import ServicePortName, State
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker
from support import uml
from support.proxycases import EVERYWHERE, HERE, Case, address, service, slice_
from support.proxyobjects import EVENTS, feed, tracker
from support.proxyworld import NODE, World, world

pytestmark = pytest.mark.kernel

needs_ipvs = pytest.mark.skipif(not ipvs.loaded(), reason="this kernel has no IPVS")
CLUSTER_IP = Key("TCP", "10.96.0.50", 80)
SECONDS = 720.0
FRESH_STARTS = 12
"""Without the wait for the kernel, two of five IPv6 starts fail: one in 500 runs would not see it."""


@pytest.mark.guest(
    *(f"tests/kernel/test_proxy_{each}.py" for each in ("ipvs", "flows", "lasting_flows", "matrix", "churn")),
    "tests/golden/test_proxy_golden.py", "-k", "ipvs or (iptables and SCTP)", seconds=SECONDS,
)  # fmt: skip
def test_everything_about_ipvs_holds_on_a_kernel_that_has_it(guest: uml.Outcome) -> None:
    """The packet flows that every mode must show, singly and all combinations, golden files, churn, what follows.

    And SCTP in the iptables mode: the kernel there has that, too.
    """
    assert guest.status == 0, guest.output
    assert " passed" in guest.output
    assert "no SCTP" not in guest.output


def options(**more: object) -> ProxyOptions:
    chosen = {"mode": "ipvs", "cluster_cidr": "10.244.0.0/16,fd00:244::/32", **more}
    return ProxyOptions(
        node_name=HERE, node_ips=tuple(NODE.values()), config=Config(server="https://unused"), **chosen  # type: ignore[arg-type]
    )  # fmt: skip


def state(case: Case, family: int = 4) -> State:
    tracking = Tracker(HERE, (family,), tuple(NODE.values()))
    tracking.service_changed(None, service(case, family))
    tracking.slice_changed(None, slice_(case, family))
    return tracking.take()[family].state


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def backend(the_world: World) -> Iterator[IpvsBackend]:
    made = IpvsBackend(options(), 4)
    yield made
    the_world.on_node(made.cleanup)
    made.close()


def show(where: World, backend: IpvsBackend, case: Case) -> None:
    where.on_node(lambda: backend.apply(state(case), None))


EVERY = Case("every", "pod", "cluster-ip")
ONE = Case("one", "pod", "cluster-ip", endpoints=("local-1",))
OTHER = Case("other", "pod", "cluster-ip", endpoints=("local-2",))


@needs_ipvs
def test_ipvsadm_and_ip_show_what_documentation_prints(the_world: World, backend: IpvsBackend) -> None:
    """Round robin, Masq with weight 1, and the addresses on a device that is down and answers no ARP."""
    show(the_world, backend, EVERY)
    listed = the_world.sh("node", "ipvsadm -Ln")
    assert "TCP  10.96.0.50:80 rr" in listed
    assert "-> 10.244.0.11:8080             Masq    1" in listed
    device = the_world.sh("node", "ip addr show kube-ipvs0")
    assert "<BROADCAST,NOARP>" in device
    assert "state DOWN" in device
    assert "inet 10.96.0.50/32 scope global kube-ipvs0" in device


@needs_ipvs
def test_a_cluster_ip_answers_ping(the_world: World, backend: IpvsBackend) -> None:
    """The address is the node's own; other modes refuse, as documentation of Services says."""
    show(the_world, backend, EVERY)
    with the_world.inside("pod", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as pinger:
        pinger.settimeout(2)
        pinger.sendto(bytes.fromhex("0800f7fe00010000"), ("10.96.0.50", 0))
        assert pinger.recv(100)[20] == 0


@needs_ipvs
@pytest.mark.parametrize("family", [4, 6])
def test_a_service_works_from_the_moment_that_a_sync_ends(the_world: World, family: int) -> None:
    """A first datagram that went elsewhere would leave a conntrack entry that breaks its whole flow."""
    backend = IpvsBackend(options(), family)
    case = Case("datagrams", "pod", "cluster-ip", protocol="UDP")
    wanted, nothing = state(case, family), Tracker(HERE, (family,), tuple(NODE.values())).take()[family].state
    for _ in range(FRESH_STARTS):
        the_world.on_node(lambda: backend.apply(wanted, None))
        assert the_world.ask("pod", address(case, family), "UDP", timeout=3.0)[0] in EVERYWHERE
        the_world.on_node(lambda: backend.apply(nothing, None))
    the_world.on_node(backend.cleanup)
    backend.close()


@needs_ipvs
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_can_be_chosen(the_world: World, scheduler: str) -> None:
    """Also by a proxy that starts where another was used before."""
    backend = IpvsBackend(options(ipvs_scheduler=scheduler), 4)
    assert the_world.inside("node", backend.is_supported) == ""
    show(the_world, backend, EVERY)
    assert f"TCP  10.96.0.50:80 {scheduler}" in the_world.sh("node", "ipvsadm -Ln")
    assert the_world.ask("pod", ("10.96.0.50", 80))[0] in EVERYWHERE
    backend.close()


@needs_ipvs
def test_an_unknown_scheduler_is_refused_with_its_name(the_world: World) -> None:
    backend = IpvsBackend(options(ipvs_scheduler="fair"), 4)
    assert "fair" in the_world.inside("node", backend.is_supported)


@needs_ipvs
def test_connections_of_a_removed_endpoint_end_in_peace(the_world: World, backend: IpvsBackend) -> None:
    """Its weight is 0 while it is connected, new connections go elsewhere, and then it is gone."""
    show(the_world, backend, ONE)
    with the_world.connect("pod", ("10.96.0.50", 80)) as sock:
        assert the_world.ask_again(sock)[0] == "local-1"
        show(the_world, backend, OTHER)
        assert the_world.ask_again(sock)[0] == "local-1"
        assert {the_world.ask("pod", ("10.96.0.50", 80))[0] for _ in range(4)} == {"local-2"}
        assert reals(the_world)[Real("10.244.0.11", 8080)] == 0
    the_world.sh("node", "ipvsadm --set 0 1 0")
    with the_world.connect("pod", ("10.96.0.50", 80)) as sock:
        the_world.ask_again(sock)
    show(the_world, backend, ONE)
    show(the_world, backend, OTHER)
    assert reals(the_world)[Real("10.244.0.12", 8080)] == 1


def reals(where: World) -> dict[Real, int]:
    def listed() -> dict[Real, int]:
        kernel = Ipvs()
        found = {real: each.weight for real, each in kernel.reals(CLUSTER_IP).items()}
        kernel.close()
        return found

    return where.inside("node", listed)


@needs_ipvs
def test_what_is_not_ours_is_left_alone(the_world: World, backend: IpvsBackend) -> None:
    """Virtual servers, sets and rules of others survive repair and cleanup."""
    the_world.sh("node", "ipvsadm -A -t 192.0.2.1:80 -s rr; ipset create OTHERS hash:ip; iptables -N OTHERS")
    show(the_world, backend, EVERY)
    the_world.on_node(backend.cleanup)
    assert "192.0.2.1:80" in the_world.sh("node", "ipvsadm -Ln")
    assert the_world.sh("node", "ipset list -n").split() == ["OTHERS"]
    assert "OTHERS" in the_world.sh("node", "iptables-save")
    assert "kube-ipvs0" not in the_world.sh("node", "ip link")
    the_world.sh("node", "ipvsadm -D -t 192.0.2.1:80; ipset destroy OTHERS; iptables -X OTHERS")


@needs_ipvs
def test_virtual_servers_in_excluded_networks_are_left_alone(the_world: World) -> None:
    """Even at an address of ours, through repair and cleanup; those of Services there are made all the same."""
    backend = IpvsBackend(options(ipvs_exclude_cidrs=("10.96.0.0/24",)), 4)
    the_world.sh("node", "ipvsadm -A -t 10.96.0.50:99 -s lc; ipvsadm -A -t 10.96.1.50:99 -s lc")
    the_world.sh("node", "ip link add kube-ipvs0 type dummy; ip addr add 10.96.1.50/32 dev kube-ipvs0")
    show(the_world, backend, EVERY)
    listed = the_world.sh("node", "ipvsadm -Ln")
    assert "TCP  10.96.0.50:80 rr" in listed
    assert "TCP  10.96.0.50:99 lc" in listed
    assert "10.96.1.50:99" not in listed
    the_world.on_node(backend.cleanup)
    backend.close()
    assert "TCP  10.96.0.50:99 lc" in the_world.sh("node", "ipvsadm -Ln")
    the_world.sh("node", "ipvsadm -C")


@needs_ipvs
def test_a_repair_mends_what_others_broke(the_world: World, backend: IpvsBackend) -> None:
    show(the_world, backend, EVERY)
    the_world.sh(
        "node",
        "ipvsadm -C; ipvsadm -A -t 10.96.0.50:99 -s lc; ipset flush KUBE-CLUSTER-IP; iptables -t nat -F KUBE-SERVICES;"
        " iptables -F INPUT; ip addr flush dev kube-ipvs0; ip addr add 10.96.9.9/32 dev kube-ipvs0",
    )
    show(the_world, backend, EVERY)
    assert the_world.inside("node", lambda: matches(state(EVERY)))
    assert {the_world.ask("pod", ("10.96.0.50", 80))[0] for _ in range(6)} == set(EVERYWHERE)


@needs_ipvs
@pytest.mark.parametrize("damage", ["ipvsadm -C", "iptables -t nat -F", "iptables -F", "ip link delete kube-ipvs0"])
def test_what_others_have_removed_is_noticed(the_world: World, backend: IpvsBackend, damage: str) -> None:
    show(the_world, backend, EVERY)
    assert the_world.on_node(backend.is_intact)
    the_world.sh("node", damage)
    assert not the_world.on_node(backend.is_intact)
    show(the_world, backend, EVERY)
    assert the_world.on_node(backend.is_intact)


@needs_ipvs
@pytest.mark.parametrize("step", [1, 2])
def test_a_failed_sync_is_repaired_by_the_next(the_world: World, backend: IpvsBackend, step: int) -> None:
    """Something took a real server away behind our back: the kernel refuses, and the repair finds out."""
    show(the_world, backend, EVERY)
    tracking = Tracker(HERE, (4,), tuple(NODE.values()))
    tracking.service_changed(None, service(ONE, 4))
    tracking.slice_changed(None, slice_(ONE, 4))
    taken = tracking.take()[4]
    the_world.sh("node", "ipvsadm -D -t 10.96.0.50:80")
    with pytest.raises(BackendError):
        the_world.on_node(lambda: backend.apply(taken.state, taken.changes))
    for _ in range(step):
        show(the_world, backend, ONE)
    assert {the_world.ask("pod", ("10.96.0.50", 80))[0] for _ in range(3)} == {"local-1"}


@needs_ipvs
def test_established_connections_survive_a_change_of_mode_by_way_of_ipvs(the_world: World) -> None:
    """To iptables and back: connections of either mode go on, new ones are served, and only one mode's rules stand."""
    made = {mode: BACKENDS[mode](options(mode=mode), 4) for mode in ("ipvs", "iptables")}
    connections = []
    before = None
    for mode in ("iptables", "ipvs", "iptables", "ipvs"):
        the_world.on_node(lambda mode=mode: made[mode].apply(state(EVERY), None))
        if before is not None:
            the_world.on_node(made[before].cleanup)
        connections.append(the_world.connect("pod", ("10.96.0.50", 80)))
        for sock in connections:
            assert the_world.ask_again(sock)[0] in EVERYWHERE, mode
        assert {the_world.ask("pod", ("10.96.0.50", 80))[0] for _ in range(30)} == set(EVERYWHERE)
        rules = the_world.sh("node", "iptables-save")
        assert ("KUBE-SEP-" in rules) == (mode == "iptables")
        assert ("KUBE-IPVS-FILTER" in rules) == (mode == "ipvs")
        before = mode
    for sock in connections:
        sock.close()
    for backend in made.values():
        the_world.on_node(backend.cleanup)
        backend.close()


@needs_ipvs
def test_cleanup_waits_for_connections_and_then_leaves_nothing(the_world: World, backend: IpvsBackend) -> None:
    show(the_world, backend, EVERY)
    with the_world.connect("pod", ("10.96.0.50", 80)) as sock:
        the_world.ask_again(sock)
        the_world.on_node(backend.cleanup)
        assert "KUBE-" not in the_world.sh("node", "iptables-save")
        assert the_world.ask_again(sock)[0] in EVERYWHERE
        with pytest.raises(OSError):
            the_world.ask("pod", ("10.96.0.50", 80), timeout=0.3)
    the_world.on_node(lambda: until_clean(backend))
    assert the_world.sh("node", "ipset list -n; ipvsadm -Sn; ip -o link show type dummy") == ""


async def until_clean(backend: IpvsBackend) -> None:
    async with asyncio.timeout(10):
        while not await backend._remove():
            await asyncio.sleep(0.05)


@needs_ipvs
@settings(max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(lives=st.lists(EVENTS, min_size=2, max_size=5))
def test_whatever_happens_the_kernel_ends_as_a_fresh_start_would_make_it(the_world: World, lives: list[Any]) -> None:
    """Random events, the proxy killed and started again, both families: nothing is left over or missing."""
    tracking, known = tracker(), {}
    for events in lives:
        syncer = Syncer(tracking, {family: IpvsBackend(options(), family) for family in (4, 6)}, Metrics())
        for event in events:
            feed(tracking, known, event)
            assert the_world.on_node(syncer.sync)
        assert the_world.on_node(syncer.sync)
        the_world.inside("node", syncer.close)
    for outcome in tracking.take().values():
        assert the_world.inside("node", lambda outcome=outcome: matches(outcome.state))
    for family in (4, 6):
        cleaner = IpvsBackend(options(), family)
        the_world.on_node(cleaner.cleanup)
        cleaner.close()


def matches(wanted: State) -> bool:
    """Whether the kernel holds exactly what that state needs; draining real servers do not count."""
    ledger = Ledger.of(wanted, Node(wanted.node_ips))
    kernel = Kernel(wanted.family, wanted.node_ips)
    found = {
        key: (made, frozenset(real for real, each in kernel.ipvs.reals(key).items() if each.weight))
        for key, made in kernel.ipvs.services(wanted.family).items()
    }
    assert found == ledger.servers
    assert kernel.device.addresses() == ledger.addresses
    assert kernel.entries() == ledger.entries
    kernel.close()
    return True


@needs_ipvs
def test_commands_are_refused_with_their_object(the_world: World) -> None:
    def refused() -> str:
        kernel = Ipvs()
        try:
            kernel.execute([Command(Verb.ADD_REAL, Key("TCP", "192.0.2.9", 1), real=Real("192.0.2.10", 2))])
        except OSError as error:
            return str(error)
        finally:
            kernel.close()
        return ""

    assert "add real 192.0.2.10 port 2 of TCP 192.0.2.9 port 1" in the_world.inside("node", refused)


@needs_ipvs
def test_connections_and_bytes_are_counted_for_each_service(the_world: World, backend: IpvsBackend) -> None:
    """The kernel adds up every two seconds."""
    show(the_world, backend, EVERY)
    before = counted(the_world, backend)
    for target in (("10.96.0.50", 80), (NODE[4], 30080), ("198.51.100.7", 80)):
        the_world.ask("pod", target)
    deadline = time.monotonic() + 10
    while counted(the_world, backend)[0] < before[0] + 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    after = counted(the_world, backend)
    assert after[0] - before[0] == 3
    assert after[1] - before[1] > 600


def counted(where: World, backend: IpvsBackend) -> tuple[int, int]:
    async def listed() -> list[tuple[ServicePortName, Count]]:
        return [each async for each in backend.counts()]

    found = where.on_node(listed)
    assert {str(name) for name, _ in found} == {"default/web:web"}
    return sum(count.connections for _, count in found), sum(count.bytes for _, count in found)


@needs_ipvs
def test_timeouts_are_set_and_zero_keeps(the_world: World) -> None:
    backend = IpvsBackend(options(ipvs_timeouts=(1000, 0, 77)), 4)
    show(the_world, backend, EVERY)

    def timeouts() -> tuple[int, int, int]:
        kernel = Ipvs()
        found = kernel.timeouts()
        kernel.close()
        return found

    tcp, _, udp = the_world.inside("node", timeouts)
    assert (tcp, udp) == (1000, 77)
    the_world.on_node(backend.cleanup)
    backend.close()
