"""Node lifecycle, pod ranges, taint eviction and pod garbage collection: the decisions."""

import ipaddress

import pytest

from sampan.api.core_v1 import Taint
from sampan.controllers import nodeipam, nodelifecycle, podgc, tainteviction
from support.objects import START, at, node, pod

NOT_READY, UNREACHABLE = nodelifecycle.NOT_READY, nodelifecycle.UNREACHABLE


def keys(taints):
    return {(one.key, one.effect) for one in taints}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (node("n"), set()),
        (node("n", ready=None), set()),
        (node("n", ready="False"), {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}),
        (node("n", ready="Unknown"), {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}),
        (node("n", unschedulable=True), {(nodelifecycle.UNSCHEDULABLE, "NoSchedule")}),
        (node("n", taints=[{"key": NOT_READY, "effect": "NoSchedule"}]), set()),
        (node("n", taints=[{"key": "mine", "effect": "NoSchedule"}]), {("mine", "NoSchedule")}),
        (node("n", taints=[{"key": UNREACHABLE, "effect": "NoExecute"}]), set()),
    ],
)
def test_taints_follow_conditions_and_leave_those_of_others_alone(found, expected):
    assert keys(nodelifecycle.desired_taints(found, at(0))) == expected


def test_a_taint_that_stays_keeps_the_time_it_was_added():
    taints = [{"key": NOT_READY, "effect": "NoExecute", "timeAdded": at(0)}]
    found = nodelifecycle.desired_taints(node("n", ready="False", taints=taints), at(60))
    assert {one.effect: one.time_added for one in found} == {"NoExecute": at(0), "NoSchedule": at(60)}


def test_a_silent_node_becomes_unknown_once():
    changed = nodelifecycle.unknown_conditions(node("n"), at(60))
    assert {one["type"]: one["reason"] for one in changed} == {
        "Ready": "NodeStatusUnknown",
        "MemoryPressure": "NodeStatusNeverUpdated",
        "DiskPressure": "NodeStatusNeverUpdated",
        "PIDPressure": "NodeStatusNeverUpdated",
    }
    assert changed[0]["message"] == "Kubelet stopped posting node status."
    assert "Ready" not in {one["type"] for one in nodelifecycle.unknown_conditions(node("n", ready="Unknown"), at(60))}


NO_EXECUTE = Taint(key="k", value="v", effect="NoExecute", time_added=at(0))


@pytest.mark.parametrize(
    ("tolerations", "due"),
    [
        ([], 100),
        ([{"key": "other", "operator": "Exists"}], 100),
        ([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], 100),
        ([{"key": "k", "operator": "Equal", "value": "x"}], 100),
        ([{"key": "k", "operator": "Equal", "value": "v"}], None),
        ([{"operator": "Exists"}], None),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}], 300),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": -1}], 0),
        ([{"operator": "Exists"}, {"key": "k", "operator": "Exists", "tolerationSeconds": 50}], 50),
    ],
)
def test_a_pod_leaves_a_tainted_node_when_its_toleration_ends(tolerations, due):
    found = tainteviction.evict_at(pod("p", tolerations=tolerations), [NO_EXECUTE], START + 100)
    assert found == (None if due is None else START + due)


def test_taints_of_other_effects_evict_nobody():
    assert tainteviction.evict_at(pod("p"), [Taint(key="k", effect="NoSchedule")], START) is None


CLUSTER = ipaddress.ip_network("10.244.0.0/22")


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ([], "10.244.0.0/24"),
        (["10.244.0.0/24", "10.244.2.0/24"], "10.244.1.0/24"),
        (["10.244.0.0/23"], "10.244.2.0/24"),
        (["192.168.0.0/24", "fd00::/64"], "10.244.0.0/24"),
        (["10.244.0.0/22"], None),
    ],
)
def test_the_first_free_pod_range_is_given_out(used, expected):
    assert nodeipam.next_free(CLUSTER, 24, used) == expected


def test_pods_of_gone_nodes_unscheduled_dying_pods_and_surplus_ended_pods_are_removed():
    pods = [
        pod("orphan", node="gone"),
        pod("fine", node="here"),
        pod("dying", deleted=True),
        pod("waiting", phase="Pending"),
        pod("old", node="here", phase="Succeeded", created=0),
        pod("new", node="here", phase="Failed", created=10),
    ]
    verdict = podgc.decide(pods, {"gone"}, threshold=1)
    names = [[one.metadata.name for one in part] for part in (verdict.orphaned, verdict.unscheduled, verdict.surplus)]
    assert names == [["orphan"], ["dying"], ["old"]]
    assert podgc.decide(pods, (), threshold=0).surplus == ()
