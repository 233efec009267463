"""Deletion: at once, with grace, with finalizers, with preconditions, of whole collections."""

import pytest

from sampan.apiserver.deletion import parse_options
from sampan.machinery.errors import StatusError
from support.api import API, CONFIG_MAPS, served

FOO = f"{CONFIG_MAPS}/foo"
PODS = "/api/v1/namespaces/default/pods"
POD = {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}


async def make_pod(api: API) -> dict:
    await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    made = await api.post(PODS, POD)
    assert made.status == 201, made.body
    return made.json


@served
async def test_an_object_without_finalizers_goes_at_once(api: API) -> None:
    made = await api.config_map("foo")
    answer = await api.delete(FOO)
    assert (answer.status, answer.json["status"]) == (200, "Success")
    assert answer.json["details"] == {"name": "foo", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (await api.get(FOO)).status == 404
    assert (await api.delete(FOO)).status == 404


@served
async def test_an_object_with_finalizers_stays_until_the_last_is_gone(api: API) -> None:
    await api.post(CONFIG_MAPS, {"metadata": {"name": "foo", "finalizers": ["a.b/c", "a.b/d"]}})
    waiting = (await api.delete(FOO)).json
    assert waiting["metadata"]["deletionTimestamp"]
    assert waiting["metadata"]["deletionGracePeriodSeconds"] == 0
    again = (await api.delete(FOO)).json
    assert again["metadata"]["resourceVersion"] == waiting["metadata"]["resourceVersion"]
    added = await api.patch(FOO, {"metadata": {"finalizers": ["a.b/c", "a.b/d", "a.b/new"]}})
    assert added.status == 422
    assert "no new finalizers can be added if the object is being deleted" in added.json["message"]
    assert (await api.patch(FOO, {"metadata": {"finalizers": ["a.b/c"]}})).status == 200
    assert (await api.get(FOO)).status == 200
    assert (await api.patch(FOO, {"metadata": {"finalizers": None}})).status == 200
    assert (await api.get(FOO)).status == 404


@served
async def test_a_pod_on_a_node_terminates_gracefully_and_a_second_deletion_only_hastens_it(api: API) -> None:
    await make_pod(api)
    first = (await api.delete(f"{PODS}/p")).json
    assert first["metadata"]["deletionGracePeriodSeconds"] == 30
    longer = (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 60})).json
    assert longer["metadata"]["deletionTimestamp"] == first["metadata"]["deletionTimestamp"]
    shorter = (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5})).json
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    assert shorter["metadata"]["deletionTimestamp"] < first["metadata"]["deletionTimestamp"]
    assert (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})).status == 200
    assert (await api.get(f"{PODS}/p")).status == 404


@served
async def test_grace_comes_from_the_query_too(api: API) -> None:
    await make_pod(api)
    assert (await api.delete(f"{PODS}/p?gracePeriodSeconds=0")).status == 200
    assert (await api.get(f"{PODS}/p")).status == 404


PRECONDITIONS = {"uid": "somebody-else", "resourceVersion": "1"}


@pytest.mark.parametrize("field", PRECONDITIONS)
@served
async def test_preconditions_guard_against_deleting_something_else(api: API, field: str) -> None:
    made = await api.config_map("foo")
    refused = await api.delete(FOO, {"preconditions": {field: PRECONDITIONS[field]}})
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")
    assert (await api.delete(FOO, {"preconditions": {field: made["metadata"][field]}})).status == 200


PROPAGATION = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}


@pytest.mark.parametrize("policy", PROPAGATION)
@served
async def test_propagation_is_a_finalizer_for_the_garbage_collector(api: API, policy: str) -> None:
    await api.config_map("foo")
    assert (await api.delete(FOO, {"propagationPolicy": policy})).status == 200
    waiting = (await api.get(FOO)).json
    assert waiting["metadata"]["finalizers"] == PROPAGATION[policy]
    assert (await api.delete(FOO, {"propagationPolicy": "Background"})).status == 200
    assert (await api.get(FOO)).status == 404


@served
async def test_a_collection_is_gone_when_the_answer_comes(api: API) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"app": app}}})
    answer = (await api.delete(f"{CONFIG_MAPS}?labelSelector=app%3Dx")).json
    assert answer["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in answer["items"]] == ["a", "b"]
    left = (await api.get(CONFIG_MAPS)).json["items"]
    assert [item["metadata"]["name"] for item in left] == ["c"]


@served
async def test_namespaces_have_no_collection_to_delete(api: API) -> None:
    assert (await api.delete("/api/v1/namespaces")).status == 405


@served
async def test_nothing_new_comes_into_a_namespace_on_its_way_out(api: API) -> None:
    await api.post("/api/v1/namespaces", {"metadata": {"name": "leaving"}})
    await api.delete("/api/v1/namespaces/leaving")
    assert (await api.get("/api/v1/namespaces/leaving")).json["metadata"]["deletionTimestamp"]
    answer = await api.post("/api/v1/namespaces/leaving/configmaps", {"metadata": {"name": "late"}})
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert "because it is being terminated" in answer.json["message"]
    assert answer.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"


BAD_OPTIONS = {
    "grace": {"gracePeriodSeconds": "soon"},
    "true is no number": {"gracePeriodSeconds": True},
    "propagation": {"propagationPolicy": "Sideways"},
    "preconditions": {"preconditions": [1]},
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_delete_options_that_make_no_sense_are_refused(case: str) -> None:
    with pytest.raises(StatusError):
        parse_options(BAD_OPTIONS[case])
