"""PodDisruptionBudgets: how many pods may be disturbed."""

import pytest

from sampan.api.policy_v1 import PodDisruptionBudget
from sampan.controllers.disruption import decide_status
from support.objects import START, at, made, metadata, owner, pod

CONTROLLED = owner("ReplicaSet", "web")


def budget(disrupted=None, **spec):
    status = {"disruptedPods": disrupted} if disrupted else {}
    return made(PodDisruptionBudget, metadata=metadata("b", generation=3), spec=spec, status=status)


def replicas(ready, unready=0):
    good = [pod(f"good-{n}", owned_by=CONTROLLED) for n in range(ready)]
    return good + [pod(f"bad-{n}", ready=False, owned_by=CONTROLLED) for n in range(unready)]


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "expected"),
    [
        ({"minAvailable": 2}, replicas(3), 3, (1, 3, 2, 3)),
        ({"minAvailable": 3}, replicas(2, 1), 3, (0, 2, 3, 3)),
        ({"minAvailable": "50%"}, replicas(5), 5, (2, 5, 3, 5)),
        ({"maxUnavailable": 1}, replicas(3), 3, (1, 3, 2, 3)),
        ({"maxUnavailable": 1}, replicas(2, 1), 3, (0, 2, 2, 3)),
        ({"maxUnavailable": "30%"}, replicas(4), 4, (2, 4, 2, 4)),
        ({"minAvailable": 0}, [], 0, (0, 0, 0, 0)),
    ],
)
def test_what_is_healthy_beyond_what_must_be_may_go(spec, pods, scale, expected):
    status = decide_status(budget(**spec), pods, {"uid-web": scale}, START)
    found = (status.disruptions_allowed, status.current_healthy, status.desired_healthy, status.expected_pods)
    assert found == expected
    (condition,) = status.conditions
    assert (condition.status, condition.reason) == (
        ("True", "SufficientPods") if expected[0] else ("False", "InsufficientPods")
    )


@pytest.mark.parametrize(("granted", "allowed"), [(0, 0), (-200, 1)])
def test_an_eviction_just_granted_counts_as_a_disruption_for_a_while(granted, allowed):
    disrupted = {"good-0": at(granted)}
    status = decide_status(budget(disrupted, minAvailable=2), replicas(3), {"uid-web": 3}, START)
    assert (status.disruptions_allowed, bool(status.disrupted_pods)) == (allowed, not allowed)


def test_pods_that_ended_or_are_ending_are_not_healthy():
    pods = [*replicas(2), pod("ends", deleted=True), pod("ended", phase="Succeeded")]
    assert decide_status(budget(minAvailable=1), pods, {}, START).current_healthy == 2
