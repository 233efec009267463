"""DaemonSets: which nodes get a pod, which pods go, how templates roll."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.api.apps_v1 import ControllerRevision, DaemonSet
from sampan.api.core_v1 import PodSpec
from sampan.controllers import history
from sampan.controllers.daemonsets.decision import World, by_node, decide, decide_status
from sampan.controllers.daemonsets.placement import node_of, tied_to, wants
from support.objects import START, made, metadata, node, pod

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def spec(**fields):
    return made(PodSpec, containers=[{"name": "main"}], **fields)


@pytest.mark.parametrize(
    ("template", "on", "expected"),
    [
        (spec(), node("n"), (True, True)),
        (spec(), node("n", unschedulable=True), (True, True)),
        (spec(), node("n", taints=[TAINT]), (False, True)),
        (spec(), node("n", taints=[{**TAINT, "effect": "NoExecute"}]), (False, False)),
        (spec(tolerations=[{"operator": "Exists"}]), node("n", taints=[TAINT]), (True, True)),
        (spec(), node("n", taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]), (True, True)),
        (spec(nodeSelector={"disk": "ssd"}), node("n"), (False, False)),
        (spec(nodeSelector={"disk": "ssd"}), node("n", labels={"disk": "ssd"}), (True, True)),
        (spec(nodeName="other"), node("n"), (False, False)),
    ],
)
def test_a_node_wants_a_pod_when_labels_and_taints_allow(template, on, expected):
    assert wants(template, on) == expected


def test_a_daemon_pod_is_tied_to_its_node_before_the_scheduler_sees_it():
    expression = {"key": "disk", "operator": "Exists"}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    body = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
    tied = tied_to({"spec": body}, "node-1", spec())
    assert node_of(pod("p", **tied["spec"])) == "node-1"
    (term,) = tied["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [expression]
    assert {one["key"] for one in tied["spec"]["tolerations"]} >= {"node.kubernetes.io/not-ready"}
    assert body == {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def daemon(name, on, *, version="new", **options):
    return pod(name, node=on, labels={history.HASH_LABEL: version}, **options)


def world(*pods, nodes=("a", "b", "c"), **rolling):
    strategy = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}} if rolling else {}
    daemon_set = made(DaemonSet, metadata=metadata("d", generation=1), spec=strategy)
    return World(daemon_set, spec(), tuple(node(one) for one in nodes), by_node(pods), "new", START + 100)


def names(plan):
    return list(plan.create), [one.metadata.name for one in plan.delete]


@pytest.mark.parametrize(
    ("pods", "create", "delete"),
    [
        ([], ["a", "b", "c"], []),
        ([daemon("pa", "a")], ["b", "c"], []),
        ([daemon("pa", "a"), daemon("pb", "b"), daemon("pc", "c"), daemon("pc2", "c", created=5)], [], ["pc2"]),
        ([daemon("pa", "a", deleted=True), daemon("pb", "b"), daemon("pc", "c")], [], []),
        ([daemon("pa", "a", phase="Failed"), daemon("pb", "b"), daemon("pc", "c")], [], ["pa"]),
    ],
    ids=["none", "some", "double", "waits-for-the-dying", "ended"],
)
def test_every_node_gets_exactly_one_pod(pods, create, delete):
    assert names(decide(world(*pods))) == (create, delete)


@pytest.mark.parametrize(
    ("unavailable", "old_ready", "deleted"),
    [(1, (True, True, True), 1), (2, (True, True, True), 2), (1, (False, True, True), 1), ("100%", (True,) * 3, 3)],
)
def test_a_rolling_update_takes_down_what_is_broken_and_then_as_many_as_it_may(unavailable, old_ready, deleted):
    pods = [daemon(f"p{on}", on, version="old", ready=ready) for on, ready in zip("abc", old_ready, strict=True)]
    plan = decide(world(*pods, maxUnavailable=unavailable, maxSurge=0))
    assert len(plan.delete) == deleted
    if False in old_ready:
        assert plan.delete[0].metadata.name == "pa"


def test_with_a_surge_the_new_pod_comes_first():
    old = [daemon(f"old-{on}", on, version="old") for on in "abc"]
    first = decide(world(*old, maxUnavailable=0, maxSurge=1))
    assert names(first) == (["a"], [])
    starting = daemon("new-a", "a", ready=False, created=5)
    assert names(decide(world(*old, starting, maxUnavailable=0, maxSurge=1))) == ([], [])
    started = daemon("new-a", "a", created=5)
    assert names(decide(world(*old, started, maxUnavailable=0, maxSurge=1))) == (["b"], ["old-a"])


def test_the_status_counts_nodes():
    pods = [daemon("pa", "a"), daemon("pb", "b", version="old", ready=False)]
    status = decide_status(world(*pods))
    assert (status.desired_number_scheduled, status.current_number_scheduled) == (3, 2)
    assert (status.number_ready, status.updated_number_scheduled, status.number_unavailable) == (1, 1, 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 3))
def test_an_update_ends_with_new_pods_everywhere_and_keeps_its_bound(count, unavailable, surge):
    on = [f"n{i}" for i in range(count)]
    alive = {f"old-{one}": daemon(f"old-{one}", one, version="old") for one in on}
    limit = unavailable or (0 if surge else 1)
    for age in range(1, 50):
        here = world(*alive.values(), nodes=on, maxUnavailable=unavailable, maxSurge=surge)
        plan = decide(here)
        if not plan.create and not plan.delete:
            break
        for gone in plan.delete:
            del alive[gone.metadata.name]
        served = {one.spec.node_name for one in alive.values()}
        assert count - len(served) <= limit
        for target in plan.create:
            alive[f"new-{target}-{age}"] = daemon(f"new-{target}-{age}", target, created=age)
    assert {one.metadata.labels[history.HASH_LABEL] for one in alive.values()} == {"new"}
    assert sorted(one.spec.node_name for one in alive.values()) == sorted(on)


# --- revisions


def remembered(name, number, template):
    data = {"spec": {"template": {"$patch": "replace", **template}}}
    labels = {history.HASH_LABEL: name.removeprefix("d-")}
    return made(ControllerRevision, metadata=metadata(name, labels=labels), data=data, revision=number)


OWNER = made(DaemonSet, metadata=metadata("d")).metadata


def test_a_template_that_was_current_before_gets_the_next_number_under_its_old_name():
    known = [remembered("d-one", 1, {"x": 1}), remembered("d-two", 2, {"x": 2})]
    back = history.current_revision(OWNER, {"x": 1}, known, None)
    assert (back.name, back.hash, back.number) == ("d-one", "one", 3)
    same = history.current_revision(OWNER, {"x": 2}, known, None)
    assert (same.name, same.number) == ("d-two", 2)
    fresh = history.current_revision(OWNER, {"x": 3}, known, None)
    assert (fresh.existing, fresh.number) == (None, 3)
    assert history.current_revision(OWNER, {"x": 3}, known, 1).name != fresh.name


def test_unused_revisions_beyond_the_limit_are_forgotten_oldest_first():
    known = [remembered(f"d-{n}", n, {"x": n}) for n in (3, 1, 2)]
    assert [one.metadata.name for one in history.surplus(known, {"2"}, 1)] == ["d-1"]
