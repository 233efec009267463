"""Discovery tells the same story in all its forms, and OpenAPI has what it points to."""

from typing import Any

import pytest

from support.api import API, served

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@served
async def test_groups_versions_and_resources_are_listed(api: API) -> None:
    assert (await api.get("/api")).json["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await api.get("/apis")).json["groups"]}
    assert groups["apps"]["preferredVersion"]["groupVersion"] == "apps/v1"
    assert (await api.get("/apis/apps")).json["kind"] == "APIGroup"
    found = {one["name"]: one for one in (await api.get("/api/v1")).json["resources"]}
    assert found["pods"]["shortNames"] == ["po"]
    assert found["pods/eviction"]["kind"] == "Eviction"
    assert found["nodes"]["namespaced"] is False


@served
async def test_every_version_of_every_group_answers(api: API) -> None:
    for group in (await api.get("/apis")).json["groups"]:
        for version in group["versions"]:
            answer = await api.get(f"/apis/{version['groupVersion']}")
            assert answer.json["groupVersion"] == version["groupVersion"]


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
@served
async def test_the_aggregated_form_says_the_same(api: API, version: str) -> None:
    accept = AGGREGATED.replace("v=v2", f"v={version}") + ",application/json"
    answer = await api.get("/apis", accept=accept)
    assert f"v={version}" in answer.headers["content-type"]
    assert answer.json["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    apps = next(item for item in answer.json["items"] if item["metadata"]["name"] == "apps")
    assert apps["versions"][0]["version"] == "v1"
    names = {one["resource"] for one in apps["versions"][0]["resources"]}
    plain = {one["name"] for one in (await api.get("/apis/apps/v1")).json["resources"]}
    assert names == {name for name in plain if "/" not in name}


@served
async def test_a_document_that_has_not_changed_is_not_sent_again(api: API) -> None:
    for path in ("/apis", "/openapi/v3"):
        first = await api.get(path)
        again = await api.get(path, if_none_match=first.headers["etag"])
        assert (again.status, again.body) == (304, b"")


@served
async def test_openapi_has_every_served_version_and_old_clients_get_protobuf(api: API) -> None:
    paths: dict[str, Any] = (await api.get("/openapi/v3")).json["paths"]
    assert "api/v1" in paths
    apps = (await api.get(paths["apis/apps/v1"]["serverRelativeURL"])).json
    assert "io.k8s.api.apps.v1.Deployment" in apps["components"]["schemas"]
    old = await api.get("/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert old.headers["content-type"].endswith("+protobuf")


@served
async def test_metrics_count_requests(api: API) -> None:
    await api.get("/api/v1/pods")
    text = (await api.get("/metrics")).body.decode()
    assert (
        'apiserver_request_total{code="200",group="",resource="pods",subresource="",verb="LIST",version="v1"} 1' in text
    )
