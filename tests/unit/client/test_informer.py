"""Informers against a scripted API server: resume, relist, indexes, and what handlers hear."""

import asyncio
from contextlib import asynccontextmanager

import msgspec

from sampan.api.core_v1 import Pod
from sampan.client.config import Config
from sampan.client.informer import Informer, Informers
from sampan.client.resources import PODS
from sampan.client.rest import Client
from sampan.http.messages import Response
from sampan.http.server import serve


def pod(name, version, uid="u", node=""):
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version)},
        "spec": {"nodeName": node},
    }


class ScriptedServer:
    """Answers lists from `items`; each watch sends the next script and then waits or closes."""

    def __init__(self):
        self.items, self.version = [], 1
        self.watches = []
        self.lists = 0
        self.frames = asyncio.Queue()

    async def handle(self, request):
        if not request.query.flag("watch"):
            self.lists += 1
            body = {"metadata": {"resourceVersion": str(self.version)}, "items": self.items}
            return Response(200, msgspec.json.encode(body))
        self.watches.append(request.query.get("resourceVersion"))
        stream = await request.stream(200, {"Content-Type": "application/json"})
        while (frame := await self.frames.get()) is not None:
            await stream.write(msgspec.json.encode(frame) + b"\n")
        await stream.close()
        return None

    def send(self, type, obj):
        self.frames.put_nowait({"type": type, "object": obj})

    def end_watch(self):
        self.frames.put_nowait(None)


@asynccontextmanager
async def scripted():
    script = ScriptedServer()
    server = await serve(script.handle, host="127.0.0.1", port=0)
    client = Client(Config(f"http://127.0.0.1:{server.port}"))
    try:
        yield script, client
    finally:
        await client.close()
        await server.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def heard(informer):
    events = []
    informer.add_handler(lambda old, new: events.append((old and old.metadata.name, new and new.metadata.name)))
    return events


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_the_copy_follows_list_and_watch_and_keeps_its_indexes():
    async def check():
        async with scripted() as (script, client):
            script.items = [pod("a", 1, node="n1")]
            informer = Informer(client, PODS, Pod, indexers={"node": lambda p: [p.spec.node_name]})
            events = heard(informer)
            task = asyncio.ensure_future(informer.run())
            await informer.wait_synced()
            script.send("ADDED", pod("b", 2, node="n1"))
            script.send("MODIFIED", pod("a", 3, node="n2"))
            script.send("DELETED", pod("b", 4, node="n1"))
            await until(lambda: len(events) == 4)
            assert events == [(None, "a"), (None, "b"), ("a", "a"), ("b", None)]
            assert informer.by_index("node", "n1") == []
            assert [p.metadata.name for p in informer.by_index("node", "n2")] == ["a"]
            task.cancel()

    run(check())


def test_a_broken_watch_resumes_from_the_last_version_and_bookmarks_move_it():
    async def check():
        async with scripted() as (script, client):
            informer = Informer(client, PODS, Pod)
            task = asyncio.ensure_future(informer.run())
            await informer.wait_synced()
            script.send("ADDED", pod("a", 5))
            script.end_watch()
            await until(lambda: len(script.watches) == 2)
            script.send("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
            script.end_watch()
            await until(lambda: len(script.watches) == 3)
            assert script.watches == ["1", "5", "9"]
            assert script.lists == 1
            task.cancel()

    run(check())


def test_a_version_too_old_means_a_new_list_and_handlers_hear_only_differences():
    async def check():
        async with scripted() as (script, client):
            script.items = [pod("kept", 1), pod("gone", 1), pod("reborn", 1)]
            informer = Informer(client, PODS, Pod)
            task = asyncio.ensure_future(informer.run())
            await informer.wait_synced()
            events = heard(informer)
            events.clear()
            script.items, script.version = [pod("kept", 1), pod("reborn", 7, uid="v"), pod("new", 8)], 8
            script.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            await until(lambda: script.lists == 2 and len(script.watches) == 2)
            assert sorted(events, key=str) == sorted(
                [("gone", None), ("reborn", None), (None, "reborn"), (None, "new")], key=str
            )
            task.cancel()

    run(check())


def test_a_handler_that_fails_does_not_stop_the_others():
    async def check():
        async with scripted() as (script, client):
            script.items = [pod("a", 1)]
            informer = Informer(client, PODS, Pod)

            def broken(old, new):
                raise RuntimeError("broken")

            informer.add_handler(broken)
            events = heard(informer)
            task = asyncio.ensure_future(informer.run())
            await informer.wait_synced()
            assert events == [(None, "a")]
            task.cancel()

    run(check())


def test_informers_are_shared_by_selection_and_may_be_added_while_running():
    async def check():
        async with scripted() as (script, client):
            script.items = [pod("a", 1, node="n1")]
            informers = Informers(client)
            first = informers.of(PODS, Pod)
            task = asyncio.ensure_future(informers.run())
            await informers.wait_synced()
            assert informers.of(PODS, Pod, indexers={"node": lambda p: [p.spec.node_name]}) is first
            assert len(first.by_index("node", "n1")) == 1
            other = informers.of(PODS, Pod, namespace="ns")
            assert other is not first
            await asyncio.wait_for(other.wait_synced(), 5)
            task.cancel()

    run(check())
