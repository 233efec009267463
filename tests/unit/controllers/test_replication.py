"""ReplicaSets and ReplicationControllers: how many pods to make, which to delete, what the status says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.apps_v1 import ReplicaSet
from sampan.controllers import replication
from sampan.controllers.replicasets import ReplicaSetController
from sampan.controllers.replication import Replicated, Scale
from support.objects import START, made, metadata, pod, template

NOW = START + 3600


def owner(replicas: int = 3, min_ready: int = 0, **status: object) -> Replicated:
    spec = {"replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "web"}}}
    spec["template"] = template()
    return ReplicaSetController.view(made(ReplicaSet, metadata=metadata("web"), spec=spec, status=status))


@pytest.mark.parametrize(
    ("replicas", "existing", "create", "delete"),
    [(3, 0, 3, 0), (3, 3, 0, 0), (3, 1, 2, 0), (1, 3, 0, 2), (0, 2, 0, 2), (2000, 0, replication.BURST, 0)],
)
def test_the_difference_to_the_wanted_number_is_made_or_removed(replicas, existing, create, delete):
    pods = [pod(f"web-{i}") for i in range(existing)]
    scale = replication.decide_scale(owner(replicas), pods, pods, NOW)
    assert (scale.create, len(scale.delete)) == (create, delete)


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        (pod("goes"), pod("stays", node="node-1")),
        (pod("goes", node="n", phase="Pending"), pod("stays", node="n", phase="Running")),
        (pod("goes", node="n", phase="Unknown"), pod("stays", node="n", phase="Running")),
        (pod("goes", node="n", ready=False), pod("stays", node="n", ready=True)),
        (
            pod("goes", node="n", annotations={replication.DELETION_COST: "-5"}),
            pod("stays", node="n", annotations={replication.DELETION_COST: "10"}),
        ),
        (pod("goes", node="n", since=3590), pod("stays", node="n", since=0)),
        (pod("goes", node="n", restarts=4), pod("stays", node="n")),
        (pod("goes", node="n", created=3590), pod("stays", node="n", created=0)),
    ],
    ids=["unassigned", "pending", "unknown", "not-ready", "cheaper", "ready-for-less", "restarted", "younger"],
)
def test_the_pod_that_would_be_missed_least_goes_first(goes, stays):
    for pods in ([goes, stays], [stays, goes]):
        assert replication.rank_for_deletion(pods, pods, NOW)[0].metadata.name == "goes"


def test_of_equal_pods_one_on_the_more_crowded_node_goes_first():
    mine = [pod("lonely", node="a"), pod("crowded", node="b")]
    related = [*mine, pod("sibling", node="b")]
    assert replication.rank_for_deletion(mine, related, NOW)[0].metadata.name == "crowded"


@pytest.mark.parametrize(
    ("text", "cost"),
    [("0", 0), ("10", 10), ("-10", -10), ("", 0), ("+3", 0), ("03", 0), ("-0", 0), ("x", 0), ("2147483648", 0)],
)
def test_a_deletion_cost_that_is_no_plain_32_bit_number_counts_as_nothing(text, cost):
    assert replication.deletion_cost(pod("p", annotations={replication.DELETION_COST: text})) == cost


def test_the_status_counts_replicas_labels_readiness_and_availability():
    labels = {"app": "web"}
    pods = [
        pod("a", labels=labels, since=0),
        pod("b", labels=labels, since=3595),
        pod("c", labels=labels, ready=False),
        pod("d", labels={"app": "web", "more": "x"}, ready=None),
        pod("e", labels={}, ready=None),
    ]
    counts = replication.decide_status(owner(5, min_ready=10), pods, 2, None, NOW)
    assert (counts.replicas, counts.fully_labeled, counts.ready, counts.available, counts.terminating) == (
        5,
        4,
        2,
        1,
        2,
    )
    assert replication.next_available(owner(5, min_ready=10), pods, NOW) == 5


def test_a_failure_sets_a_condition_that_the_next_success_clears():
    failure = replication.decide_failure(Scale(create=1), "quota exceeded", "2026-01-01T00:00:00Z")
    failed = replication.decide_status(owner(), [], None, failure, NOW)
    (condition,) = failed.conditions
    assert (condition.type, condition.status, condition.reason) == ("ReplicaFailure", "True", "FailedCreate")
    again = owner(conditions=[{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}])
    assert replication.decide_status(again, [], None, None, NOW).conditions == ()


def test_zeros_are_absent_on_the_wire_except_replicas():
    written = replication.status_object(replication.ReplicaCounts(observed_generation=1), with_terminating=False)
    assert {name for name, value in written.items() if value is not None} == {"replicas", "observedGeneration"}


@given(st.integers(0, 40), st.integers(0, 40), st.randoms())
def test_scaling_to_a_number_always_gives_that_number(wanted, existing, random):
    pods = [
        pod(f"p{i}", ready=random.choice([True, False, None]), node=random.choice(["", "a", "b"]), restarts=i % 3)
        for i in range(existing)
    ]
    scale = replication.decide_scale(owner(wanted), pods, pods, NOW)
    assert existing + scale.create - len(scale.delete) == wanted
    assert not (scale.create and scale.delete)
