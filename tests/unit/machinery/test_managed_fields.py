"""Every write is booked to the manager that made it."""

import pytest

from sampan.machinery.managed_fields import Manager, manager_name, track
from sampan.machinery.objects import copy

POD = ("", "v1", "Pod")
KUBECTL = Manager("kubectl", "Update", "v1")
EDITOR = Manager("editor", "Update", "v1")
AGENT = Manager("agent", "Update", "v1", "status")
LEAF: dict = {}
DOT = {".": {}}


def pod(**labels):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "uid": "1", "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}]}]},
    }


CONTAINER = {
    **DOT,
    "f:name": LEAF,
    "f:image": LEAF,
    "f:ports": {**DOT, 'k:{"containerPort":80,"protocol":"TCP"}': {**DOT, "f:containerPort": LEAF}},
}


def fields(obj):
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())}


@pytest.fixture
def node(schemas):
    return schemas.definition(POD)


@pytest.fixture
def created(node):
    obj = pod(app="web")
    track(None, obj, node, KUBECTL, "t1")
    return obj


def changed(obj, change):
    new = copy(obj)
    change(new)
    return new


def test_the_creator_owns_everything_it_wrote_but_the_system_fields(created):
    assert created["metadata"]["managedFields"] == [
        {
            "manager": "kubectl",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "t1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {**DOT, "f:app": LEAF}},
                "f:spec": {"f:containers": {'k:{"name":"c"}': CONTAINER}},
            },
        }
    ]


def test_an_object_with_nothing_but_a_name_in_its_metadata_has_none_of_it_owned(node):
    obj = pod()
    del obj["metadata"]["labels"]
    track(None, obj, node, KUBECTL, "t1")
    assert set(fields(obj)["kubectl"]) == {"f:spec"}
    labelled = changed(obj, lambda new: new["metadata"].update(labels={"app": "web"}))
    track(obj, labelled, node, EDITOR, "t2")
    assert fields(labelled)["editor"] == {"f:metadata": {"f:labels": {**DOT, "f:app": LEAF}}}


def test_a_write_that_changes_nothing_changes_no_entry(node, created):
    new = copy(created)
    track(created, new, node, EDITOR, "t2")
    assert new == created


def test_who_changes_a_field_takes_it_over(node, created):
    new = changed(created, lambda obj: obj["spec"]["containers"][0].update(image="y"))
    track(created, new, node, EDITOR, "t2")
    assert fields(new)["editor"] == {"f:spec": {"f:containers": {'k:{"name":"c"}': {"f:image": LEAF}}}}
    without = {key: value for key, value in CONTAINER.items() if key != "f:image"}
    assert fields(new)["kubectl"]["f:spec"] == {"f:containers": {'k:{"name":"c"}': without}}
    times = {entry["manager"]: entry["time"] for entry in new["metadata"]["managedFields"]}
    assert times == {"kubectl": "t1", "editor": "t2"}


def test_a_removed_field_belongs_to_nobody(node, created):
    new = changed(created, lambda obj: obj["metadata"].pop("labels"))
    track(created, new, node, EDITOR, "t2")
    assert fields(new) == {"kubectl": {"f:spec": fields(created)["kubectl"]["f:spec"]}}


def test_a_list_emptied_by_another_stays_with_its_owner(node, created):
    def rewrite(obj):
        obj["metadata"]["labels"] = {"other": "x"}
        obj["spec"] = {"containers": [{"name": "d"}]}

    new = changed(created, rewrite)
    track(created, new, node, EDITOR, "t2")
    assert fields(new).keys() == {"kubectl", "editor"}
    assert fields(new)["kubectl"] == {"f:metadata": {"f:labels": LEAF}}


def test_a_subresource_has_an_entry_of_its_own(node, created):
    new = changed(created, lambda obj: obj.update(status={"phase": "Running"}))
    track(created, new, node, AGENT, "t2")
    entry = new["metadata"]["managedFields"][1]
    assert (entry["manager"], entry["subresource"]) == ("agent", "status")
    assert entry["fieldsV1"] == {"f:status": {"f:phase": LEAF}}


def test_one_manager_may_write_again(node, created):
    new = changed(created, lambda obj: obj["metadata"]["labels"].update(b="c"))
    track(created, new, node, KUBECTL, "t2")
    assert len(new["metadata"]["managedFields"]) == 1
    assert fields(new)["kubectl"]["f:metadata"] == {"f:labels": {**DOT, "f:app": LEAF, "f:b": LEAF}}


def test_a_client_can_leave_the_fields_out_or_clear_them(node, created):
    left_out = changed(created, lambda obj: obj["metadata"].pop("managedFields"))
    track(created, left_out, node, EDITOR, "t2")
    assert left_out == created
    cleared = changed(created, lambda obj: obj["metadata"].update(managedFields=[{}]))
    track(created, cleared, node, EDITOR, "t2")
    assert "managedFields" not in cleared["metadata"]


def test_what_a_client_writes_that_makes_no_sense_is_replaced(node, created):
    new = changed(created, lambda obj: obj["metadata"].update(managedFields=[{"fieldsType": "x"}]))
    track(created, new, node, EDITOR, "t2")
    assert new == created


def test_an_invalid_list_item_is_left_to_validation(node, created):
    new = changed(created, lambda obj: obj["spec"]["containers"].append({}))
    track(created, new, node, EDITOR, "t2")
    assert fields(new) == fields(created)


def test_the_oldest_of_many_updaters_are_folded_into_one(node):
    obj = pod()
    track(None, obj, node, Manager("m0", "Update", "v1"), "t00")
    for index in range(1, 15):
        new = changed(obj, lambda one, index=index: one["metadata"]["labels"].update({f"l{index}": "x"}))
        track(obj, new, node, Manager(f"m{index}", "Update", "v1"), f"t{index:02}")
        obj = new
    names = [entry["manager"] for entry in obj["metadata"]["managedFields"]]
    assert len(names) == 10
    assert "ancient-changes" in names
    assert "m14" in names


@pytest.mark.parametrize(
    ("given", "agent", "expected"),
    [
        ("mine", "kubectl/v1.32.0 (linux/amd64)", "mine"),
        ("", "kubectl/v1.32.0 (linux/amd64)", "kubectl"),
        ("", "", "unknown"),
        ("", "a" * 200, "a" * 128),
    ],
)
def test_a_manager_is_named_by_request_or_user_agent(given, agent, expected):
    assert manager_name(given, agent) == expected
