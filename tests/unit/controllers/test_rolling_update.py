"""Rolling updates: played step by step against a model of ReplicaSets whose pods come and go."""

import itertools
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.api.apps_v1 import Deployment, ReplicaSet
from sampan.controllers.deployments import decision, revisions, rolling, scaling
from sampan.controllers.deployments.decision import Change, Create, Delete
from support.objects import at, deployment, made, replica_set


class Model:
    """ReplicaSets that follow their specs: pods are asked for at once, and become available one `tick` at a time."""

    def __init__(self, goal: Deployment, sets: list[ReplicaSet]) -> None:
        self.goal = goal
        self.sets = {one.metadata.uid: one for one in sets}
        self.log: list[str] = []
        self.ages = itertools.count(100)

    def step(self) -> bool:
        """Let the controller act once; whether it did anything."""
        world = revisions.observe(self.goal, self.sets.values())
        complete = world.new is not None and all(one.spec.replicas == 0 for one in world.old)
        actions = decision.decide(world, complete=complete)
        for action in actions:
            self._apply(action)
        return bool(actions)

    def _apply(self, action: Create | Change | Delete) -> None:
        if isinstance(action, Create):
            created = action.manifest["metadata"] | {"uid": "uid-new", "creationTimestamp": at(next(self.ages))}
            self.sets["uid-new"] = made(ReplicaSet, metadata=created, spec=action.manifest["spec"])
            self.log.append(f"+new={action.manifest['spec']['replicas']}")
        elif isinstance(action, Change):
            one = action.replica_set
            meta = msgspec.structs.replace(one.metadata, annotations={**one.metadata.annotations, **action.annotations})
            spec = msgspec.structs.replace(one.spec, replicas=action.replicas)
            available = min(one.status.available_replicas, action.replicas)
            status = msgspec.structs.replace(one.status, available_replicas=available, replicas=action.replicas)
            self.sets[one.metadata.uid] = msgspec.structs.replace(one, metadata=meta, spec=spec, status=status)
            if action.resizes:
                self.log.append(f"{one.metadata.name if one.metadata.uid != 'uid-new' else 'new'}={action.replicas}")
        else:
            del self.sets[action.replica_set.metadata.uid]

    def tick(self, choose: random.Random) -> bool:
        """One more pod of some ReplicaSet becomes available."""
        waiting = [one for one in self.sets.values() if one.status.available_replicas < one.spec.replicas]
        if not waiting:
            return False
        one = choose.choice(waiting)
        count = one.status.available_replicas + 1
        status = msgspec.structs.replace(one.status, available_replicas=count, replicas=one.spec.replicas)
        self.sets[one.metadata.uid] = msgspec.structs.replace(one, status=status)
        return True

    @property
    def total(self) -> int:
        return sum(one.spec.replicas for one in self.sets.values())

    @property
    def available(self) -> int:
        return sum(one.status.available_replicas for one in self.sets.values())


def rolled_out(goal: Deployment) -> list[ReplicaSet]:
    """The state after a finished rollout of the version before."""
    notes = revisions.size_annotations(goal, rolling.max_replicas(goal))
    return [replica_set("old", goal.spec.replicas, version="0", annotations=notes)]


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (2, "25%", "25%", "+new=1 old=1 new=2 old=0"),
        (3, "25%", "25%", "+new=1 old=2 new=2 old=1 new=3 old=0"),
        (4, "25%", "25%", "+new=1 old=3 new=2 old=2 new=3 old=1 new=4 old=0"),
        (3, 1, 0, "+new=1 old=2 new=2 old=1 new=3 old=0"),
        (3, 0, 1, "+new=0 old=2 new=1 old=1 new=2 old=0 new=3"),
        (3, "100%", 0, "+new=3 old=2 old=1 old=0"),
        (3, 0, "100%", "+new=0 old=0 new=3"),
        (1, "25%", "25%", "+new=1 old=0"),
        (0, "25%", "25%", "+new=0"),
    ],
)
def test_a_rollout_takes_these_steps(replicas, surge, unavailable, expected):
    """Each line is what a reader of `kubectl describe deployment` sees as ScalingReplicaSet events."""
    goal = deployment(replicas, version="1", surge=surge, unavailable=unavailable)
    model = Model(goal, rolled_out(goal))
    while model.step() or model.tick(random.Random(0)):
        pass
    assert " ".join(model.log) == expected


@settings(max_examples=300, deadline=None)
@given(
    replicas=st.integers(0, 15),
    surge=st.one_of(st.integers(0, 5), st.sampled_from(["0%", "10%", "25%", "50%", "100%"])),
    unavailable=st.one_of(st.integers(0, 5), st.sampled_from(["0%", "10%", "25%", "50%", "100%"])),
    broken=st.integers(0, 15),
    choose=st.randoms(use_true_random=False),
)
def test_a_rollout_never_breaks_its_bounds_and_always_ends(replicas, surge, unavailable, broken, choose):
    """Never more pods than replicas + maxSurge, never fewer available than replicas - maxUnavailable."""
    goal = deployment(replicas, version="1", surge=surge, unavailable=unavailable)
    (old,) = rolled_out(goal)
    healthy = max(0, replicas - broken)
    old = msgspec.structs.replace(old, status=msgspec.structs.replace(old.status, available_replicas=healthy))
    model = Model(goal, [old])
    most, least = rolling.max_replicas(goal), rolling.min_available(goal)
    floor = min(least, model.available)
    for _ in range(500):
        moved = model.step()
        assert model.total <= most
        assert model.available >= floor
        floor = max(floor, min(least, model.available))
        if not moved and not model.tick(choose):
            break
        floor = max(floor, min(least, model.available))
    new = revisions.observe(goal, model.sets.values()).new
    assert new is not None
    assert new.spec.replicas == replicas == model.total


@pytest.mark.parametrize("replicas", [1, 3, 10])
def test_recreate_removes_every_old_pod_before_it_makes_a_new_one(replicas):
    goal = deployment(replicas, version="1", strategy="Recreate")
    model = Model(goal, rolled_out(goal))
    model.step()
    assert model.log == ["old=0"]
    world = revisions.observe(goal, model.sets.values())
    assert decision.decide(world, complete=False, old_pods_running=True) == ()
    model.step()
    assert model.log == ["old=0", f"+new={replicas}"]


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [("25%", "25%", 10, (3, 2)), (0, 0, 3, (0, 1)), ("0%", "0%", 3, (0, 1)), (0, 9, 3, (0, 3)), ("1%", 0, 3, (1, 0))],
)
def test_percentages_round_surge_up_and_unavailable_down_and_are_never_both_zero(
    surge, unavailable, replicas, expected
):
    assert rolling.bounds(deployment(replicas, surge=surge, unavailable=unavailable)) == expected


@pytest.mark.parametrize(
    ("replicas", "sizes", "expected"),
    [
        (10, {"only": 5}, {"only": 10}),
        (15, {"old": 5, "new": 5}, {"new": 9, "old": 8}),
        (4, {"new": 6, "old": 2}, {"new": 4, "old": 1}),
        (0, {"new": 3, "old": 3}, {"new": 0, "old": 0}),
    ],
)
def test_scaling_in_the_middle_of_a_rollout_keeps_proportions(replicas, sizes, expected):
    """With maxSurge 2, a Deployment of 8 (at most 10 pods) is scaled while several ReplicaSets are active."""
    notes = {revisions.DESIRED_REPLICAS: "8", revisions.MAX_REPLICAS: str(sum(sizes.values()))}
    goal = deployment(replicas, version="1", surge=2 if len(sizes) > 1 and replicas == 15 else 1, unavailable=0)
    sets = [
        replica_set(name, size, size - 1, version="1" if name == "new" else "0", annotations=notes, created=index)
        for index, (name, size) in enumerate(sizes.items())
    ]
    world = revisions.observe(goal, sets)
    assert scaling.is_scaling_event(world)
    found = scaling.decide_sizes(world)
    assert {uid.removeprefix("uid-"): size for uid, size in found.items()} == expected


def test_a_paused_deployment_scales_but_makes_no_revision():
    goal = deployment(5, version="1", paused=True)
    notes = {revisions.DESIRED_REPLICAS: "3", revisions.MAX_REPLICAS: "4"}
    world = revisions.observe(goal, [replica_set("old", 3, version="0", annotations=notes)])
    (change,) = decision.decide(world, complete=False)
    assert isinstance(change, Change)
    assert change.replicas == 5


def test_old_revisions_beyond_the_limit_are_deleted_oldest_first_and_never_while_used():
    goal = deployment(1, version="9", revisionHistoryLimit=1)
    notes = revisions.size_annotations(goal, rolling.max_replicas(goal)) | {revisions.REVISION: "9"}
    sets = [
        replica_set("r3", 0, version="3", revision=3),
        replica_set("r1", 0, version="1", revision=1),
        replica_set("r2", 0, version="2", revision=2, status={"replicas": 1}),
        replica_set("r9", 1, version="9", annotations=notes),
    ]
    step = decision.decide(revisions.observe(goal, sets), complete=True)
    assert [one.replica_set.metadata.name for one in step if isinstance(one, Delete)] == ["r1"]


def test_going_back_to_an_old_template_gives_its_replica_set_the_next_revision_and_remembers_the_old():
    goal = deployment(1, version="1", annotations={"kubernetes.io/change-cause": "undo", revisions.REVISION: "2"})
    notes = revisions.size_annotations(goal, 2)
    sets = [
        replica_set("first", 0, version="1", revision=1, annotations=notes),
        replica_set("second", 1, version="2", revision=2, annotations=notes),
    ]
    (change,) = decision.decide(revisions.observe(goal, sets), complete=False)
    assert isinstance(change, Change)
    assert change.replica_set.metadata.name == "first"
    assert change.annotations == {
        "kubernetes.io/change-cause": "undo",
        revisions.REVISION: "3",
        revisions.REVISION_HISTORY: "1",
    }


def test_revisions_are_64_bit_numbers():
    huge = replica_set("big", 0, revision=2**53 + 1)
    assert revisions.next_revision([huge]) == 2**53 + 2


def test_the_name_and_labels_of_a_replica_set_carry_the_templates_hash():
    world = revisions.observe(deployment(2, minReadySeconds=5), [])
    manifest = revisions.manifest(world, 2, 3)
    hash_ = manifest["metadata"]["labels"][revisions.TEMPLATE_HASH]
    assert manifest["metadata"]["name"] == f"web-{hash_}"
    assert manifest["spec"]["selector"]["matchLabels"] == {"app": "web", revisions.TEMPLATE_HASH: hash_}
    assert manifest["spec"]["template"]["metadata"]["labels"] == {"app": "web", revisions.TEMPLATE_HASH: hash_}
    assert manifest["spec"]["minReadySeconds"] == 5
    assert manifest["metadata"]["annotations"][revisions.MAX_REPLICAS] == "3"


def test_a_collision_count_changes_the_hash():
    first = revisions.manifest(revisions.observe(deployment(), []), 1, 1)["metadata"]["name"]
    second = revisions.manifest(revisions.observe(deployment(status={"collisionCount": 1}), []), 1, 1)
    assert second["metadata"]["name"] != first
