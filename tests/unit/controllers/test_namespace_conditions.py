"""What a terminating namespace says is still in the way."""

from sampan.api.meta_v1 import Condition
from sampan.controllers.namespaces import Emptying, decide_conditions

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z"


def said(found):
    return {one.type.removeprefix("Namespace"): (one.status, one.reason, one.message) for one in found}


def test_each_obstacle_has_a_condition_in_upstreams_words():
    left = Emptying(
        undiscovered=("metrics.k8s.io/v1beta1",),
        errors=("boom",),
        remaining={"pods.": 2, "deployments.apps": 1},
        finalizers={"example.com/hold": 1},
    )
    assert said(decide_conditions((), left, NOW)) == {
        "DeletionDiscoveryFailure": (
            "True",
            "DiscoveryFailed",
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
            "metrics.k8s.io/v1beta1",
        ),
        "DeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "DeletionContentFailure": (
            "True",
            "ContentDeletionFailed",
            "Failed to delete all resource types, 1 remaining: boom",
        ),
        "ContentRemaining": (
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances",
        ),
        "FinalizersRemaining": (
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        ),
    }


def test_a_condition_that_says_the_same_keeps_its_time():
    first = decide_conditions((), Emptying(remaining={"pods.": 1}), NOW)
    second = decide_conditions(first, Emptying(remaining={"pods.": 1}), LATER)
    assert second == first
    third = decide_conditions(second, Emptying(), LATER)
    changed = {one.type for one in third if one.last_transition_time == LATER}
    assert changed == {"NamespaceContentRemaining"}
    assert all(isinstance(one, Condition) for one in third)
