"""Raw requests to a test's own API server, for tests that look at exactly what goes over the wire."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from sampan.client.config import Config
from sampan.http.client import HTTPClient, StreamedAnswer
from support.apiserver import running_apiserver

Object = dict[str, Any]
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


class Answer:
    """Status, headers and decoded body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class API:
    """The verbs as one-line calls."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.client = HTTPClient(config.server, ssl=config.ssl_context())

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """`body` is sent as it is if it is bytes, else as JSON; `content_type=` becomes a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = msgspec.json.encode(body)
        found = await self.client.request(method, path, body=body, headers=named, timeout=10)
        return Answer(found.status, dict(found.headers), found.body)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.call("POST", path, body, **headers)

    async def put(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.call("PUT", path, body, **headers)

    async def patch(self, path: str, body: Any, kind: str = "merge-patch+json", **headers: str) -> Answer:
        return await self.call("PATCH", path, body, content_type=f"application/{kind}", **headers)

    async def delete(self, path: str, body: Any = None) -> Answer:
        return await self.call("DELETE", path, body)

    async def config_map(self, name: str, **data: str) -> Object:
        """Create a ConfigMap and give what was stored."""
        answer = await self.post(CONFIG_MAPS, {"metadata": {"name": name}, "data": data})
        assert answer.status == 201, answer.body
        return dict(answer.json)

    @asynccontextmanager
    async def watch(self, path: str, **headers: str) -> AsyncIterator["Watch"]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.stream("GET", path, headers=named) as answer:
            yield Watch(answer)


class Watch:
    """The events of one watch, each waited for with a deadline."""

    def __init__(self, answer: StreamedAnswer) -> None:
        self.status = answer.status
        self._answer = answer
        self._lines = self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._answer.chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line

    async def next(self, seconds: float = 5.0) -> Object:
        """Raises StopAsyncIteration at the end, TimeoutError when nothing comes."""
        async with asyncio.timeout(seconds):
            return dict(msgspec.json.decode(await anext(self._lines)))

    async def seen(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next events."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def served(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test with `api`, a fresh server's API, as its first argument."""

    def run(**arguments: Any) -> None:
        async def with_server() -> None:
            async with running_apiserver() as config:
                api = API(config)
                try:
                    await test(api, **arguments)
                finally:
                    await api.client.close()

        asyncio.run(with_server())

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    parameters = list(inspect.signature(test).parameters.values())[1:]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    for name in ("pytestmark",):
        if hasattr(test, name):
            setattr(run, name, getattr(test, name))
    return run
