"""Objects are created, read, replaced and deleted as clients of Kubernetes expect."""

import asyncio

import pytest

from support.api import API, CONFIG_MAPS, served

NAMESPACES = "/api/v1/namespaces"
FOO = f"{CONFIG_MAPS}/foo"


@served
async def test_a_created_object_has_the_systems_metadata_and_is_found_again(api: API) -> None:
    made = (await api.post(CONFIG_MAPS, {"metadata": {"name": "foo", "uid": "mine", "selfLink": "x"}})).json
    assert made["kind"] == "ConfigMap"
    assert made["apiVersion"] == "v1"
    assert made["metadata"]["namespace"] == "default"
    assert made["metadata"]["uid"] not in ("", "mine")
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["metadata"]["resourceVersion"].isdecimal()
    assert "selfLink" not in made["metadata"]
    assert (await api.get(FOO)).json == made


@served
async def test_resource_versions_grow_with_every_write_of_any_kind(api: API) -> None:
    first = (await api.config_map("foo"))["metadata"]["resourceVersion"]
    second = (await api.post(NAMESPACES, {"metadata": {"name": "other"}})).json["metadata"]["resourceVersion"]
    third = (await api.patch(FOO, {"data": {"a": "b"}})).json["metadata"]["resourceVersion"]
    assert int(first) < int(second) < int(third)


@served
async def test_a_name_is_made_from_generate_name_on_every_resource(api: API) -> None:
    names = set()
    for path in (CONFIG_MAPS, CONFIG_MAPS, NAMESPACES):
        made = (await api.post(path, {"metadata": {"generateName": "made-"}})).json
        assert made["metadata"]["name"].startswith("made-")
        assert len(made["metadata"]["name"]) == len("made-") + 5
        names.add(made["metadata"]["name"])
    assert len(names) == 3


REFUSED_CREATES = {
    "no name": ({"metadata": {}}, 422, "metadata.name: Required value: name or generateName is required"),
    "an upper-case name": (
        {"metadata": {"name": "myNginx"}},
        422,
        'metadata.name: Invalid value: "myNginx": a lowercase',
    ),
    "a bad label": ({"metadata": {"name": "x", "labels": {"a b": "c"}}}, 422, "metadata.labels: Invalid value"),
    "a bad finalizer": ({"metadata": {"name": "x", "finalizers": ["mine"]}}, 422, "metadata.finalizers"),
    "a resourceVersion": (
        {"metadata": {"name": "x", "resourceVersion": "1"}},
        400,
        "resourceVersion should not be set on objects to be created",
    ),
    "another namespace": (
        {"metadata": {"name": "x", "namespace": "other"}},
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    "another kind": ({"kind": "Secret", "metadata": {"name": "x"}}, 400, "does not match the expected kind"),
    "another version": (
        {"apiVersion": "v2", "metadata": {"name": "x"}},
        400,
        "does not match the expected API version",
    ),
    "a wrong type": ({"metadata": {"name": "x"}, "data": {"a": 1}}, 400, "cannot be handled as a ConfigMap"),
    "not an object": ([1], 400, "the object provided is unrecognized"),
}


@pytest.mark.parametrize("case", REFUSED_CREATES)
@served
async def test_a_create_is_refused_with_a_status_that_says_why(api: API, case: str) -> None:
    body, status, message = REFUSED_CREATES[case]
    answer = await api.post(CONFIG_MAPS, body)
    assert answer.status == status, answer.body
    assert answer.json["kind"] == "Status"
    assert answer.json["code"] == status
    assert message in answer.json["message"]


@served
async def test_a_second_create_of_the_same_name_conflicts(api: API) -> None:
    await api.config_map("foo")
    answer = await api.post(CONFIG_MAPS, {"metadata": {"name": "foo"}})
    assert (answer.status, answer.json["reason"]) == (409, "AlreadyExists")
    assert answer.json["message"] == 'configmaps "foo" already exists'


@served
async def test_nothing_is_created_in_a_namespace_that_is_not_there(api: API) -> None:
    answer = await api.post("/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "foo"}})
    assert answer.status == 404
    assert answer.json["message"] == 'namespaces "nowhere" not found'


@served
async def test_what_is_not_there_is_not_found(api: API) -> None:
    answer = await api.get(FOO)
    assert (answer.status, answer.json["reason"]) == (404, "NotFound")
    assert answer.json["message"] == 'configmaps "foo" not found'
    assert answer.json["details"] == {"name": "foo", "kind": "configmaps"}
    assert (await api.get("/api/v1/wonders")).status == 404
    assert (await api.get("/apis/none.such/v1/things/x")).status == 404


@served
async def test_put_with_a_stale_version_conflicts_and_without_one_overwrites(api: API) -> None:
    made = await api.config_map("foo", a="1")
    changed = await api.put(FOO, {**made, "data": {"a": "2"}})
    assert (changed.status, changed.json["data"]) == (200, {"a": "2"})
    stale = await api.put(FOO, {**made, "data": {"a": "3"}})
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    assert stale.json["message"].startswith('Operation cannot be fulfilled on configmaps "foo": the object has been')
    forced = await api.put(FOO, {"metadata": {"name": "foo"}, "data": {"a": "4"}})
    assert (forced.status, forced.json["data"]) == (200, {"a": "4"})
    assert forced.json["metadata"]["uid"] == made["metadata"]["uid"]


@served
async def test_put_with_another_uid_conflicts(api: API) -> None:
    made = await api.config_map("foo")
    made["metadata"]["uid"] = "somebody-else"
    answer = await api.put(FOO, made)
    assert answer.status == 409
    assert "Precondition failed: UID in precondition: somebody-else" in answer.json["message"]


@served
async def test_a_write_that_changes_nothing_gets_no_new_version(api: API) -> None:
    made = await api.config_map("foo", a="1")
    assert (await api.put(FOO, made)).json["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@served
async def test_put_creates_only_what_upstream_lets_it_create(api: API) -> None:
    endpoints = "/api/v1/namespaces/default/endpoints/made"
    assert (await api.put(FOO, {"metadata": {"name": "foo"}})).status == 404
    assert (await api.put(endpoints, {"metadata": {"name": "made"}})).status == 201


@served
async def test_a_dry_run_answers_like_the_real_thing_and_stores_nothing(api: API) -> None:
    tried = await api.post(f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "foo"}})
    assert (tried.status, tried.json["metadata"]["name"]) == (201, "foo")
    assert (await api.get(FOO)).status == 404
    made = await api.config_map("foo", a="1")
    patched = await api.patch(f"{FOO}?dryRun=All", {"data": {"a": "2"}})
    assert patched.json["data"] == {"a": "2"}
    assert (await api.delete(f"{FOO}?dryRun=All")).status == 200
    assert (await api.get(FOO)).json == made


UNKNOWN_FIELDS = {
    "Strict": (400, None, 'strict decoding error: unknown field "date"'),
    "Warn": (201, '299 - "unknown field \\"date\\""', None),
    "Ignore": (201, None, None),
}


@pytest.mark.parametrize("level", UNKNOWN_FIELDS)
@served
async def test_unknown_fields_are_refused_warned_of_or_dropped(api: API, level: str) -> None:
    status, warning, message = UNKNOWN_FIELDS[level]
    answer = await api.post(f"{CONFIG_MAPS}?fieldValidation={level}", {"metadata": {"name": "x"}, "date": {}})
    assert answer.status == status
    assert answer.headers.get("warning") == warning
    if message:
        assert message in answer.json["message"]
    else:
        assert "date" not in answer.json


REPEATED = b'{"metadata":{"name":"x","name":"x"},"data":{"a":"1"},"data":{"a":"2"},"date":{}}'
REPEATED_MESSAGE = 'unknown field "date", duplicate field "metadata.name", duplicate field "data"'


@pytest.mark.parametrize("level", ["Strict", "Warn", "Ignore"])
@served
async def test_repeated_fields_are_refused_warned_of_or_let_be(api: API, level: str) -> None:
    await api.config_map("y")
    requests = [
        ("POST", CONFIG_MAPS, REPEATED, "json"),
        ("PUT", f"{CONFIG_MAPS}/y", REPEATED.replace(b'"x"', b'"y"'), "json"),
        ("PATCH", f"{CONFIG_MAPS}/y", REPEATED.replace(b'"x"', b'"y"'), "merge-patch+json"),
        ("PATCH", f"{CONFIG_MAPS}/y", REPEATED.replace(b'"x"', b'"y"'), "strategic-merge-patch+json"),
    ]
    for method, path, body, kind in requests:
        answer = await api.call(method, f"{path}?fieldValidation={level}", body, content_type=f"application/{kind}")
        if level == "Strict":
            assert (answer.status, answer.json["message"].endswith(REPEATED_MESSAGE)) == (400, True), answer.body
            continue
        assert answer.status in (200, 201), answer.body
        assert answer.json["data"] == {"a": "2"}
        assert ("duplicate field" in answer.headers.get("warning", "")) is (level == "Warn")


@served
async def test_the_field_manager_is_booked_with_what_it_set(api: API) -> None:
    made = (await api.post(f"{CONFIG_MAPS}?fieldManager=me", {"metadata": {"name": "foo"}, "data": {"a": "b"}})).json
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("me", "Update", "v1")
    assert entry["fieldsV1"]["f:data"] == {".": {}, "f:a": {}}


@served
async def test_concurrent_patches_all_take_effect(api: API) -> None:
    await api.config_map("foo")
    answers = await asyncio.gather(*(api.patch(FOO, {"data": {f"k{i}": "v"}}) for i in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert len((await api.get(FOO)).json["data"]) == 30


@served
async def test_generation_counts_changes_of_the_spec_only(api: API) -> None:
    path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    made = (await api.post(path, {"metadata": {"name": "p"}, "spec": {"podSelector": {}}})).json
    assert made["metadata"]["generation"] == 1
    labelled = (await api.patch(f"{path}/p", {"metadata": {"labels": {"a": "b"}}})).json
    assert labelled["metadata"]["generation"] == 1
    changed = (await api.patch(f"{path}/p", {"spec": {"policyTypes": ["Egress"]}})).json
    assert changed["metadata"]["generation"] == 2
