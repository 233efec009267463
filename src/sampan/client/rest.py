"""The Kubernetes verbs over HTTP: get, list, create, update, patch, delete and watch.

Answers are decoded straight into the type the caller names, so that only the fields it reads cost anything. Errors
are the exceptions of `sampan.machinery.errors`; a server that cannot be reached is an OSError.
`sampan.client.informer` builds on `list` and `watch`.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, overload
from urllib.parse import urlencode

import msgspec

from sampan.client.config import Config
from sampan.client.resources import Resource
from sampan.http.client import Answer, HTTPClient
from sampan.machinery import objects
from sampan.machinery.errors import StatusError, from_status
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

T = TypeVar("T")

PatchType = Literal["merge", "json", "strategic", "apply"]

REQUEST_SECONDS = 60.0

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""What to accept when an object's metadata is all that matters."""

_PATCH_TYPES: dict[str, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class ListResult(Generic[T]):
    """The items of a list and the version a watch continues from."""

    items: list[T]
    resource_version: str
    continue_token: str = ""
    rejected: tuple["Rejected", ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that does not fit the type that was asked for; it is left out of a list."""

    key: tuple[str, str]
    resource_version: str
    why: str


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, Generic[T]):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[T] | None = None


class WatchFrame(msgspec.Struct):
    """One line of a watch; the object is left encoded."""

    type: str
    object: msgspec.Raw


Frames = list[WatchFrame]
JSONPatch = list[Object]


class _Head(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Headed(msgspec.Struct):
    metadata: _Head = msgspec.field(default_factory=_Head)


_frame_decoder = msgspec.json.Decoder(WatchFrame)


class Decoder(Generic[T]):
    """Reads objects of one type. A null is an absent field, whatever the field is, as in upstream's own clients: its
    servers write `null` for each empty list that is not marked `omitempty`.
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind, strict=False).decode

    def decode(self, data: bytes | msgspec.Raw) -> T:
        """Raises msgspec.MsgspecError."""
        found: T
        try:
            found = self._decode(data)
        except msgspec.ValidationError:
            found = msgspec.convert(_without_nulls(msgspec.json.decode(data)), self._kind, strict=False)
        return found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


_decoders: dict[Any, Decoder[Any]] = {}


def decoder_for(kind: Any) -> Decoder[Any]:
    """The decoder for a type, made once."""
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = Decoder(kind)
    return found


def rejected(data: bytes | msgspec.Raw, error: Exception) -> Rejected:
    """Which object it was that could not be read; nameless if even that cannot be told."""
    try:
        head = decoder_for(_Headed).decode(data).metadata
    except (msgspec.MsgspecError, ValueError, RecursionError):
        head = _Head()
    return Rejected((head.namespace, head.name), head.resource_version, str(error))


def _decode_list(kind: Any, data: bytes) -> ListResult[Any]:
    """All at once if all fit; otherwise one by one. Raises msgspec.MsgspecError for what is no list."""
    try:
        whole = msgspec.json.decode(data, type=_List[kind], strict=False)
        return ListResult(whole.items or [], whole.metadata.resource_version, whole.metadata.continue_)
    except msgspec.ValidationError:
        pass
    split = decoder_for(_List[msgspec.Raw]).decode(data)
    decoder, items, bad = decoder_for(kind), [], []
    for raw in split.items or ():
        try:
            items.append(decoder.decode(raw))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            bad.append(rejected(raw, error))
    return ListResult(items, split.metadata.resource_version, split.metadata.continue_, tuple(bad))


Observer = Callable[[str, int, float], None]
"""Hears of each request: its method, the status of the answer (0: none came), and after how many seconds."""


class Client:
    """A client of one API server. Connections are pooled; `close` when done."""

    def __init__(
        self, config: Config, *, user_agent: str = "sampan", connections: int = 32, observe: Observer | None = None
    ) -> None:
        """`connections` limits requests under way at once, so that a burst does not cost a TLS handshake for each."""
        self._observe = observe
        self.config = config
        self._user_agent = user_agent
        self._http = HTTPClient(
            config.server,
            ssl=config.ssl_context(),
            server_hostname=config.server_name or None,
            limit=connections,
        )

    @overload
    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object: ...

    @overload
    async def get(self, resource: Resource, name: str, namespace: str | None, type: type[T]) -> T: ...

    async def get(self, resource: Resource, name: str, namespace: str | None = None, type: Any = dict) -> Any:
        answer = await self.call("GET", resource.path(namespace, name))
        return decoder_for(type).decode(answer)

    @overload
    async def list(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> ListResult[Object]: ...

    @overload
    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: type[T],
        label_selector: str = "",
        field_selector: str = "",
        accept: str = JSON,
    ) -> ListResult[T]: ...

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        type: Any = dict,
        label_selector: str = "",
        field_selector: str = "",
        accept: str = JSON,
    ) -> ListResult[Any]:
        """What does not fit `type` is in `rejected` instead of `items`."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        answer = await self.call("GET", resource.path(namespace) + query, accept=accept)
        result = _decode_list(type, answer)
        for bad in result.rejected:
            log.debug("list of %s: %s is left out: %s", resource, "/".join(bad.key), bad.why)
        return result

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """POST an object; with `name` and `subresource`, to a subresource such as `binding` or `token`."""
        path = resource.path(namespace or objects.namespace(obj), name, subresource)
        return _object(await self.call("POST", path, _with_type(resource, obj, subresource)))

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        path = resource.path(objects.namespace(obj), objects.name(obj), subresource)
        return _object(await self.call("PUT", path, _with_type(resource, obj, subresource)))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | JSONPatch,
        namespace: str | None = None,
        *,
        type: PatchType = "merge",
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object:
        query = _query(fieldManager=field_manager or "", force="true" if force else "")
        path = resource.path(namespace, name, subresource) + query
        return _object(await self.call("PATCH", path, patch, content_type=_PATCH_TYPES[type]))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> None:
        options = _delete_options(grace_period, uid, resource_version, propagation)
        await self.call("DELETE", resource.path(namespace, name), options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        grace_period: int | None = None,
    ) -> None:
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        await self.call("DELETE", resource.path(namespace) + query, _delete_options(grace_period, None, None, None))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout: int = 0,
        accept: str = JSON,
    ) -> AsyncIterator[Frames]:
        """Changes after `resource_version`, in batches as they arrive, objects still encoded.

        Ends when the server ends the watch. An ERROR frame is raised as its StatusError (Gone when too old).
        """
        query = _query(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=str(timeout or ""),
        )
        path = resource.path(namespace) + query
        begun = time.perf_counter()
        async with self._http.stream("GET", path, headers=self._headers(accept)) as answer:
            self._tell("GET", answer.status, begun)
            if answer.status != 200:
                raise _error(Answer(answer.status, answer.headers, await answer.read()))
            rest = b""
            async for chunk in answer.chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                if lines:
                    yield [_frame(line) for line in lines if line]

    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = JSON, accept: str = JSON
    ) -> bytes:
        """Send one request with a JSON body and return the answer's body. Raises StatusError, OSError."""
        headers = self._headers(accept)
        encoded = None
        if body is not None:
            encoded = msgspec.json.encode(body)
            headers["Content-Type"] = content_type
        begun = time.perf_counter()
        try:
            answer = await self._http.request(method, path, body=encoded, headers=headers, timeout=REQUEST_SECONDS)
        except (OSError, TimeoutError):
            self._tell(method, 0, begun)
            raise
        self._tell(method, answer.status, begun)
        if answer.status >= 300:
            raise _error(answer)
        return answer.body

    def _tell(self, method: str, status: int, begun: float) -> None:
        if self._observe is not None:
            self._observe(method, status, time.perf_counter() - begun)

    async def close(self) -> None:
        await self._http.close()

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": self._user_agent}
        token = self.config.bearer_token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers


def _object(body: bytes) -> Object:
    decoded: Object = msgspec.json.decode(body)
    return decoded


def _with_type(resource: Resource, obj: Object, subresource: str | None) -> Object:
    if subresource or "kind" in obj:
        return obj
    return {"apiVersion": resource.api_version, "kind": resource.kind, **obj}


def _query(**values: str) -> str:
    given = {name: value for name, value in values.items() if value}
    return "?" + urlencode(given) if given else ""


def _delete_options(
    grace_period: int | None, uid: str | None, resource_version: str | None, propagation: str | None
) -> Object:
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    if any(preconditions.values()):
        options["preconditions"] = {name: value for name, value in preconditions.items() if value}
    if propagation:
        options["propagationPolicy"] = propagation
    return options


def _frame(line: bytes) -> WatchFrame:
    frame = _frame_decoder.decode(line)
    if frame.type == "ERROR":
        status = msgspec.json.decode(frame.object)
        raise from_status(status, int(status.get("code") or 500))
    return frame


def _error(answer: Answer) -> StatusError:
    try:
        status = msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        status = {"message": answer.body.decode(errors="replace").strip()}
    return from_status(status, answer.status)
