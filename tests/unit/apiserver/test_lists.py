"""Lists select, page and show one moment."""

import asyncio

import pytest

from sampan.apiserver import main
from sampan.apiserver.listing import decode_token, encode_token
from sampan.machinery.errors import BadRequest
from sampan.store.history import Limits
from sampan.store.memory import MemoryStore
from support.api import API, CONFIG_MAPS, served


def names(answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


async def fill(api: API, count: int) -> None:
    for number in range(count):
        labels = {"parity": "even" if number % 2 == 0 else "odd", "n": str(number)}
        await api.post(CONFIG_MAPS, {"metadata": {"name": f"m{number}", "labels": labels}})


@served
async def test_a_list_has_a_kind_a_version_and_complete_items(api: API) -> None:
    await fill(api, 2)
    answer = (await api.get(CONFIG_MAPS)).json
    assert (answer["kind"], answer["apiVersion"]) == ("ConfigMapList", "v1")
    assert answer["metadata"]["resourceVersion"].isdecimal()
    assert answer["items"] == [(await api.get(f"{CONFIG_MAPS}/m{n}")).json for n in range(2)]


SELECTIONS = {
    "labelSelector=parity%3Deven": ["m0", "m2", "m4"],
    "labelSelector=parity!%3Deven": ["m1", "m3", "m5"],
    "labelSelector=n%20in%20(1,5)": ["m1", "m5"],
    "labelSelector=!n": [],
    "fieldSelector=metadata.name%3Dm3": ["m3"],
    "fieldSelector=metadata.name!%3Dm3": ["m0", "m1", "m2", "m4", "m5"],
    "fieldSelector=metadata.namespace%3Dother": [],
    "fieldSelector=metadata.name%3Dm3&labelSelector=parity%3Deven": [],
}


@pytest.mark.parametrize("query", SELECTIONS)
@served
async def test_selectors_choose(api: API, query: str) -> None:
    await fill(api, 6)
    assert names(await api.get(f"{CONFIG_MAPS}?{query}")) == SELECTIONS[query]


@served
async def test_services_are_chosen_by_type_and_cluster_ip(api: API) -> None:
    """As upstream's can be: whoever gives load balancers their addresses asks for these alone."""
    services = "/api/v1/namespaces/default/services"
    for name, kind in (("inside", "ClusterIP"), ("outside", "LoadBalancer")):
        spec = {"type": kind, "clusterIP": f"10.96.7.{len(name)}", "ports": [{"port": 80}]}
        await api.post(services, {"metadata": {"name": name}, "spec": spec})
    assert names(await api.get(f"{services}?fieldSelector=spec.type%3DLoadBalancer")) == ["outside"]
    assert names(await api.get(f"{services}?fieldSelector=spec.clusterIP%3D10.96.7.6")) == ["inside"]
    assert (await api.get(f"{services}?fieldSelector=spec.externalName%3Dx")).status == 400


@pytest.mark.parametrize("query", ["limit=2", "limit=2&labelSelector=n"])
@served
async def test_pages_show_one_moment_and_every_object_once(api: API, query: str) -> None:
    await fill(api, 5)
    page = await api.get(f"{CONFIG_MAPS}?{query}")
    first, found = page.json["metadata"], names(page)
    await api.config_map("late")
    await api.delete(f"{CONFIG_MAPS}/m3")
    while token := page.json["metadata"].get("continue"):
        page = await api.get(f"{CONFIG_MAPS}?{query}&continue={token}")
        assert page.json["metadata"]["resourceVersion"] == first["resourceVersion"]
        found += names(page)
    assert found == ["m0", "m1", "m2", "m3", "m4"]


@served
async def test_an_unselective_page_says_how_much_remains(api: API) -> None:
    await fill(api, 5)
    assert (await api.get(f"{CONFIG_MAPS}?limit=2")).json["metadata"]["remainingItemCount"] == 3


def test_an_expired_token_is_gone_and_comes_with_one_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's clients may finish a long list inconsistently rather than not at all."""
    monkeypatch.setattr(main, "open_store", lambda _: MemoryStore(Limits(events=8)))

    @served
    async def scenario(api: API) -> None:
        await fill(api, 3)
        token = (await api.get(f"{CONFIG_MAPS}?limit=1")).json["metadata"]["continue"]
        for number in range(40):
            await api.config_map(f"z{number}")
        answer = await api.get(f"{CONFIG_MAPS}?limit=1&continue={token}")
        assert (answer.status, answer.json["reason"]) == (410, "Expired")
        onwards = answer.json["metadata"]["continue"]
        assert names(await api.get(f"{CONFIG_MAPS}?limit=2&continue={onwards}")) == ["m1", "m2"]

    scenario()


@pytest.mark.parametrize("token", ["", "x", "e30", "W10", "WzEsMl0", "é"])
def test_a_token_that_was_not_made_here_is_refused(token: str) -> None:
    with pytest.raises(BadRequest):
        decode_token(token)


def test_a_token_survives_the_way_through_a_url() -> None:
    assert decode_token(encode_token(7, "default/é")) == (7, "default/é")


@served
async def test_an_exact_version_shows_the_past(api: API) -> None:
    await fill(api, 2)
    then = (await api.get(CONFIG_MAPS)).json
    await api.delete(f"{CONFIG_MAPS}/m0")
    query = f"resourceVersion={then['metadata']['resourceVersion']}&resourceVersionMatch=Exact"
    assert (await api.get(f"{CONFIG_MAPS}?{query}")).json == then


BAD_LISTS = {
    "resourceVersionMatch=Exact": 422,
    "resourceVersion=1&resourceVersionMatch=Sometimes": 422,
    "resourceVersion=x": 400,
    "limit=many": 400,
    "continue=nonsense": 400,
    "sendInitialEvents=true": 422,
    "labelSelector=,,": 400,
}


@pytest.mark.parametrize("query", BAD_LISTS)
@served
async def test_a_list_that_makes_no_sense_is_refused(api: API, query: str) -> None:
    answer = await api.get(f"{CONFIG_MAPS}?{query}")
    assert (answer.status, answer.json["kind"]) == (BAD_LISTS[query], "Status")


@served
async def test_a_list_waits_for_a_version_that_is_about_to_come(api: API) -> None:
    now = int((await api.get(CONFIG_MAPS)).json["metadata"]["resourceVersion"])
    waiting = asyncio.create_task(api.get(f"{CONFIG_MAPS}?resourceVersion={now + 1}"))
    await api.config_map("new")
    assert names(await waiting) == ["new"]


@served
async def test_lists_come_as_tables_and_as_metadata(api: API) -> None:
    await api.config_map("foo", a="b", c="d")
    table = await api.get(CONFIG_MAPS, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert (table.json["kind"], table.json["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table.json["columnDefinitions"]][:2] == ["Name", "Data"]
    (row,) = table.json["rows"]
    assert row["cells"][:2] == ["foo", 2]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    whole = await api.get(f"{CONFIG_MAPS}?includeObject=Object", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert whole.json["rows"][0]["object"]["data"] == {"a": "b", "c": "d"}
    bare = await api.get(f"{CONFIG_MAPS}?includeObject=None", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert "object" not in bare.json["rows"][0]
    partial = await api.get(CONFIG_MAPS, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    assert partial.json["kind"] == "PartialObjectMetadataList"
    assert [set(item) for item in partial.json["items"]] == [{"kind", "apiVersion", "metadata"}]


@served
async def test_answers_come_in_yaml_to_those_who_ask(api: API) -> None:
    await api.config_map("foo")
    answer = await api.get(f"{CONFIG_MAPS}/foo", accept="application/yaml")
    assert answer.headers["content-type"] == "application/yaml"
    assert b"kind: ConfigMap\n" in answer.body
    assert (await api.get(CONFIG_MAPS, accept="text/html")).status == 406
