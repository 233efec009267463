"""The four kinds of PATCH, on objects and on their subresources."""

import pytest

from support.api import API, CONFIG_MAPS, served

FOO = f"{CONFIG_MAPS}/foo"
POLICIES = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
SCALES = "/apis/apps/v1/namespaces/default/deployments/web/scale"
DEPLOYMENT = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
        },
    },
}

PATCHES = {
    "json": ("json-patch+json", [{"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}),
    "merge": ("merge-patch+json", {"data": {"a": None, "b": "2"}}, {"b": "2"}),
    "strategic": ("strategic-merge-patch+json", {"data": {"b": "2"}}, {"a": "1", "b": "2"}),
}


@pytest.mark.parametrize("kind", PATCHES)
@served
async def test_a_patch_changes_what_it_says(api: API, kind: str) -> None:
    media_type, patch, data = PATCHES[kind]
    await api.config_map("foo", a="1")
    answer = await api.patch(FOO, patch, media_type)
    assert (answer.status, answer.json["data"]) == (200, data)


@served
async def test_a_strategic_patch_merges_lists_by_their_keys(api: API) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    assert (await api.post(path, DEPLOYMENT)).status == 201
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "b:2"}]}}}}
    answer = await api.patch(f"{path}/web", patch, "strategic-merge-patch+json")
    containers = answer.json["spec"]["template"]["spec"]["containers"]
    assert {(one["name"], one["image"]) for one in containers} == {("a", "a:1"), ("b", "b:2")}


@served
async def test_a_patch_that_names_a_version_is_for_that_version_only(api: API) -> None:
    made = await api.config_map("foo", a="1")
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    assert (await api.patch(FOO, {"data": {"a": "2"}})).status == 200
    assert (await api.patch(FOO, stale)).status == 409


BAD_PATCHES = {
    "unknown type": ("text/plain", {}, 415),
    "not a list": ("json-patch+json", {"a": 1}, 400),
    "not an object": ("merge-patch+json", [1], 400),
    "a test that fails": ("json-patch+json", [{"op": "test", "path": "/data/a", "value": "x"}], 422),
    "a wrong type": ("merge-patch+json", {"data": 7}, 400),
    "another name": ("merge-patch+json", {"metadata": {"name": "bar"}}, 400),
    "a bad label": ("merge-patch+json", {"metadata": {"labels": {"a b": "c"}}}, 422),
    "not JSON": ("merge-patch+json", b"{", 400),
}


@pytest.mark.parametrize("case", BAD_PATCHES)
@served
async def test_a_bad_patch_is_refused_and_changes_nothing(api: API, case: str) -> None:
    media_type, patch, status = BAD_PATCHES[case]
    made = await api.config_map("foo", a="1")
    answer = await api.patch(FOO, patch, media_type)
    assert (answer.status, answer.json["kind"]) == (status, "Status"), answer.body
    assert (await api.get(FOO)).json == made


@served
async def test_a_status_patch_sets_status_and_annotations_but_no_spec(api: API) -> None:
    made = (await api.post(POLICIES, {"metadata": {"name": "p"}, "spec": {"minAvailable": 1}})).json
    patch = {
        "metadata": {"annotations": {"seen": "yes"}},
        "spec": {"minAvailable": 5},
        "status": {"desiredHealthy": 3, "currentHealthy": 3, "disruptionsAllowed": 0, "expectedPods": 3},
    }
    answer = (await api.patch(f"{POLICIES}/p/status", patch)).json
    assert answer["spec"]["minAvailable"] == 1
    assert answer["status"]["desiredHealthy"] == 3
    assert answer["metadata"]["annotations"] == {"seen": "yes"}
    assert answer["metadata"]["generation"] == made["metadata"]["generation"]
    again = (await api.get(f"{POLICIES}/p/status")).json
    assert (again["kind"], again["metadata"]["uid"]) == ("PodDisruptionBudget", made["metadata"]["uid"])
    spec = (await api.patch(f"{POLICIES}/p", {"spec": {"minAvailable": 2}, "status": {"desiredHealthy": 9}})).json
    assert (spec["spec"]["minAvailable"], spec["status"]["desiredHealthy"]) == (2, 3)


@served
async def test_scale_is_read_put_and_patched(api: API) -> None:
    made = (await api.post("/apis/apps/v1/namespaces/default/deployments", DEPLOYMENT)).json
    scale = (await api.get(SCALES)).json
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]["selector"]) == ({"replicas": 2}, "app=web")
    assert scale["metadata"]["uid"] == made["metadata"]["uid"]
    assert (await api.put(SCALES, {**scale, "spec": {"replicas": 5}})).json["spec"]["replicas"] == 5
    assert (await api.put(SCALES, {**scale, "spec": {"replicas": 6}})).status == 409
    assert (await api.patch(SCALES, {"spec": {"replicas": 0}})).json["spec"] == {"replicas": 0}
    assert (await api.patch(SCALES, {"spec": {"replicas": -1}})).status == 422
    deployment = (await api.get("/apis/apps/v1/namespaces/default/deployments/web")).json
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (0, 3)


APPLY = "apply-patch+yaml"


@served
async def test_apply_creates_then_changes_and_takes_back_what_it_no_longer_says(api: API) -> None:
    mine = f"{FOO}?fieldManager=me"
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: foo}\ndata: {a: '1', b: '2'}\n"
    assert (await api.patch(mine, text, APPLY)).status == 201
    changed = await api.patch(mine, text.replace(b", b: '2'", b""), APPLY)
    assert (changed.status, changed.json["data"]) == (200, {"a": "1"})
    same = await api.patch(mine, text.replace(b", b: '2'", b""), APPLY)
    assert same.json["metadata"]["resourceVersion"] == changed.json["metadata"]["resourceVersion"]


@served
async def test_apply_respects_what_others_manage_unless_forced(api: API) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foo"}, "data": {"a": "theirs"}}
    assert (await api.patch(f"{FOO}?fieldManager=them", theirs, APPLY)).status == 201
    ours = {**theirs, "data": {"a": "ours"}}
    refused = await api.patch(f"{FOO}?fieldManager=us", ours, APPLY)
    assert (refused.status, refused.json["reason"]) == (409, "Conflict")
    assert refused.json["details"]["causes"][0]["field"] == ".data.a"
    forced = await api.patch(f"{FOO}?fieldManager=us&force=true", ours, APPLY)
    assert (forced.status, forced.json["data"]) == (200, {"a": "ours"})


@served
async def test_apply_needs_a_manager_and_a_whole_object(api: API) -> None:
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "foo"}}
    assert (await api.patch(FOO, whole, APPLY)).status == 422
    assert (await api.patch(f"{FOO}?fieldManager=me", b"- 1", APPLY)).status == 400
    assert (await api.patch(f"{FOO}?fieldManager=me", {**whole, "metadata": {"name": "bar"}}, APPLY)).status == 400
