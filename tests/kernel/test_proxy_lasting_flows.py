"""Flows that last while endpoints drain, rules are lost and syncs fail; and Services that claim others' addresses."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from sampan.api.core_v1 import Service, ServicePort, ServiceSpec
from sampan.api.discovery_v1 import EndpointPort
from sampan.api.meta_v1 import ObjectMeta
from sampan.kernel.nft import Nft
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from sampan.proxy.state import State
from sampan.proxy.tracker import Changes
from support.proxyatwork import FAMILIES, Proxy, at_work
from support.proxycases import CLUSTER_IP, DRAINING, EVERYWHERE, EXTERNAL_IP, NODE_PORT, READY, ZONE, Case, slice_
from support.proxyworld import ADDRESSES, NODE, PORT, World, world

pytestmark = pytest.mark.kernel

FLUSHES = {
    "nftables": "nft flush ruleset",
    "userspace": "nft flush ruleset",
    "iptables": "iptables -t nat -F; iptables -t nat -X; iptables -F; iptables -X",
    "ipvs": "ipvsadm -C",
}


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module", params=list(BACKENDS))
def proxy(request: pytest.FixtureRequest, the_world: World) -> Iterator[Proxy]:
    with at_work(request.param, the_world) as made:
        yield made


def udp(*endpoints: str, **conditions: object) -> Case:
    return Case("", "pod", "cluster-ip", endpoints=endpoints, protocol="UDP", **conditions)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "then",
    [
        udp("local-1", "local-2", conditions={"local-1": DRAINING}),
        udp("local-1", "local-2", hints={"local-1": "zone-b", "local-2": ZONE}),
    ],
    ids=["its endpoint drains", "hints prefer another endpoint"],
)
def test_a_udp_flow_keeps_an_endpoint_that_still_serves(proxy: Proxy, then: Case) -> None:
    """New flows go elsewhere; those that are under way stay, as pkg/proxy/conntrack/cleanup.go has it.

    In mode ipvs they move: a UDP real server is deleted at once, as upstream's graceful termination has it.
    """
    if proxy.mode == "ipvs":
        pytest.skip("IPVS has no graceful termination of UDP real servers")
    proxy.show(udp("local-1"))
    with proxy.world.connect("pod", (CLUSTER_IP[4], 80), "UDP", timeout=3) as flow:
        assert proxy.world.ask_again(flow)[0] == "local-1"
        proxy.show(then)
        assert [proxy.world.ask_again(flow)[0] for _ in range(3)] == ["local-1"] * 3


def test_a_udp_flow_leaves_a_removed_endpoint_although_a_sync_failed_between(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.show(udp("local-1"))
    with proxy.world.connect("pod", (CLUSTER_IP[4], 80), "UDP", timeout=3) as flow:
        assert proxy.world.ask_again(flow)[0] == "local-1"

        async def fail(state: State, changes: Changes | None) -> None:
            raise BackendError("injected")

        with monkeypatch.context() as patch:
            patch.setattr(proxy.backends[4], "apply", fail)
            proxy.tracker.slice_changed(None, slice_(udp("local-2"), 4))
            assert not proxy.world.on_node(proxy.syncer.sync)
        assert proxy.world.on_node(proxy.syncer.sync)
        assert eventually_answers(lambda: proxy.world.ask_again(flow)[0]) == "local-2"


def test_a_udp_flow_that_began_without_rules_is_served_after_the_repair(proxy: Proxy) -> None:
    proxy.show(udp("local-1"))
    proxy.world.sh("node", FLUSHES[proxy.mode])
    with proxy.world.connect("pod", (CLUSTER_IP[4], 80), "UDP", timeout=0.5) as flow:
        with pytest.raises(OSError):
            proxy.world.ask_again(flow)
        assert not proxy.world.on_node(proxy.syncer._check)
        assert proxy.world.on_node(proxy.syncer.sync)
        flow.settimeout(3)
        assert eventually_answers(lambda: proxy.world.ask_again(flow)[0]) == "local-1"


def eventually_answers(ask: Callable[[], str], tries: int = 5) -> str:
    """The first answer; errors queued at the socket (ICMP of before) are passed over."""
    for _ in range(tries):
        try:
            return ask()
        except OSError:
            continue
    return ""


@pytest.mark.parametrize("namespace", ["aaa", "zzz"])
def test_a_cluster_ip_cannot_be_taken_by_an_external_ip(proxy: Proxy, namespace: str) -> None:
    """CVE-2020-8554's kind: a tenant's externalIPs name another Service's cluster IP."""
    proxy.show(Case("web", "pod", "cluster-ip", endpoints=("local-1",)))
    ports = (ServicePort(name="a", protocol="TCP", port=80),)
    intruder = Service(
        metadata=ObjectMeta(name="x", namespace=namespace),
        spec=ServiceSpec(cluster_ip="10.96.0.66", external_ips=(CLUSTER_IP[4],), ports=ports),
    )
    theirs = Slice(
        metadata=ObjectMeta(name="x", namespace=namespace, labels={SERVICE_NAME: "x"}),
        address_type="IPv4",
        ports=(EndpointPort(name="a", protocol="TCP", port=PORT),),
        endpoints=(SliceEndpoint(addresses=(ADDRESSES["remote"][4],), conditions=READY, node_name="node-2"),),
    )
    proxy.tracker.service_changed(None, intruder)
    proxy.tracker.slice_changed(None, theirs)
    assert proxy.world.on_node(proxy.syncer.sync)
    try:
        assert {proxy.world.ask("pod", (CLUSTER_IP[4], 80))[0] for _ in range(5)} == {"local-1"}
    finally:
        proxy.tracker.service_changed(intruder, None)
        proxy.tracker.slice_changed(theirs, None)


@pytest.mark.parametrize(
    "spec",
    [
        {"external_ips": ("010.0.0.1", "::ffff:1.2.3.4", "no address")},
        {"type": "LoadBalancer", "load_balancer_source_ranges": ("010.0.0.0/8", "x")},
        {"ports": (ServicePort(name="a\n-A INPUT -j DROP", protocol="icmp", port=99999),)},
    ],
    ids=["external IPs", "source ranges", "ports"],
)
def test_values_of_a_lax_api_server_stop_no_sync(proxy: Proxy, spec: dict[str, object]) -> None:
    proxy.show(Case("one", "pod", "cluster-ip", endpoints=("local-1",)))
    given = {"cluster_ip": "10.96.0.77", "ports": (ServicePort(name="a", port=80),), **spec}
    pill = Service(metadata=ObjectMeta(name="pill", namespace="tenant"), spec=ServiceSpec(**given))  # type: ignore[arg-type]
    proxy.tracker.service_changed(None, pill)
    try:
        proxy.show(Case("two", "pod", "cluster-ip", endpoints=("local-2",)))
        assert proxy.world.ask("pod", (CLUSTER_IP[4], 80))[0] == "local-2"
    finally:
        proxy.tracker.service_changed(pill, None)


def test_a_listener_is_reached_through_its_service_only(the_world: World) -> None:
    """Mode userspace: a ClusterIP Service is not open to the LAN at its listener's port."""
    with at_work("userspace", the_world) as proxy:
        proxy.show(
            Case("", "pod", "cluster-ip", endpoints=("local-1",), spec={"type": "ClusterIP", "external_ips": ()})
        )

        def ports() -> list[int]:
            with closing(Nft()) as nft:
                found = nft.elements(4, "sampan-proxy-userspace", "listeners")
                return [int.from_bytes(data[4:6], "big") for _, data in found]

        (port,) = the_world.inside("node", ports)
        assert the_world.ask("pod", (CLUSTER_IP[4], 80))[0] == "local-1"
        with pytest.raises(OSError):
            the_world.ask("outside", (NODE[4], port), timeout=0.5)


def test_a_client_is_remembered_whichever_address_it_used(proxy: Proxy) -> None:
    """ClientIP affinity belongs to the service port. (IPVS has templates per virtual server, as upstream's mode.)"""
    if proxy.mode == "ipvs":
        pytest.skip("IPVS remembers clients by virtual server")
    sticky = {"session_affinity": "ClientIP"}
    for _ in range(4):
        proxy.forget()
        proxy.show(Case("", "outside", "cluster-ip", spec=sticky))
        targets = ((CLUSTER_IP[4], 80), (EXTERNAL_IP[4], 80), (NODE[4], NODE_PORT))
        assert len({proxy.world.ask("outside", target)[0] for target in targets for _ in range(2)}) == 1


def test_a_remembered_client_is_not_led_astray_by_a_policy_that_becomes_local(proxy: Proxy) -> None:
    """Its remembered endpoint is on another node: it gets one of this node's, instead of time-outs."""
    sticky = {"session_affinity": "ClientIP"}
    proxy.show(Case("", "outside", "node-port", endpoints=("remote",), spec=sticky))
    assert proxy.world.ask("outside", (NODE[4], NODE_PORT))[0] == "remote"
    local = {**sticky, "external_traffic_policy": "Local"}
    proxy.show(Case("", "outside", "node-port", endpoints=("local-1", "remote"), spec=local))
    assert {proxy.world.ask("outside", (NODE[4], NODE_PORT))[0] for _ in range(5)} == {"local-1"}


DAMAGES = {
    "nftables": (
        "nft flush chain ip sampan-proxy prerouting",
        "nft flush map ip sampan-proxy services",
        "nft delete element ip sampan-proxy endpoints-1 '{ 10.96.0.50 . tcp . 80 . 0 }'",
        "nft flush chain ip sampan-proxy pick-1",
        "nft delete table ip sampan-proxy",
    ),
    "iptables": (
        "iptables -t nat -F $(iptables-save -t nat | grep -o 'KUBE-SVC-[A-Z0-9]*' | head -1)",
        "iptables -t nat -D KUBE-SERVICES 1",
        "iptables -t nat -D PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
    ),
}


@pytest.mark.parametrize(("mode", "damage"), [(mode, each) for mode in DAMAGES for each in DAMAGES[mode]])
def test_a_single_rule_or_element_that_others_remove_is_put_back(the_world: World, mode: str, damage: str) -> None:
    """What happens elsewhere in the ruleset is no damage."""
    with at_work(mode, the_world) as proxy:
        proxy.show(Case("", "pod", "cluster-ip", endpoints=("local-1",)))
        assert the_world.on_node(proxy.syncer._check)
        the_world.sh("node", "nft add table ip somebody-elses")
        assert the_world.on_node(proxy.syncer._check)
        the_world.sh("node", damage)
        assert not the_world.on_node(proxy.syncer._check)
        assert the_world.on_node(proxy.syncer.sync)
        assert the_world.on_node(proxy.syncer._check)
        assert the_world.ask("pod", (CLUSTER_IP[4], 80))[0] == "local-1"


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_what_a_proxy_changes_itself_is_no_damage(the_world: World, mode: str) -> None:
    """Endpoints and Services of all kinds come and go, and every look finds all rules there."""
    with at_work(mode, the_world) as proxy:
        filtered = {"load_balancer_source_ranges": ("10.0.0.0/8", "192.0.2.0/24")}
        for endpoints in (("local-1",), EVERYWHERE, ("remote",), (), EVERYWHERE):
            for spec in ({}, {"session_affinity": "ClientIP"}, {"external_traffic_policy": "Local"}, filtered):
                for family in FAMILIES:
                    proxy.show(Case("", "pod", "cluster-ip", endpoints=endpoints, spec=spec), family)
                assert the_world.on_node(proxy.syncer._check), (endpoints, spec)
