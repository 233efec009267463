"""Server-side apply: ownership, conflicts, and what happens to fields that are no longer applied."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.machinery.errors import BadRequest, Conflict
from sampan.machinery.managed_fields import Manager, track
from sampan.machinery.objects import copy
from sampan.machinery.patch.apply import server_side_apply

DEPLOYMENT = ("apps", "v1", "Deployment")


def deployment(replicas=None, containers=(), metadata=None, **spec):
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", **(metadata or {})},
        "spec": spec,
    }
    if replicas is not None:
        body["spec"]["replicas"] = replicas
    if containers:
        body["spec"]["template"] = {"spec": {"containers": [dict(container) for container in containers]}}
    return body


@pytest.fixture(scope="module")
def node(schemas):
    return schemas.definition(DEPLOYMENT)


@pytest.fixture
def apply(node):
    def run(live, config, manager="ci", force=False, now="t1", subresource=""):
        return server_side_apply(
            live, config, node, manager=manager, force=force, api_version="apps/v1", subresource=subresource, now=now
        )

    return run


def updated(live, new, node, manager="kubectl", now="t2", subresource=""):
    merged = {**copy(live), **copy(new), "metadata": {**copy(live)["metadata"], **new.get("metadata", {})}}
    track(live, merged, node, Manager(manager, "Update", "apps/v1", subresource), now)
    return merged


def owners(obj):
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())
    }


def names(obj):
    return [container["name"] for container in obj["spec"]["template"]["spec"]["containers"]]


def test_the_first_apply_creates_and_owns_what_it_names(apply):
    made = apply(None, deployment(2, [{"name": "c", "image": "x"}]))
    assert made["spec"]["replicas"] == 2
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "ci",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": "t1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:spec": {
                    "f:replicas": {},
                    "f:template": {
                        "f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}}
                    },
                }
            },
        }
    ]


def test_applying_the_same_again_changes_nothing(apply):
    made = apply(None, deployment(2, [{"name": "c", "image": "x"}]))
    assert apply(made, deployment(2, [{"name": "c", "image": "x"}]), now="t9") is made


def test_a_conflict_names_the_other_manager_and_the_field(apply, node):
    live = updated(apply(None, deployment(2)), {"spec": {"replicas": 5}}, node)
    with pytest.raises(Conflict) as caught:
        apply(live, deployment(3))
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
    assert caught.value.to_status()["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_conflicts_are_listed_by_manager(apply, node):
    live = apply(None, deployment(2, [{"name": "c", "image": "x"}], paused=True), manager="first")
    live = updated(live, {"spec": {**live["spec"], "replicas": 5}}, node, subresource="scale")
    with pytest.raises(Conflict) as caught:
        apply(live, deployment(3, [{"name": "c", "image": "y"}], paused=False))
    assert caught.value.message == (
        "Apply failed with 3 conflicts: "
        'conflicts with "first":\n'
        "- .spec.paused\n"
        '- .spec.template.spec.containers[name="c"].image\n'
        'conflicts with "kubectl" with subresource "scale" using apps/v1:\n'
        "- .spec.replicas"
    )


def test_force_takes_the_field_over(apply, node):
    live = updated(apply(None, deployment(2)), {"spec": {"replicas": 5}}, node)
    forced = apply(live, deployment(3), force=True)
    assert forced["spec"]["replicas"] == 3
    assert owners(forced) == {("ci", "Apply"): {"f:spec": {"f:replicas": {}}}}


def test_the_same_value_is_shared(apply):
    live = apply(apply(None, deployment(2), manager="a"), deployment(2), manager="b")
    assert owners(live) == {
        ("a", "Apply"): {"f:spec": {"f:replicas": {}}},
        ("b", "Apply"): {"f:spec": {"f:replicas": {}}},
    }


def test_a_field_no_longer_applied_is_removed(apply):
    live = apply(None, deployment(2, paused=True, metadata={"labels": {"a": "1", "b": "2"}}))
    live = apply(live, deployment(2, metadata={"labels": {"a": "1"}}))
    assert live["spec"] == {"replicas": 2}
    assert live["metadata"]["labels"] == {"a": "1"}


def test_a_field_that_another_applies_too_stays(apply):
    live = apply(apply(None, deployment(2, paused=True), manager="a"), deployment(2, paused=True), manager="b")
    live = apply(live, deployment(2), manager="b")
    assert live["spec"] == {"replicas": 2, "paused": True}


def test_what_nobody_applied_is_left_alone(apply, node):
    live = updated(apply(None, deployment(2)), {"spec": {"replicas": 2, "paused": True}}, node)
    live = apply(live, deployment(2, minReadySeconds=3))
    assert live["spec"] == {"replicas": 2, "paused": True, "minReadySeconds": 3}


def test_an_item_no_longer_applied_is_removed(apply):
    live = apply(None, deployment(1, [{"name": "a"}, {"name": "b"}]))
    assert names(apply(live, deployment(1, [{"name": "b"}]))) == ["b"]


def test_an_item_that_another_applies_too_keeps_only_their_fields(apply):
    live = apply(None, deployment(1, [{"name": "a", "image": "x", "tty": True}]), manager="one")
    live = apply(live, deployment(1, [{"name": "a", "image": "x"}, {"name": "b"}]), manager="two")
    live = apply(live, deployment(1, [{"name": "z"}]), manager="one")
    assert live["spec"]["template"]["spec"]["containers"] == [{"name": "z"}, {"name": "a", "image": "x"}, {"name": "b"}]


def test_items_keep_the_order_of_the_configuration(apply):
    live = apply(None, deployment(1, [{"name": "side"}]), manager="other")
    live = apply(live, deployment(1, [{"name": "b"}, {"name": "a"}]))
    assert [name for name in names(live) if name != "side"] == ["b", "a"]


def test_an_atomic_list_has_one_owner(apply):
    live = apply(None, deployment(1, [{"name": "a", "args": ["x"]}]), manager="one")
    with pytest.raises(Conflict, match=r'containers\[name="a"\]\.args'):
        apply(live, deployment(1, [{"name": "a", "args": ["y"]}]), manager="two")


def test_items_with_several_keys_are_told_apart(apply):
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]
    live = apply(None, deployment(1, [{"name": "a", "ports": ports}]))
    live = apply(live, deployment(1, [{"name": "a", "ports": [{"containerPort": 53}]}]))
    assert live["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 53}]


def test_a_set_merges_and_shrinks(apply):
    live = apply(None, deployment(1, metadata={"finalizers": ["a", "b"]}), manager="one")
    live = apply(live, deployment(1, metadata={"finalizers": ["c"]}), manager="two")
    live = apply(live, deployment(1, metadata={"finalizers": ["b"]}), manager="one")
    assert sorted(live["metadata"]["finalizers"]) == ["b", "c"]


def test_an_object_from_before_tracking_is_owned_by_nobody_in_particular(apply):
    live = deployment(2, metadata={"creationTimestamp": "t0"})
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using apps/v1: .spec.replicas$'):
        apply(live, deployment(3))


def test_kubectl_may_change_what_it_applied_client_side(apply, node):
    config = deployment(2)
    noted = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": msgspec.json.encode(config).decode()}}
    live = deployment(2, metadata=noted)
    track(None, live, node, Manager("kubectl-client-side-apply", "Update", "apps/v1"), "t0")
    assert apply(live, deployment(3), manager="kubectl")["spec"]["replicas"] == 3
    with pytest.raises(Conflict):
        apply(live, deployment(3), manager="other")


def test_status_is_applied_only_where_it_is_served(apply):
    config = deployment(2) | {"status": {"replicas": 1}}
    assert "status" not in apply(None, config)
    live = apply(None, deployment(2))
    with_status = apply(live, deployment(9) | {"status": {"replicas": 1}}, manager="s", subresource="status")
    assert with_status["spec"] == {"replicas": 2}
    assert with_status["status"] == {"replicas": 1}
    assert owners(with_status)["s", "Apply"] == {"f:status": {"f:replicas": {}}}


@pytest.mark.parametrize(
    "config",
    [
        deployment(1, metadata={"managedFields": [{}]}),
        deployment(1, [{"name": "a"}, {"name": "a"}]),
        deployment(1, [{"image": "a"}]),
    ],
)
def test_a_configuration_that_cannot_be_applied_is_refused(apply, config):
    with pytest.raises(BadRequest):
        apply(None, config)


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)
CONTAINERS = st.lists(st.sampled_from("xyz"), unique=True, max_size=3)


@st.composite
def configurations(draw):
    metadata = {"labels": draw(LABELS)} if draw(st.booleans()) else {}
    containers = [
        {"name": name, **({"image": draw(st.sampled_from("pq"))} if draw(st.booleans()) else {})}
        for name in draw(CONTAINERS)
    ]
    return deployment(draw(st.none() | st.integers(1, 2)), containers, metadata)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), configurations()), min_size=1, max_size=5))
def test_whatever_came_before_the_last_configuration_holds_and_applying_it_twice_changes_nothing(schemas, history):
    node = schemas.definition(DEPLOYMENT)
    live = None
    for manager, config in history:
        before = copy(live)
        result = server_side_apply(live, config, node, manager=manager, force=True, api_version="apps/v1", now="t")
        assert live == before
        live = result
    manager, config = history[-1]
    again = server_side_apply(live, config, node, manager=manager, force=False, api_version="apps/v1", now="u")
    assert again is live
    assert live["metadata"].get("labels", {}).items() >= config["metadata"].get("labels", {}).items()
    assert live["spec"].items() >= {k: v for k, v in config["spec"].items() if k == "replicas"}.items()


@given(configurations(), configurations())
def test_applying_without_a_field_undoes_applying_with_it(schemas, first, second):
    """One manager alone: the object is what was applied last, whatever was before."""
    node = schemas.definition(DEPLOYMENT)

    def apply(live, config):
        return server_side_apply(live, config, node, manager="m", force=False, api_version="apps/v1", now="t")

    direct, detour = apply(None, second), apply(apply(None, first), second)
    assert without_empty(detour) == without_empty(direct)


def without_empty(value):
    """An empty list or map means the same as none."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := without_empty(item)) not in ({}, [])}
    if isinstance(value, list):
        return sorted((without_empty(item) for item in value), key=repr)
    return value
