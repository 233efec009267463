"""Where pods go, and the words in which the scheduler says why they go nowhere."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.scheduler import decision, filters, preemption, requests
from sampan.scheduler.decision import Placed, Unplaced
from sampan.scheduler.snapshot import Snapshot
from support.objects import node, owner, pod

PREEMPTION_HOPELESS = "Preemption is not helpful for scheduling"


def world(*nodes, placed=()):
    snapshot = Snapshot()
    for one in nodes:
        snapshot.set_node(one)
    for one in placed:
        snapshot.place(one, one.spec.node_name)
    return snapshot


def decide(wanted, snapshot):
    return decision.decide(wanted, snapshot, tie=min)


def asking(name="new", *, cpu="100m", **options):
    return pod(name, phase="Pending", ready=None, containers=[container(cpu=cpu)], **options)


def container(name="main", ports=(), **asked):
    return {"name": name, "resources": {"requests": asked}, "ports": list(ports)}


def required(*expressions):
    terms = [{"matchExpressions": list(expressions)}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def near(label, topology, *, anti=False, namespaces=None):
    term = {"labelSelector": {"matchLabels": {"app": label}}, "topologyKey": topology}
    if namespaces:
        term["namespaces"] = namespaces
    kind = "podAntiAffinity" if anti else "podAffinity"
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
HOST = "kubernetes.io/hostname"
SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}

PORT = {"containerPort": 80, "hostPort": 80}

REFUSALS = {
    "node_unschedulable": (world(node("n", unschedulable=True)), asking(), "node(s) were unschedulable"),
    "node_name": (world(node("n")), asking(node="other"), "node(s) didn't match the requested node name"),
    "taint_toleration": (world(node("n", taints=[TAINT])), asking(), "node(s) had untolerated taint(s)"),
    "node_affinity": (
        world(node("n")),
        asking(nodeSelector={"disk": "ssd"}, affinity=required(SSD)),
        "node(s) didn't match Pod's node affinity/selector",
    ),
    "node_ports": (
        world(node("n"), placed=[pod("there", node="n", containers=[container(ports=[PORT])])]),
        pod("new", containers=[container(ports=[PORT])]),
        "node(s) didn't have free ports for the requested pod ports",
    ),
    "node_resources_fit": (world(node("n", cpu="1")), asking(cpu="2"), "Insufficient cpu"),
    "topology_spread": (
        world(node("n")),
        asking(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
        "node(s) didn't match pod topology spread constraints (missing required label)",
    ),
    "inter_pod_affinity": (
        world(node("n")),
        asking(affinity=near("db", HOST)),
        "node(s) didn't match pod affinity rules",
    ),
}
RESOLVABLE = {"node_ports"}


def test_every_filter_is_in_the_table():
    assert [one.__name__ for one in filters.FILTERS] == list(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_in_upstreams_words(name):
    there, wanted, reason = REFUSALS[name]
    outcome = decide(wanted, there)
    assert isinstance(outcome, Unplaced)
    hope = "No preemption victims found for incoming pod" if name in RESOLVABLE else PREEMPTION_HOPELESS
    assert outcome.message() == (
        f"0/1 nodes are available: 1 {reason}. no new claims to deallocate, "
        f"preemption: 0/1 nodes are available: 1 {hope}."
    )


def test_without_nodes_the_message_is_its_own():
    assert decide(asking(), world()).message() == "no nodes available to schedule pods"


def test_reasons_are_counted_and_sorted():
    nodes = [node("a", cpu="1"), node("b", cpu="1"), node("c", taints=[TAINT])]
    text = decide(asking(cpu="2"), world(*nodes)).message()
    assert text.startswith("0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.")


@pytest.mark.parametrize(
    "wanted",
    [
        asking(tolerations=[{"key": "k", "operator": "Exists"}]),
        asking(tolerations=[{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]),
        asking(tolerations=[{"operator": "Exists"}]),
    ],
)
def test_a_tolerated_taint_does_not_matter(wanted):
    assert decide(wanted, world(node("n", taints=[TAINT]))) == Placed("n")


def test_a_node_can_be_full():
    full = world(node("n", pods=1), placed=[asking("there", node="n")])
    assert "1 Too many pods." in decide(asking(), full).message()


@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage", "example.com/gpu"])
def test_every_resource_counts(resource):
    on = node("n", allocatable={resource: "2"})
    wanted = pod("new", containers=[container(**{resource: "1"})])
    there = pod("there", node="n", containers=[container(**{resource: "2"})])
    assert f"Insufficient {resource}" in decide(wanted, world(on, placed=[there])).message()
    assert decide(wanted, world(on)) == Placed("n")


def test_init_containers_ask_one_after_the_other_and_sidecars_all_the_time():
    containers = [container("a", cpu="100m"), container("b", cpu="200m")]
    init = [
        {**container("side", cpu="50m"), "restartPolicy": "Always"},
        container("big", cpu="400m"),
    ]
    found = requests.pod_requests(pod("p", containers=containers, initContainers=init, overhead={"cpu": "10m"}))
    assert found == {"cpu": 460}


# --- host ports: the key is (hostIP, protocol, port), 0.0.0.0 stands for all


def taking(name, ip, protocol, port, **options):
    ports = [{"containerPort": port, "hostPort": port, "hostIP": ip, "protocol": protocol}]
    return pod(name, containers=[container(ports=ports)], **options)


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (("127.0.0.1", "TCP", 80), ("10.2.2.10", "TCP", 80), False),
        (("10.2.2.10", "TCP", 80), ("10.2.2.10", "UDP", 80), False),
        (("10.2.2.10", "TCP", 80), ("10.2.2.10", "TCP", 81), False),
        (("10.2.2.10", "TCP", 80), ("10.2.2.10", "TCP", 80), True),
        (("0.0.0.0", "TCP", 80), ("10.2.2.10", "TCP", 80), True),
        (("10.2.2.10", "TCP", 80), ("", "TCP", 80), True),
    ],
)
def test_host_ports_clash_by_address_protocol_and_number(first, second, clash):
    there = world(node("n"), placed=[taking("there", *first, node="n")])
    outcome = decide(taking("new", *second), there)
    if clash:
        assert "1 node(s) didn't have free ports for the requested pod ports." in outcome.message()
    else:
        assert outcome == Placed("n")


# --- pods near and apart


def labelled(name, app, on, **options):
    return asking(name, labels={"app": app}, node=on, **options)


def test_affinity_follows_a_pod_to_its_domain():
    nodes = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})]
    there = world(*nodes, placed=[labelled("db", "db", "b")])
    assert decide(asking(affinity=near("db", "zone")), there) == Placed("b")


def test_the_first_of_a_group_that_wants_to_be_together_may_go_anywhere():
    first = asking(labels={"app": "db"}, affinity=near("db", HOST))
    assert decide(first, world(node("a"))) == Placed("a")


def test_anti_affinity_keeps_apart_both_ways():
    alone = near("db", HOST, anti=True)
    there = world(node("a"), placed=[labelled("db", "db", "a", affinity=alone)])
    mine = decide(asking(affinity=alone), there)
    assert "1 node(s) didn't match pod anti-affinity rules." in mine.message()
    theirs = decide(asking(labels={"app": "db"}), there)
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules." in theirs.message()


def test_affinity_stays_within_its_namespaces():
    there = world(node("a"), placed=[labelled("db", "db", "a")])
    elsewhere = asking(affinity=near("db", HOST, anti=True, namespaces=["other"]))
    assert decide(elsewhere, there) == Placed("a")


def constraint(skew=1, key=HOST, action="DoNotSchedule"):
    selector = {"matchLabels": {"app": "web"}}
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": action, "labelSelector": selector}


def test_a_hard_spread_constraint_keeps_the_skew():
    nodes = [node("a"), node("b", taints=[TAINT])]
    there = world(*nodes, placed=[labelled("one", "web", "a")])
    outcome = decide(asking(labels={"app": "web"}, topologySpreadConstraints=[constraint()]), there)
    assert "1 node(s) didn't match pod topology spread constraints" in outcome.message()
    loose = asking(labels={"app": "web"}, topologySpreadConstraints=[constraint(skew=2)])
    assert decide(loose, there) == Placed("a")


# --- choosing


def test_pods_of_one_controller_are_spread_over_nodes_by_default():
    snapshot = world(node("a"), node("b"), node("c"))
    for number in range(9):
        wanted = asking(f"web-{number}", owned_by=owner("ReplicaSet", "web"))
        outcome = decision.decide(wanted, snapshot, random.Random(number).choice)
        snapshot.place(wanted, outcome.node, assumed=True)
    assert Counter(info.name for _, info in snapshot.placed()) == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize(
    ("nodes", "wanted", "best"),
    [
        ([node("a", cpu="1"), node("b", cpu="8")], asking(), "b"),
        ([node("a", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), node("b")], asking(), "b"),
        (
            [node("a"), node("b", labels={"disk": "ssd"})],
            asking(
                affinity={
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 10, "preference": {"matchExpressions": [SSD]}}
                        ]
                    }
                }
            ),
            "b",
        ),
    ],
    ids=["more-room", "no-soft-taint", "preferred"],
)
def test_the_better_node_is_chosen(nodes, wanted, best):
    assert decide(wanted, world(*nodes)) == Placed(best)


# --- preemption


def test_the_least_important_pods_make_room_for_a_more_important_one():
    there = world(
        node("a", cpu="1"),
        placed=[
            asking("low", cpu="500m", node="a", priority=1),
            asking("middle", cpu="500m", node="a", priority=5),
        ],
    )
    wanted = asking(cpu="500m", priority=10)
    outcome = decide(wanted, there)
    found = preemption.decide(wanted, there, outcome)
    assert (found.node, [one.metadata.name for one in found.victims]) == ("a", ["low"])
    humble = asking(cpu="500m", priority=10, preemptionPolicy="Never")
    assert preemption.decide(humble, there, outcome) is None
    equal = asking(cpu="500m", priority=1)
    assert preemption.decide(equal, there, decide(equal, there)) is None


# --- the snapshot


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None])), max_size=60))
def test_what_a_node_uses_is_always_the_sum_of_its_pods(moves):
    """Any order of placing, moving and removing pods leaves the same sums as starting afresh."""
    snapshot = world(node("a"), node("b"))
    places = {}
    for number, where in moves:
        one = asking(f"p{number}", cpu=f"{number + 1}m")
        if where is None:
            snapshot.remove(one.metadata.uid)
            places.pop(number, None)
        else:
            snapshot.place(one, where, assumed=number % 2 == 0)
            places[number] = where
    used = {info.name: info.used.get("cpu", 0) for info in snapshot.nodes()}
    assert used == {name: sum(n + 1 for n, where in places.items() if where == name) for name in ("a", "b")}


def test_an_assumed_pod_that_did_not_arrive_is_forgotten_and_one_that_did_is_not():
    snapshot = world(node("a"))
    one = asking()
    snapshot.place(one, "a", assumed=True)
    snapshot.forget_assumed(one.metadata.uid)
    assert list(snapshot.placed()) == []
    snapshot.place(one, "a", assumed=True)
    snapshot.place(one, "a")
    snapshot.forget_assumed(one.metadata.uid)
    assert len(list(snapshot.placed())) == 1
