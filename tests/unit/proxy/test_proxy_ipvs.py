"""The ipvs mode without a kernel: what a Service becomes, and that differences lead where a fresh start does."""

from typing import Any

import pytest
from hypothesis import given

from sampan.api.core_v1 import LoadBalancerIngress, ServicePort
from sampan.api.meta_v1 import ObjectMeta
from sampan.kernel.ipset import Member
from sampan.kernel.ipvs import FLAG_PERSISTENT, FLAG_SCHEDULER_PORT, Key, Real, RealState, Service
from sampan.proxy.backends.ipvs import sets
from sampan.proxy.backends.ipvs.ledger import Ledger
from sampan.proxy.backends.ipvs.pieces import Node, Piece, piece
from sampan.proxy.backends.ipvs.plan import GRACE_SECONDS, Present, Servers
from sampan.proxy.backends.ipvs.rules import CHAINS, JUMPS, SHARED, Fixed, removal, rules, whole
from sampan.proxy.objects import IPVS_SCHEDULER
from sampan.proxy.tracker import Tracker
from support.ipvstwin import Twin
from support.proxyobjects import DRAINING, EVENTS, Event, endpoint, feed, service, slice_, tracker

NODE = Node(("10.2.2.10",), "rr")
CLUSTER_IP = Key("TCP", "10.96.0.1", 80)
NODE_PORT = Key("TCP", "10.2.2.10", 30080)
BALANCER = Key("TCP", "203.0.113.1", 80)
HERE, THERE = Real("10.244.0.5", 8080), Real("10.244.1.5", 8080)
BOTH = (endpoint("10.244.0.5"), endpoint("10.244.1.5", "node-2"))
INGRESS = (LoadBalancerIngress(ip="203.0.113.1"),)


def made(*endpoints: Any, annotations: dict[str, str] | None = None, node: Node = NODE, **spec: Any) -> Piece:
    tracking = Tracker("node-1", (4,), NODE.ips)
    spec.setdefault("type", "LoadBalancer")
    wanted = service(ingress=INGRESS, **spec)
    meta = ObjectMeta(name="web", namespace="default", annotations=annotations or {})
    tracking.service_changed(None, type(wanted)(metadata=meta, spec=wanted.spec, status=wanted.status))
    tracking.slice_changed(None, slice_(*endpoints))
    (port,) = tracking.take()[4].state.ports.values()
    return piece(port, node)


def members(of: Piece, name: str) -> set[str]:
    return {str(entry.member) for entry in of.entries if entry.set == name}


def test_every_address_is_a_virtual_server_and_all_but_the_nodes_are_bound() -> None:
    web = made(*BOTH, external_ips=("198.51.100.1",))
    assert set(web.servers) == {CLUSTER_IP, NODE_PORT, BALANCER, Key("TCP", "198.51.100.1", 80)}
    assert {server.reals for server in web.servers.values()} == {frozenset({HERE, THERE})}
    assert web.addresses == {"10.96.0.1", "203.0.113.1", "198.51.100.1"}
    assert made(*BOTH, external_ips=("10.2.2.10",)).addresses == {"10.96.0.1", "203.0.113.1"}


@pytest.mark.parametrize(
    ("scheduler", "annotation", "affinity", "expected"),
    [
        ("rr", "", "None", Service("rr")),
        ("lc", "", "None", Service("lc")),
        ("rr", "sed", "None", Service("sed")),
        ("rr", "", "ClientIP", Service("rr", FLAG_PERSISTENT, 10800)),
        ("mh", "", "None", Service("mh", FLAG_SCHEDULER_PORT)),
        ("mh", "", "ClientIP", Service("mh", FLAG_SCHEDULER_PORT | FLAG_PERSISTENT, 10800)),
    ],
)
def test_schedulers_and_affinity(scheduler: str, annotation: str, affinity: str, expected: Service) -> None:
    """The proxy's scheduler holds unless a Service asks for its own; affinity is persistence."""
    annotations = {IPVS_SCHEDULER: annotation} if annotation else {}
    web = made(*BOTH, annotations=annotations, node=Node(NODE.ips, scheduler), session_affinity=affinity)
    assert web.servers[CLUSTER_IP].service == expected


ETP, ITP = {"external_traffic_policy": "Local"}, {"internal_traffic_policy": "Local"}
POLICIES = {
    "Cluster sends everyone everywhere": ({}, BOTH, {HERE, THERE}, {HERE, THERE}, set(), set()),
    "external Local sends outsiders here": (ETP, BOTH, {HERE, THERE}, {HERE}, set(), set()),
    "internal Local sends pods here": (ITP, BOTH, {HERE}, {HERE, THERE}, set(), set()),
    "external Local without one here drops outsiders, and serves pods": (
        ETP, BOTH[1:], {THERE}, {THERE}, set(), {"203.0.113.1,tcp:80", "10.2.2.10,tcp:30080"},
    ),
    "internal Local without one here drops all": (ITP, BOTH[1:], set(), {THERE}, {"10.96.0.1,tcp:80"}, set()),
    "without any endpoint IPVS refuses": ({**ETP, **ITP}, (), set(), set(), set(), set()),
}  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "endpoints", "inside", "outside", "internal", "external"), POLICIES.values(), ids=POLICIES
)
def test_policies(
    spec: dict[str, Any], endpoints: Any, inside: set[Real], outside: set[Real], internal: set[str], external: set[str]
) -> None:
    web = made(*endpoints, **spec)
    assert web.servers[CLUSTER_IP].reals == inside
    assert web.servers[NODE_PORT].reals == web.servers[BALANCER].reals == outside
    assert members(web, sets.NO_LOCAL_INTERNAL) == internal
    assert members(web, sets.NO_LOCAL_EXTERNAL) == external


def test_sets_say_whom_to_masquerade() -> None:
    """Load balancers and node ports are in one set, under Local in a second, too; endpoints here are for hairpins."""
    web = made(*BOTH, **ETP)
    assert members(web, sets.CLUSTER_IP) == {"10.96.0.1,tcp:80"}
    assert members(web, sets.LOAD_BALANCER) == members(web, sets.LOAD_BALANCER_LOCAL) == {"203.0.113.1,tcp:80"}
    assert members(web, "KUBE-NODE-PORT-TCP") == members(web, "KUBE-NODE-PORT-LOCAL-TCP") == {"30080"}
    assert members(web, sets.LOOP_BACK) == {"10.244.0.5,tcp:8080,10.244.0.5"}
    assert members(made(*BOTH), sets.LOAD_BALANCER_LOCAL) == set()


@pytest.mark.parametrize(
    ("ranges", "networks", "nodes"),
    [
        (("192.0.2.0/24",), {"192.0.2.0/24"}, set()),
        (("0.0.0.0/0",), {"0.0.0.0/1", "128.0.0.0/1"}, {"10.2.2.10"}),
        (("10.2.0.0/16", "192.0.2.1/32"), {"10.2.0.0/16", "192.0.2.1/32"}, {"10.2.2.10"}),
        (("fd00::/8",), {"255.255.255.255/32"}, set()),
    ],
)
def test_source_ranges_are_members_of_a_set(ranges: tuple[str, ...], networks: set[str], nodes: set[str]) -> None:
    web = made(*BOTH, load_balancer_source_ranges=ranges)
    assert members(web, sets.SOURCE_CIDR) == {f"203.0.113.1,tcp:80,{network}" for network in networks}
    assert members(web, sets.SOURCE_IP) == {f"203.0.113.1,tcp:80,{ip}" for ip in nodes}
    assert members(web, sets.LOAD_BALANCER_FIREWALL) == {"203.0.113.1,tcp:80"}


def test_sctp_node_ports_are_members_with_the_nodes_address() -> None:
    web = made(*BOTH, ports=(ServicePort(name="http", protocol="SCTP", port=80, node_port=30080),))
    assert members(web, "KUBE-NODE-PORT-SCTP-HASH") == {"10.2.2.10,sctp:30080"}


@pytest.mark.parametrize("family", [4, 6])
def test_names_of_sets_fit_the_kernel_and_differ(family: int) -> None:
    names = [sets.name_of(name, family) for name in sets.SETS]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 31 for name in names)


# --- differences


def test_an_endpoint_that_goes_is_left_its_connections() -> None:
    """Weight 0 at once, gone when nothing is connected; back in service if it returns before that."""
    servers, twin = Servers({}), Twin()
    both, one = ({CLUSTER_IP: made(*some).servers[CLUSTER_IP]} for some in (BOTH, BOTH[1:]))
    twin.execute(servers.bring(both, 0))
    twin.active[CLUSTER_IP, HERE] = 1
    twin.execute(servers.bring(one, 0))
    assert twin.weights[CLUSTER_IP] == {HERE: 0, THERE: 1}
    twin.execute(servers.bring(both, 0))
    assert twin.weights[CLUSTER_IP] == {HERE: 1, THERE: 1}
    assert servers.draining == []
    twin.execute(servers.bring(one, 0))
    twin.execute(servers.ended(CLUSTER_IP, twin.reals(CLUSTER_IP), 1))
    assert twin.weights[CLUSTER_IP] == {HERE: 0, THERE: 1}
    del twin.active[CLUSTER_IP, HERE]
    twin.execute(servers.ended(CLUSTER_IP, twin.reals(CLUSTER_IP), 2))
    assert twin.weights[CLUSTER_IP] == {THERE: 1}
    assert servers.draining == []


def test_an_endpoints_time_is_limited() -> None:
    servers = Servers({CLUSTER_IP: Present(Service("rr"), {HERE: 1})})
    servers.bring({CLUSTER_IP: made().servers[CLUSTER_IP]}, 100)
    connected = {HERE: RealState(0, active=1)}
    assert servers.ended(CLUSTER_IP, connected, 99 + GRACE_SECONDS) == []
    assert [each.real for each in servers.ended(CLUSTER_IP, connected, 100 + GRACE_SECONDS)] == [HERE]


def test_udp_endpoints_go_at_once() -> None:
    udp = Key("UDP", "10.96.0.1", 53)
    servers, twin = Servers({}), Twin()
    server = made(*BOTH).servers[CLUSTER_IP]
    twin.execute(servers.bring({udp: server}, 0))
    twin.execute(servers.bring({udp: server._replace(reals=frozenset({THERE}))}, 0))
    assert twin.weights[udp] == {THERE: 1}


def test_draining_endpoints_that_still_serve_take_new_connections_when_nothing_else_is_left() -> None:
    assert made(endpoint("10.244.0.5", conditions=DRAINING)).servers[CLUSTER_IP].reals == {HERE}


@given(EVENTS)
def test_differences_lead_where_a_fresh_start_does(events: list[Event]) -> None:
    """After any events, one change at a time, servers, addresses and members equal those of a fresh start."""
    for family, node in ((4, NODE), (6, Node(("fd00:2::10",)))):
        tracking, known = tracker(), {}
        ledger, servers, twin = Ledger(node), Servers({}), Twin()
        addresses: set[str] = set()
        entries: set[Any] = set()
        for event in events:
            feed(tracking, known, event)
            delta = ledger.update(tracking.take()[family].changes)
            twin.execute(servers.bring(delta.servers, 0))
            assert not delta.new_addresses & addresses
            assert delta.old_addresses <= addresses
            addresses = (addresses | delta.new_addresses) - delta.old_addresses
            entries = (entries | delta.new_entries) - delta.old_entries
        fresh = Ledger.of(tracking.take()[family].state, node)
        assert twin.serving() == fresh.servers
        assert (addresses, entries) == (fresh.addresses, fresh.entries)


@given(EVENTS, EVENTS)
def test_a_restart_repairs_whatever_it_finds_and_then_changes_nothing(left: list[Event], events: list[Event]) -> None:
    twin = Twin()
    for some in (left, events):
        tracking, known = tracker(), {}
        for event in some:
            feed(tracking, known, event)
        fresh = Ledger.of(tracking.take()[4].state, NODE).servers
        for _ in range(2):
            found = {key: Present(service, dict(twin.weights[key])) for key, service in twin.services.items()}
            servers = Servers(found)
            commands = servers.bring(dict.fromkeys(servers.keys) | fresh, 0)
            twin.execute(commands)
            assert twin.serving() == fresh
        assert commands == []


# --- rules


@pytest.mark.parametrize(
    "fixed", [Fixed(4), Fixed(6, ("fd00:244::/56",)), Fixed(4, ("10.1.0.0/16", "10.2.0.0/16"), True)]
)
def test_rules_use_only_our_chains_and_sets(fixed: Fixed) -> None:
    names = {sets.name_of(name, fixed.family) for name in sets.SETS}
    used = set()
    for table, lines in rules(fixed).items():
        for line in lines:
            words = line.split()
            assert words[1] in CHAINS[table]
            target = words[words.index("-j") + 1]
            assert not target.startswith("KUBE-") or target in CHAINS[table]
            used.update(words[at + 1] for at, word in enumerate(words) if word == "--match-set")
    assert used == names


def saved(text: str) -> dict[str, list[str]]:
    """What iptables-save would print after that input."""
    tables: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            tables[line[1:]] = []
        elif line != "COMMIT":
            tables[list(tables)[-1]].append(line.replace("-I ", "-A ", 1))
    return tables


def test_jumps_are_not_made_twice() -> None:
    twice = whole(Fixed(4), saved(whole(Fixed(4), {})))
    assert "-I " not in twice


def test_removal_removes_all_chains_and_jumps_and_then_nothing() -> None:
    text = removal(saved(whole(Fixed(4), {})))
    for table, chains in CHAINS.items():
        assert all(f"-X {chain}" in text for chain in chains)
        assert all(jump.replace("-A ", "-D ", 1) in text for jump in JUMPS[table])
    assert removal({"nat": [":PREROUTING ACCEPT [0:0]"], "filter": []}) == ""


def test_removal_leaves_what_the_iptables_mode_has_taken_over() -> None:
    """When the other mode has filled the chains that both have, they and what leads there are its own."""
    found = saved(whole(Fixed(4), {}))
    found["nat"] = [line for line in found["nat"] if not line.startswith("-A KUBE-SERVICES")]
    text = removal(found)
    for chains in SHARED.values():
        for chain in chains:
            assert f"-X {chain}\n" not in text
            assert f"-j {chain}\n" not in text
    assert "-X KUBE-IPVS-FILTER" in text


def test_a_member_reads_as_ipset_prints_it() -> None:
    assert str(Member("10.0.0.1", "tcp", 80, "10.1.0.0/16")) == "10.0.0.1,tcp:80,10.1.0.0/16"
    assert str(Member(port=30080)) == "30080"
