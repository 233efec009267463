"""StatefulSets: order, identity, revisions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.api.apps_v1 import StatefulSet
from sampan.controllers.history import HASH_LABEL
from sampan.controllers.statefulsets.decision import World, decide, decide_status
from sampan.controllers.statefulsets.identity import claims_of, ordinal_of, pod_of
from support.objects import START, made, metadata, pod


def stateful(replicas=3, status=None, **spec):
    return made(
        StatefulSet, metadata=metadata("db", generation=1), spec={"replicas": replicas, **spec}, status=status or {}
    )


def member(number, *, revision="r2", **options):
    return pod(f"db-{number}", labels={HASH_LABEL: revision}, **options)


def world(wanted, *pods, current="r1", update="r2"):
    return World(wanted, tuple(pods), current, update, START + 100)


def step(wanted, *pods, **revisions):
    plan = decide(world(wanted, *pods, **revisions))
    return [number for number, _ in plan.create], [one.metadata.name for one in plan.delete]


PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.mark.parametrize(
    ("wanted", "pods", "expected"),
    [
        (stateful(), [], ([0], [])),
        (stateful(), [member(0, ready=False)], ([], [])),
        (stateful(), [member(0)], ([1], [])),
        (stateful(), [member(0), member(2)], ([1], [])),
        (stateful(), [member(0), member(1), member(2)], ([], [])),
        (stateful(), [member(0, deleted=True)], ([], [])),
        (stateful(), [member(0), member(1, phase="Failed")], ([], ["db-1"])),
        (stateful(minReadySeconds=60), [member(0, since=90)], ([], [])),
        (stateful(ordinals={"start": 5}), [], ([5], [])),
        (stateful(1), [member(0), member(1), member(2)], ([], ["db-2"])),
        (stateful(1), [member(0), member(1), member(2, deleted=True)], ([], [])),
        (stateful(1), [member(0), member(1, ready=False), member(2)], ([], [])),
        (stateful(1), [member(0), member(1), member(2, ready=False)], ([], ["db-2"])),
        (stateful(3, **PARALLEL), [member(1, ready=False)], ([0, 2], [])),
        (stateful(1, **PARALLEL), [member(0), member(1), member(2)], ([], ["db-2", "db-1"])),
    ],
)
def test_pods_are_made_and_removed_in_order_unless_parallel(wanted, pods, expected):
    assert step(wanted, *pods, current="r2") == expected


def rolling(**fields):
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": fields}}


@pytest.mark.parametrize(
    ("spec", "pods", "expected"),
    [
        ({}, [member(n, revision="r1") for n in range(3)], ["db-2"]),
        ({}, [member(0, revision="r1"), member(1, revision="r1"), member(2, ready=False)], []),
        ({}, [member(0, revision="r1"), member(1, revision="r1"), member(2)], ["db-1"]),
        (rolling(partition=2), [member(0, revision="r1"), member(1, revision="r1"), member(2)], []),
        (rolling(maxUnavailable=2), [member(n, revision="r1") for n in range(3)], ["db-2", "db-1"]),
        ({"updateStrategy": {"type": "OnDelete"}}, [member(n, revision="r1") for n in range(3)], []),
    ],
)
def test_a_new_revision_replaces_pods_from_the_last_to_the_first(spec, pods, expected):
    assert step(stateful(**spec), *pods) == ([], expected)


@pytest.mark.parametrize(
    ("spec", "status", "number", "revision"),
    [
        ({}, {"currentReplicas": 2}, 1, "r1"),
        ({}, {"currentReplicas": 2}, 2, "r2"),
        (rolling(partition=2), {"currentReplicas": 3}, 1, "r1"),
        (rolling(partition=2), {"currentReplicas": 3}, 2, "r2"),
        ({"updateStrategy": {"type": "OnDelete"}}, {}, 0, "r1"),
    ],
)
def test_a_missing_pod_comes_back_in_the_revision_its_number_has(spec, status, number, revision):
    others = [member(n) for n in range(3) if n != number]
    plan = decide(world(stateful(status=status, **spec), *others))
    assert plan.create[0] == (number, revision)


def test_the_current_revision_becomes_the_new_one_when_every_pod_has_it_and_is_ready():
    done = decide_status(world(stateful(), *(member(n) for n in range(3))))
    assert (done.current_revision, done.current_replicas, done.updated_replicas) == ("r2", 3, 3)
    under_way = decide_status(world(stateful(), member(0, revision="r1"), member(1), member(2)))
    assert (under_way.current_revision, under_way.current_replicas, under_way.updated_replicas) == ("r1", 1, 2)


def test_a_pod_has_a_name_a_host_name_and_claims_of_its_own():
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    wanted = stateful(serviceName="db", volumeClaimTemplates=[claim], selector={"matchLabels": {"app": "db"}})
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [], "volumes": [{"name": "data"}]}}
    built = pod_of(wanted, template, "db-abc", 1)
    assert built["metadata"]["name"] == built["spec"]["hostname"] == "db-1"
    assert built["spec"]["subdomain"] == "db"
    assert built["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]
    assert built["metadata"]["labels"] == {
        "app": "db",
        "statefulset.kubernetes.io/pod-name": "db-1",
        "apps.kubernetes.io/pod-index": "1",
        HASH_LABEL: "db-abc",
    }
    (made_claim,) = claims_of(wanted, 1)
    assert made_claim["metadata"]["name"] == "data-db-1"


@pytest.mark.parametrize(("name", "number"), [("db-0", 0), ("db-12", 12), ("db", -1), ("db-x", -1), ("other-db-1", -1)])
def test_the_ordinal_is_the_number_at_the_end_of_the_name(name, number):
    assert ordinal_of("db", pod(name)) == number


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_any_scaling_and_update_ends_with_every_pod_new_one_step_at_a_time(before, replicas, parallel):
    wanted = stateful(replicas, **(PARALLEL if parallel else {}))
    alive = {f"db-{n}": member(n, revision="r1") for n in range(before)}
    for age in range(60):
        plan = decide(world(wanted, *alive.values()))
        if not plan.create and not plan.delete:
            break
        if not parallel:
            assert len(plan.create) + len(plan.delete) == 1
        for gone in plan.delete:
            del alive[gone.metadata.name]
        for number, revision in plan.create:
            alive[f"db-{number}"] = member(number, revision=revision, created=age)
    assert sorted(alive) == sorted(f"db-{n}" for n in range(replicas))
    assert {one.metadata.labels[HASH_LABEL] for one in alive.values()} <= {"r2"}
