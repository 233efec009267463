"""The OpenAPI documents over HTTP: `/openapi/v2` whole, `/openapi/v3` by group and version.

`sampan.machinery.openapi` builds them, in a thread, because the whole of version 2 takes a while; each is kept. The
addresses in the version 3 index carry a hash, so that clients may cache what they have fetched.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sampan.http.messages import Response
from sampan.http.server import Request
from sampan.machinery import openapi
from sampan.machinery.errors import NotFound
from sampan.machinery.schema import Schemas

if TYPE_CHECKING:
    from sampan.apiserver.resources import ResourceInfo

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_PROTOBUF_NAMES = (V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
_V3_ROOT = "/openapi/v3/"


class OpenAPI:
    """The documents of one server."""

    def __init__(self, schemas: Schemas, resources: Sequence["ResourceInfo"]) -> None:
        self._schemas = schemas
        self._resources = resources
        self._documents: dict[str, asyncio.Task[bytes]] = {}
        self._versions = {(info.group, info.version) for info in resources}

    async def answer(self, path: str, request: Request) -> Response:
        """Raises NotFound."""
        if path == "/openapi/v2":
            return await self._v2(request)
        if path == "/openapi/v3":
            return _cacheable(request, await self._document(path, openapi.v3_index), "application/json")
        match path.removeprefix(_V3_ROOT).split("/") if path.startswith(_V3_ROOT) else []:
            case ["api", version]:
                return await self._v3(request, path, "", version)
            case ["apis", group, version]:
                return await self._v3(request, path, group, version)
        raise NotFound("the server could not find the requested resource")

    async def _v2(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if any(name in accept for name in _V2_PROTOBUF_NAMES):
            body = await self._document("v2 protobuf", openapi.v2_protobuf)
            return _cacheable(request, body, V2_PROTOBUF)
        return _cacheable(request, await self._document("v2", openapi.v2_document), "application/json")

    async def _v3(self, request: Request, path: str, group: str, version: str) -> Response:
        if (group, version) not in self._versions:
            raise NotFound("the server could not find the requested resource")
        body = await self._document(
            path, lambda schemas, resources: openapi.v3_document(schemas, group, version, resources)
        )
        return _cacheable(request, body, "application/json")

    async def _document(self, key: str, build: Callable[[Schemas, Sequence["ResourceInfo"]], bytes]) -> bytes:
        if key not in self._documents:
            building = asyncio.to_thread(build, self._schemas, self._resources)
            self._documents[key] = asyncio.create_task(building)
        return await asyncio.shield(self._documents[key])


def _cacheable(request: Request, body: bytes, content_type: str) -> Response:
    etag = '"' + hashlib.sha256(body).hexdigest()[:32].upper() + '"'
    headers = {"ETag": etag, "Vary": "Accept"}
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", "", headers)
    return Response(200, body, content_type, headers)
