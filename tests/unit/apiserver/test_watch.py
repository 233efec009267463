"""Watches tell every later change once, in order, to those whose selection it concerns."""

import asyncio
from typing import Any

import pytest

from sampan.apiserver import main, watchcache
from sampan.store.history import Limits
from sampan.store.memory import MemoryStore
from support.api import API, CONFIG_MAPS, served

WATCH = f"{CONFIG_MAPS}?watch=true"
ALL = "/api/v1/configmaps?watch=true"


async def labelled(api: API, name: str, **labels: str) -> dict[str, Any]:
    made = await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}})
    assert made.status == 201
    return dict(made.json)


async def version(api: API) -> str:
    return str((await api.get(CONFIG_MAPS)).json["metadata"]["resourceVersion"])


@served
async def test_a_watch_without_a_version_begins_with_what_is_there(api: API) -> None:
    await api.config_map("a")
    await api.config_map("b")
    async with api.watch(WATCH) as watch:
        assert await watch.seen(2) == [("ADDED", "a"), ("ADDED", "b")]
        await api.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "y"}})
        await api.delete(f"{CONFIG_MAPS}/b")
        assert await watch.seen(2) == [("MODIFIED", "a"), ("DELETED", "b")]


@served
async def test_a_watch_from_a_version_tells_only_what_came_later(api: API) -> None:
    made = await api.config_map("a")
    await api.config_map("b")
    async with api.watch(f"{WATCH}&resourceVersion={made['metadata']['resourceVersion']}") as watch:
        await api.config_map("c")
        assert await watch.seen(2) == [("ADDED", "b"), ("ADDED", "c")]


@served
async def test_a_namespaced_lists_version_starts_a_watch_of_the_whole_cluster(api: API) -> None:
    start = await version(api)
    await api.post("/api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "far"}})
    async with api.watch(f"{ALL}&resourceVersion={start}") as watch:
        assert await watch.seen(1) == [("ADDED", "far")]


@served
async def test_a_deleted_object_carries_the_version_of_its_deletion(api: API) -> None:
    made = await api.config_map("a")
    async with api.watch(f"{WATCH}&resourceVersion={made['metadata']['resourceVersion']}") as watch:
        await api.delete(f"{CONFIG_MAPS}/a")
        event = await watch.next()
    assert event["type"] == "DELETED"
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


@served
async def test_an_object_that_leaves_the_selection_is_deleted_and_one_that_enters_is_added(api: API) -> None:
    made = await labelled(api, "a", app="web")
    await labelled(api, "other", app="db")
    path = f"{WATCH}&labelSelector=app%3Dweb&resourceVersion={await version(api)}"
    async with api.watch(path) as watch:
        left = await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"app": "old"}}})
        event = await watch.next()
        assert event["type"] == "DELETED"
        assert event["object"]["metadata"]["labels"] == {"app": "web"}
        assert event["object"]["metadata"]["resourceVersion"] == left.json["metadata"]["resourceVersion"]
        assert event["object"]["metadata"]["uid"] == made["metadata"]["uid"]
        await api.patch(f"{CONFIG_MAPS}/other", {"metadata": {"labels": {"app": "web"}}})
        await api.patch(f"{CONFIG_MAPS}/other", {"data": {"x": "y"}})
        await api.patch(f"{CONFIG_MAPS}/a", {"data": {"unseen": "y"}})
        await api.delete(f"{CONFIG_MAPS}/other")
        assert await watch.seen(3) == [("ADDED", "other"), ("MODIFIED", "other"), ("DELETED", "other")]


ONE_NAME = {
    "field selector": f"{WATCH}&fieldSelector=metadata.name%3Da",
    "path": f"{CONFIG_MAPS}/a?watch=1",
    "all namespaces": f"{ALL}&fieldSelector=metadata.name%3Da",
    "old watch path": "/api/v1/watch/namespaces/default/configmaps/a?",
}


@pytest.mark.parametrize("how", ONE_NAME)
@served
async def test_a_watch_of_one_name_sees_only_that_object(api: API, how: str) -> None:
    async with api.watch(f"{ONE_NAME[how]}&resourceVersion={await version(api)}") as watch:
        await api.config_map("ab")
        await api.config_map("a")
        await api.config_map("b")
        await api.delete(f"{CONFIG_MAPS}/a")
        assert await watch.seen(2) == [("ADDED", "a"), ("DELETED", "a")]


@served
async def test_initial_events_end_with_a_bookmark_that_says_so(api: API) -> None:
    await api.config_map("a")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(f"{WATCH}&{query}") as watch:
        assert await watch.seen(1) == [("ADDED", "a")]
        end = await watch.next()
        assert end["type"] == "BOOKMARK"
        assert end["object"]["kind"] == "ConfigMap"
        assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(end["object"]["metadata"]["resourceVersion"]) > 0
        await api.config_map("b")
        assert await watch.seen(1) == [("ADDED", "b")]


@served
async def test_initial_events_need_a_version_match(api: API) -> None:
    answer = await api.get(f"{WATCH}&sendInitialEvents=true")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


def test_bookmarks_come_to_those_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bookmark tells a quiet watcher how far the world has moved, so that it can resume there."""
    monkeypatch.setattr(watchcache, "BOOKMARK_SECONDS", 0.6)

    @served
    async def scenario(api: API) -> None:
        start = await version(api)
        async with api.watch(f"{WATCH}&allowWatchBookmarks=true&resourceVersion={start}") as watch:
            made = await api.post("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
            event = await watch.next()
            while event["object"]["metadata"]["resourceVersion"] == start:
                event = await watch.next()
        assert event["type"] == "BOOKMARK"
        assert event["object"]["metadata"]["resourceVersion"] == made.json["metadata"]["resourceVersion"]

    scenario()


@served
async def test_a_watch_ends_when_its_time_is_up(api: API) -> None:
    async with api.watch(f"{WATCH}&timeoutSeconds=1&resourceVersion={await version(api)}") as watch:
        with pytest.raises(StopAsyncIteration):
            await watch.next()


def test_a_version_that_is_compacted_is_gone_as_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sees 410 lists again; so it must come even to one who resumes by watch."""
    monkeypatch.setattr(main, "open_store", lambda _: MemoryStore(Limits(events=8)))

    @served
    async def scenario(api: API) -> None:
        start = await version(api)
        for number in range(40):
            await api.config_map(f"n{number}")
        async with api.watch(f"{WATCH}&resourceVersion={start}") as watch:
            event = await watch.next()
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
        listed = await api.get(f"{CONFIG_MAPS}?resourceVersion={start}&resourceVersionMatch=Exact")
        assert (listed.status, listed.json["reason"]) == (410, "Expired")

    scenario()


@served
async def test_a_version_from_the_future_is_refused(api: API) -> None:
    answer = await api.get(f"{WATCH}&resourceVersion=999999999")
    assert answer.status == 504
    assert "Too large resource version" in answer.json["message"]


@served
async def test_many_watchers_of_many_kinds_get_the_same_story(api: API) -> None:
    start = await version(api)
    paths = [f"{WATCH}&resourceVersion={start}"] * 20 + [f"{ALL}&resourceVersion={start}"] * 20

    async def follow(path: str) -> list[tuple[str, str]]:
        async with api.watch(path) as watch:
            return await watch.seen(10)

    followers = [asyncio.create_task(follow(path)) for path in paths]
    await asyncio.sleep(0)
    for number in range(10):
        await api.config_map(f"n{number}")
    stories = await asyncio.gather(*followers)
    assert stories == [[("ADDED", f"n{number}") for number in range(10)]] * 40


@served
async def test_a_watcher_that_does_not_keep_up_is_cut_off(api: API) -> None:
    reader, writer = await raw_watch(api)
    try:
        big = "x" * 900_000
        await api.config_map("big", a=big)
        for number in range(60):
            await api.patch(f"{CONFIG_MAPS}/big", {"data": {"n": str(number)}})
        assert await bytes_until_cut(reader) < 60 * 900_000
    finally:
        writer.close()


async def bytes_until_cut(reader: asyncio.StreamReader) -> int:
    """How much can be read before the connection breaks; fails if the stream ends as it should."""
    received, tail = 0, b""
    async with asyncio.timeout(10):
        try:
            while data := await reader.read(65536):
                received, tail = received + len(data), (tail + data)[-5:]
        except ConnectionError:
            return received
    assert tail != b"0\r\n\r\n"
    return received


async def raw_watch(api: API) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asks for a watch and then reads nothing."""
    host, port = api.config.server.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=api.config.ssl_context(), limit=4096)
    path = f"{WATCH}&resourceVersion={await version(api)}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@served
async def test_tables_and_metadata_are_watched_in_their_own_form(api: API) -> None:
    await api.config_map("a", x="y")
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    async with api.watch(WATCH, accept=table) as watch:
        event = await watch.next()
        assert event["object"]["kind"] == "Table"
        assert event["object"]["rows"][0]["cells"][0] == "a"
        assert event["object"]["columnDefinitions"][0]["name"] == "Name"
    partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
    query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch(WATCH + query, accept=partial) as watch:
        added, end = await watch.next(), await watch.next()
        assert (added["object"]["kind"], "data" in added["object"]) == ("PartialObjectMetadata", False)
        assert (end["type"], end["object"]["kind"]) == ("BOOKMARK", "PartialObjectMetadata")


BAD_WATCHES = {
    "version": "resourceVersion=abc",
    "timeout": "timeoutSeconds=1e9",
    "label selector": "labelSelector=a%3D%3D%3D",
    "field selector": "fieldSelector=spec.nothing%3Dx",
}


@pytest.mark.parametrize("case", BAD_WATCHES)
@served
async def test_a_watch_that_makes_no_sense_is_refused_before_it_begins(api: API, case: str) -> None:
    answer = await api.get(f"{WATCH}&{BAD_WATCHES[case]}")
    assert (answer.status, answer.json["kind"]) == (400, "Status")
