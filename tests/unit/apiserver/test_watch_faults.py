"""A watch ends rather than skip a change, whichever part of the server fails while it is sent.

Clients behave as client-go's reflector does: a broken stream is resumed from the last version seen, an ERROR event is
followed by a list. What each has seen is compared with the history of writes.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sampan.apiserver import rendering, tables, watchcache
from sampan.apiserver.handlers import watch as watch_handler
from sampan.apiserver.resources import RESOURCES
from sampan.apiserver.served import Served
from sampan.apiserver.strategy import Strategy
from sampan.http.server import Stream
from sampan.store.watches import QueuedWatch
from support.api import API, CONFIG_MAPS, served

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
Change = tuple[str, str, int]


@dataclass
class Reflector:
    """Follows one selection; `segments` are what was seen after each list, which was taken at a version."""

    api: API
    accept: str = "application/json"
    selector: str = ""
    segments: list[tuple[int, list[Change]]] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            listed = await self.api.get(f"{CONFIG_MAPS}?{self.selector}")
            if listed.status != 200:
                await asyncio.sleep(0.01)
                continue
            version = int(listed.json["metadata"]["resourceVersion"])
            self.segments.append((version, []))
            while version:
                version = await self._follow(version)

    async def _follow(self, version: int) -> int:
        """Watch until the stream ends; gives the version to resume from, or 0 to list again."""
        path = f"{CONFIG_MAPS}?watch=1&resourceVersion={version}&{self.selector}"
        with contextlib.suppress(OSError, StopAsyncIteration, TimeoutError):
            async with self.api.watch(path, accept=self.accept) as watch:
                while watch.status == 200:
                    event = await watch.next(60)
                    if event["type"] == "ERROR":
                        return 0
                    shown = event["object"]
                    meta = (shown["rows"][0]["object"] if shown["kind"] == "Table" else shown)["metadata"]
                    version = int(meta["resourceVersion"])
                    self.segments[-1][1].append((event["type"], meta["name"], version))
        return version

    def is_faithful(self, history: list[Change]) -> bool:
        """Whether nothing was skipped, repeated or invented in any segment."""
        return all(
            seen == [change for change in history if change[2] > start][: len(seen)] for start, seen in self.segments
        )

    def has_seen_all(self, history: list[Change]) -> bool:
        if not self.segments:
            return False
        start, seen = self.segments[-1]
        return seen == [change for change in history if change[2] > start]


PARTS: dict[str, tuple[Any, str]] = {
    "the renderer": (rendering.Renderer, "__call__"),
    "the frame": (watchcache.Change, "frame"),
    "the shown value": (watchcache.Change, "_value"),
    "the line": (watchcache, "framed"),
    "the filter": (watchcache, "kind_of_change"),
    "the labels": (Served, "labels"),
    "the table": (rendering, "table_of"),
    "the cells": (Strategy, "row"),
    "the row": (tables, "_row"),
    "the watcher's frames": (watchcache.Watcher, "frames"),
    "the watcher's way live": (watchcache.Watcher, "go_live"),
    "the connection": (Stream, "write_now"),
    "the audience": (watchcache._Audience, "offer"),
    "the scopes": (watchcache.Hub, "_scopes_of"),
    "the store's watch": (QueuedWatch, "__anext__"),
    "the past": (watchcache.Hub, "missed"),
    "the initial state": (watch_handler, "entries_of"),
}


def breaking(original: Callable[..., Any], at: int) -> tuple[Callable[..., Any], Callable[[], bool]]:
    """The function, failing at its call number `at` only; and whether it has failed."""
    calls = 0

    def broken(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise RuntimeError("broken by the test")
        return original(*args, **options)

    return broken, lambda: calls >= at


async def write(api: API, history: list[Change]) -> None:
    """Twelve changes of three objects. Nobody else writes; the answers may be broken too, so they are not looked at."""
    version = int((await api.get("/api/v1/nodes")).json["metadata"]["resourceVersion"])
    for name in ("a", "b", "c"):
        await api.post(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"app": "web"}}})
        await api.patch(f"{CONFIG_MAPS}/{name}", {"data": {"n": "1"}})
        await api.patch(f"{CONFIG_MAPS}/{name}", {"data": {"n": "2"}})
        history += [("ADDED", name, version + 1), ("MODIFIED", name, version + 2), ("MODIFIED", name, version + 3)]
        version += 3
    for name in ("a", "b", "c"):
        await api.delete(f"{CONFIG_MAPS}/{name}")
        version += 1
        history.append(("DELETED", name, version))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("part", PARTS)
def test_no_failure_makes_a_watch_skip_a_change(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part fails once, at each of its first calls; every client still sees the whole history in order."""

    @served
    async def scenario(api: API) -> None:
        holder, name = PARTS[part]
        original = getattr(holder, name)
        for at in (1, 2, 3, 5, 8, 13):
            history: list[Change] = []
            reflectors = [
                Reflector(api),
                Reflector(api, TABLE),
                Reflector(api, PARTIAL),
                Reflector(api, selector="labelSelector=app%3Dweb"),
            ]
            tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
            await until(lambda watching=reflectors: all(one.segments for one in watching))  # type: ignore[misc]
            broken, _ = breaking(original, at)
            with monkeypatch.context() as patch:
                patch.setattr(holder, name, broken)
                await write(api, history)
                await until(lambda: all(one.has_seen_all(history) for one in reflectors))  # noqa: B023
            assert all(one.is_faithful(history) for one in reflectors), [one.segments for one in reflectors]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    scenario()


@served
async def test_a_change_that_one_form_cannot_show_ends_only_the_watches_of_that_form(api: API) -> None:
    """`kubectl get -w` of an object that no table can show must not end the watches of controllers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "table_of", breaking(rendering.table_of, 1)[0])
        async with (
            api.watch(f"{CONFIG_MAPS}?watch=1") as plain,
            api.watch(f"{CONFIG_MAPS}?watch=1", accept=TABLE) as table,
        ):
            await api.config_map("a")
            await api.config_map("b")
            assert await plain.seen(2) == [("ADDED", "a"), ("ADDED", "b")]
            event = await table.next()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
            with pytest.raises(StopAsyncIteration):
                await table.next()


@served
async def test_a_cell_that_cannot_be_made_shows_an_error_and_the_other_rows_stay(api: API) -> None:
    """One object that the strategy cannot read does not take `kubectl get` of its namespace down."""
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    for name in ("strange", "plain"):
        target = {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}
        spec = {"scaleTargetRef": target, "maxReplicas": 3}
        assert (await api.post(path, {"metadata": {"name": name}, "spec": spec})).status == 201
    with pytest.MonkeyPatch.context() as patch:
        info = next(row for row in RESOURCES if row.kind == "HorizontalPodAutoscaler")
        strategy = info.strategy or Strategy
        original = strategy.row

        def row(self: Strategy, obj: Any, now: float) -> list[Any]:
            if obj["metadata"]["name"] == "strange":
                raise AttributeError("a string has no get")
            return list(original(self, obj, now))

        patch.setattr(strategy, "row", row)
        rows = {row["cells"][0]: row["cells"] for row in (await api.get(path, accept=TABLE)).json["rows"]}
    assert set(rows["strange"][1:]) == {"<error>"}
    assert "<error>" not in rows["plain"]


def test_a_bookmark_never_runs_ahead_of_the_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the hub has changes that it has not offered, no bookmark says that they were sent."""
    monkeypatch.setattr(watchcache, "BOOKMARK_SECONDS", 0.55)

    @served
    async def scenario(api: API) -> None:
        gate = asyncio.Event()
        original = QueuedWatch.__anext__

        async def held(self: QueuedWatch) -> Any:
            batch = await original(self)
            if "configmaps" in self.prefix:
                await gate.wait()
            return batch

        start = int((await api.get(CONFIG_MAPS)).json["metadata"]["resourceVersion"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(QueuedWatch, "__anext__", held)
            path = f"{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={start}"
            async with api.watch(path) as watch:
                await asyncio.sleep(0.05)
                made = await api.config_map("a")
                version = int(made["metadata"]["resourceVersion"])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.7):
                        while True:
                            event = await watch.next()
                            assert int(event["object"]["metadata"]["resourceVersion"]) < version, event
                gate.set()

    scenario()
