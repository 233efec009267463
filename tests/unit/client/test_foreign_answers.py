"""Clients live with what other API servers send: nulls for empty lists, objects that do not fit, dead connections."""

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from sampan import api
from sampan.api.core_v1 import Pod
from sampan.api.discovery_v1 import EndpointSlice
from sampan.api.meta_v1 import APIObject
from sampan.client import informer as informers
from sampan.client.config import Config
from sampan.client.informer import Informer, Informers
from sampan.client.leader import LeaderElector
from sampan.client.resources import ENDPOINT_SLICES, PODS
from sampan.client.rest import Client, decoder_for
from sampan.dns import objects as dns_objects
from sampan.http.client import HTTPClient
from sampan.http.messages import Response
from sampan.http.server import Request, Server, serve

Handler = Callable[[Request], Awaitable[Response | None]]

EMPTY_SLICE = (
    b'{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"name":"e0","namespace":"default",'
    b'"uid":"8d0c6a0e","resourceVersion":"5","creationTimestamp":"2026-01-02T03:04:05Z","generation":1,'
    b'"labels":null,"managedFields":[{"manager":"m","operation":"Update","apiVersion":"discovery.k8s.io/v1",'
    b'"fieldsType":"FieldsV1","fieldsV1":{"f:addressType":{}}}]},"addressType":"IPv4","endpoints":null,"ports":null}'
)
"""As kube-apiserver 1.36 writes a slice without endpoints."""


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[Server, Client]]:
    server = await serve(handler)
    client = Client(Config(f"http://127.0.0.1:{server.port}"))
    try:
        yield server, client
    finally:
        await client.close()
        await server.close()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def item(name: str, version: int, **fields: Any) -> bytes:
    metadata = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": str(version)}
    return msgspec.json.encode({"metadata": metadata, **fields})


def listing(items: list[bytes], version: int = 5) -> Response:
    return Response(200, b'{"metadata":{"resourceVersion":"%d"},"items":[%b]}' % (version, b",".join(items)))


def kinds() -> Iterator[type[APIObject]]:
    for module in pkgutil.walk_packages(api.__path__, "sampan.api."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, APIObject) and value is not APIObject:
                yield value


def nulled(kind: Any, depth: int = 4) -> dict[str, Any]:
    """An object in which every field of every struct is null, or holds structs of which that is true."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        inner = next(_structs(field.type), None)
        nested = nulled(inner, depth - 1) if inner is not None and depth else None
        is_list = "tuple" in str(field.type) or "list" in str(field.type)
        fields[field.encode_name] = (
            [nested, None] if nested and is_list else nested if nested and "dict" not in str(field.type) else None
        )
    return fields


def _structs(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _structs(argument)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=str), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_null_is_an_absent_field_in_every_kind(kind: type[APIObject]) -> None:
    found = decoder_for(kind).decode(msgspec.json.encode(nulled(kind)))
    assert found.metadata.name == ""
    assert decoder_for(kind).decode(msgspec.json.encode(dict.fromkeys(nulled(kind)))) == kind()


@pytest.mark.parametrize("kind", [EndpointSlice, dns_objects.EndpointSlice])
def test_an_informer_takes_an_empty_slice_as_upstream_sends_it(kind: Any) -> None:
    async def scenario() -> None:
        async def handler(request: Request) -> Response | None:
            if not request.query.flag("watch"):
                return listing([EMPTY_SLICE])
            stream = await request.stream()
            later = EMPTY_SLICE.replace(b'"resourceVersion":"5"', b'"resourceVersion":"6"')
            await stream.write(b'{"type":"MODIFIED","object":' + later + b"}\n")
            await asyncio.sleep(60)
            return None

        async with serving(handler) as (_, client):
            found = Informer(client, ENDPOINT_SLICES, kind)
            task = asyncio.create_task(found.run())
            await until(lambda: found.resource_version == "6")
            assert (found.synced, len(found), found.rejected) == (True, 1, 0)
            task.cancel()

    asyncio.run(scenario())


def test_an_object_that_does_not_fit_is_left_out_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """In lists and in watches; the others stay, and it comes back once it fits."""

    async def scenario() -> None:
        frames: asyncio.Queue[bytes] = asyncio.Queue()

        async def handler(request: Request) -> Response | None:
            if not request.query.flag("watch"):
                return listing([item("good", 1), item("bad", 2, spec=[1]), item("other", 3)])
            stream = await request.stream()
            while True:
                await stream.write(await frames.get())

        async with serving(handler) as (_, client):
            found = Informer(client, PODS, Pod)
            task = asyncio.create_task(found.run())
            await until(lambda: found.synced)
            assert {one.metadata.name for one in found.items()} == {"good", "other"}
            frames.put_nowait(b'{"type":"MODIFIED","object":' + item("bad", 6, spec="text") + b"}\n")
            frames.put_nowait(b'{"type":"MODIFIED","object":' + item("other", 7, spec="text") + b"}\n")
            frames.put_nowait(b'{"type":"MODIFIED","object":' + item("good", 8) + b"}\n")
            await until(lambda: found.resource_version == "8")
            assert {one.metadata.name for one in found.items()} == {"good"}
            assert found.rejected == 3
            assert sum("ns/bad" in record.getMessage() for record in caplog.records) == 1
            frames.put_nowait(b'{"type":"MODIFIED","object":' + item("bad", 9) + b"}\n")
            await until(lambda: found.get("ns", "bad") is not None)
            task.cancel()

    asyncio.run(scenario())


def test_an_index_that_raises_takes_nothing_else_down() -> None:
    async def scenario() -> None:
        async def handler(request: Request) -> Response | None:
            if not request.query.flag("watch"):
                return listing([item("a", 1), item("b", 2)])
            await asyncio.sleep(60)
            return None

        def picky(pod: Pod) -> list[str]:
            if pod.metadata.name == "a":
                raise KeyError("index")
            return [pod.metadata.name]

        async with serving(handler) as (_, client):
            shared = Informers(client)
            found = shared.of(PODS, Pod, indexers={"picky": picky, "all": lambda pod: ["x"]})
            task = asyncio.create_task(shared.run())
            await until(lambda: found.synced)
            assert [pod.metadata.name for pod in found.by_index("picky", "b")] == ["b"]
            assert len(found.by_index("all", "x")) == 2
            found._remove(("ns", "a"))
            assert len(found.by_index("all", "x")) == 1
            task.cancel()

    asyncio.run(scenario())


def test_running_informers_end_with_what_ended_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component must not go on beside an informer that has died."""

    async def broken(self: Informer[Any]) -> None:
        raise RuntimeError("broken by the test")

    async def scenario() -> None:
        async with serving(lambda _: asyncio.sleep(60, None)) as (_, client):
            shared = Informers(client)
            shared.of(PODS, Pod)
            async with asyncio.timeout(5):
                with pytest.raises(RuntimeError, match="broken by the test"):
                    await shared.run()

    monkeypatch.setattr(Informer, "run", broken)
    asyncio.run(scenario())


BROKEN_WATCHES = {
    "gone at once": b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n',
    "an error": b'{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError"}}\n',
    "nothing": b"",
    "no JSON": b"<html>\n",
    "a frame of another kind": b"[]\n",
}


@pytest.mark.parametrize("case", BROKEN_WATCHES)
def test_a_watch_that_fails_each_time_is_tried_again_ever_more_slowly(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float, result: Any = None) -> Any:
        pauses.append(seconds)
        return await sleep(0, result)

    async def scenario() -> None:
        enough = asyncio.Event()
        watches = 0

        async def handler(request: Request) -> Response | None:
            nonlocal watches
            if not request.query.flag("watch"):
                return listing([])
            watches += 1
            if watches > 12:
                enough.set()
            stream = await request.stream()
            await stream.write(BROKEN_WATCHES[case])
            await stream.close()
            return None

        async with serving(handler) as (_, client):
            found = Informer(client, PODS, Pod)
            monkeypatch.setattr(informers.asyncio, "sleep", counted)
            task = asyncio.create_task(found.run())
            async with asyncio.timeout(10):
                await enough.wait()
            task.cancel()
            monkeypatch.setattr(informers.asyncio, "sleep", sleep)
        assert max(pauses) > informers.LAST_RETRY_SECONDS / 2
        assert found.synced

    asyncio.run(scenario())


def test_connections_that_the_server_has_closed_are_not_kept() -> None:
    async def scenario() -> None:
        async def handler(request: Request) -> Response:
            return Response(200, b"{}")

        server = await serve(handler)
        client = HTTPClient(f"http://127.0.0.1:{server.port}")
        for _ in range(5):
            await client.request("GET", "/")
            for connection in list(server.connections):
                connection.close()
            await until(lambda: not client._open)
        assert client._idle == []
        await client.close()
        await server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["GET", "PATCH"])
def test_a_leader_stops_at_its_deadline_whatever_hangs(where: str) -> None:
    """Another candidate takes the Lease when it expires: by then nobody else may lead any more."""

    async def scenario() -> None:
        hangs = asyncio.Event()
        leading, stopped = asyncio.Event(), asyncio.Event()
        lease: dict[str, Any] = {"metadata": {"name": "l", "namespace": "n", "resourceVersion": "1"}, "spec": {}}

        async def handler(request: Request) -> Response | None:
            if hangs.is_set() and request.method == where:
                await asyncio.sleep(60)
            if request.method == "PATCH":
                lease["spec"].update(msgspec.json.decode(await request.read())["spec"])
            return Response(200, msgspec.json.encode(lease))

        async def lead() -> None:
            leading.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

        async with serving(handler) as (_, client):
            elector = LeaderElector(client, "n", "l", "me", lease_seconds=1.5, retry_seconds=0.1)
            task = asyncio.create_task(elector.run(lead))
            async with asyncio.timeout(20):
                await leading.wait()
                hangs.set()
                await stopped.wait()
            task.cancel()

    asyncio.run(scenario())
