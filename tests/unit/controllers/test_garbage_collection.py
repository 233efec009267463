"""Garbage collection: the graph of owners, and the verdict on an object."""

import pytest

from sampan.api.meta_v1 import ObjectMeta
from sampan.client.resources import PODS, REPLICA_SETS
from sampan.controllers.garbagecollector.graph import FOREGROUND, ORPHAN, Graph, Task
from sampan.controllers.garbagecollector.verdict import Keep, Owner, Remove, judge
from support.objects import at, made, metadata, owner

KINDS = {("apps/v1", "ReplicaSet"): REPLICA_SETS, ("v1", "Pod"): PODS}


def meta(name, *owners, deleted=False, finalizers=()):
    more = {"deletionTimestamp": at(1)} if deleted else {}
    references = [owner("ReplicaSet", one) for one in owners]
    return made(ObjectMeta, **metadata(name, ownerReferences=references, finalizers=list(finalizers), **more))


def graph(*objects):
    built = Graph()
    for one in objects:
        built.observe(PODS if one.name.startswith("pod") else REPLICA_SETS, one, KINDS)
    return built


def test_an_owner_never_seen_is_looked_up_and_its_place_is_guessed_from_the_reference():
    built = Graph()
    assert built.observe(PODS, meta("pod", "rs"), KINDS) == [(Task.DELETE, "uid-rs")]
    node = built.nodes["uid-rs"]
    assert (node.virtual, node.resource, node.namespace, node.name) == (True, REPLICA_SETS, "default", "rs")
    assert built.forget("uid-rs") == [(Task.DELETE, "uid-pod")]
    assert built.is_absent("uid-rs")


def test_an_owner_that_turns_up_later_keeps_its_dependents():
    built = graph(meta("pod", "rs"), meta("rs"))
    assert not built.nodes["uid-rs"].virtual
    assert [one.name for one in built.dependents("uid-rs")] == ["pod"]


def test_dependents_of_a_deleted_owner_need_a_look():
    built = graph(meta("rs"), meta("pod-a", "rs"), meta("pod-b", "rs"))
    assert set(built.forget("uid-rs")) == {(Task.DELETE, "uid-pod-a"), (Task.DELETE, "uid-pod-b")}


def test_a_dependent_that_names_an_absent_owner_again_needs_a_look():
    built = graph(meta("rs"))
    built.forget("uid-rs")
    assert built.observe(PODS, meta("pod", "rs"), KINDS) == [(Task.DELETE, "uid-pod")]


def test_foreground_deletion_looks_at_dependents_and_waits_for_those_that_block():
    built = graph(meta("rs"), meta("pod", "rs"))
    work = built.observe(REPLICA_SETS, meta("rs", deleted=True, finalizers=[FOREGROUND]), KINDS)
    assert work == [(Task.DELETE, "uid-pod"), (Task.DELETE, "uid-rs")]
    assert [one.name for one in built.blocking_dependents("uid-rs")] == ["pod"]
    assert built.forget("uid-pod") == [(Task.DELETE, "uid-rs")]
    assert built.blocking_dependents("uid-rs") == []


def test_a_new_dependent_of_an_owner_deleted_in_the_foreground_needs_a_look():
    built = graph(meta("rs", deleted=True, finalizers=[FOREGROUND]))
    assert built.observe(PODS, meta("pod", "rs"), KINDS) == [(Task.DELETE, "uid-pod")]


def test_orphaning_is_asked_for_once():
    built = graph(meta("rs"), meta("pod", "rs"))
    gone = meta("rs", deleted=True, finalizers=[ORPHAN])
    assert built.observe(REPLICA_SETS, gone, KINDS) == [(Task.ORPHAN, "uid-rs")]
    assert built.observe(REPLICA_SETS, gone, KINDS) == []


def test_virtual_owners_without_dependents_are_forgotten():
    built = graph(meta("pod", "rs"))
    built.observe(PODS, meta("pod"), KINDS)
    assert set(built.nodes) == {"uid-pod"}


@pytest.mark.parametrize(
    ("owners", "finalizers", "dependents", "expected"),
    [
        ({}, (), (), Keep()),
        ({"a": Owner.SOLID}, (), (), Keep()),
        ({"a": Owner.DANGLING}, (), (), Remove("Background")),
        ({"a": Owner.DANGLING}, (ORPHAN,), (), Remove("Orphan")),
        ({"a": Owner.DANGLING}, (FOREGROUND,), (), Remove("Foreground")),
        ({"a": Owner.WAITING}, (), (), Remove("Background")),
        ({"a": Owner.WAITING}, (), (False,), Remove("Foreground")),
        ({"a": Owner.WAITING}, (), (True,), Remove("Foreground", unblock=True)),
    ],
)
def test_an_object_goes_when_no_owner_is_left(owners, finalizers, dependents, expected):
    states = {f"uid-{name}": state for name, state in owners.items()}
    verdict = judge(
        meta("pod", *owners, finalizers=finalizers),
        states,
        has_dependents=bool(dependents),
        dependents_waiting=dependents,
    )
    assert verdict == expected


@pytest.mark.parametrize("gone", [Owner.DANGLING, Owner.WAITING])
def test_while_one_owner_lives_only_the_references_to_others_go(gone):
    verdict = judge(meta("pod", "alive", "gone"), {"uid-alive": Owner.SOLID, "uid-gone": gone}, has_dependents=False)
    assert isinstance(verdict, Keep)
    assert [one.name for one in verdict.drop] == ["gone"]
