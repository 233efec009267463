"""Events: what a component tells people about an object (`kubectl describe` prints them).

Recording never delays or fails the caller. The same event again raises its count instead of making a new object,
as upstream's correlator does; one series is kept for ten minutes.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Literal

from sampan.api.meta_v1 import APIObject
from sampan.client.resources import EVENTS
from sampan.client.rest import Client
from sampan.machinery import objects, times
from sampan.machinery.errors import NotFound, StatusError
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

SERIES_SECONDS = 600.0
MAX_PENDING = 1000
_CLUSTER_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class _Event:
    """What makes two events the same, as client-go's getEventKey: the object whatever its version, and the words."""

    namespace: str
    regarding: tuple[tuple[str, str], ...]
    type: str
    reason: str
    message: str
    resource_version: str = field(default="", compare=False)
    """The version of the object that the first of them was about."""


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    last_seen: float


class EventRecorder:
    """Writes events on behalf of one component."""

    def __init__(self, client: Client, component: str, host: str = "") -> None:
        self._client = client
        self._source = {"component": component} | ({"host": host} if host else {})
        self._series: dict[_Event, _Series] = {}
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(MAX_PENDING)
        self._task: asyncio.Task[None] | None = None

    def event(
        self,
        regarding: APIObject | Object,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        kind: str = "",
        api_version: str = "",
        field_path: str = "",
    ) -> None:
        """Record an event about an object. `kind` and `api_version` are for objects that do not carry them."""
        reference = _reference(regarding, kind, api_version, field_path)
        namespace = reference.get("namespace") or _CLUSTER_NAMESPACE
        version = reference.pop("resourceVersion", "")
        event = _Event(namespace, tuple(sorted(reference.items())), type, reason, message[:1024], version)
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("too many events waiting; dropped %s for %s: %s", reason, reference.get("name"), message)
            return
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def flush(self) -> None:
        """Wait until everything recorded so far has been written or given up."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        while not self._queue.empty():
            event = self._queue.get_nowait()
            try:
                await self._write_one(event)
            except (StatusError, OSError) as error:
                log.info("event %s in %s was not written: %s", event.reason, event.namespace, error)

    async def _write_one(self, event: _Event) -> None:
        now = asyncio.get_running_loop().time()
        series = self._series.get(event)
        if series is not None and now - series.last_seen < SERIES_SECONDS and await self._repeat(event, series):
            series.last_seen = now
            return
        name = f"{dict(event.regarding).get('name', '')}.{_time_suffix()}"
        await self._client.create(EVENTS, self._render(event, name), event.namespace)
        self._series[event] = _Series(name, 1, now)
        self._forget_old(now)

    async def _repeat(self, event: _Event, series: _Series) -> bool:
        patch = {"count": series.count + 1, "lastTimestamp": times.now()}
        try:
            await self._client.patch(EVENTS, series.name, patch, event.namespace)
        except NotFound:
            return False
        series.count += 1
        return True

    def _render(self, event: _Event, name: str) -> Object:
        moment = times.now()
        return {
            "metadata": {"name": name, "namespace": event.namespace},
            "involvedObject": dict(event.regarding)
            | ({"resourceVersion": event.resource_version} if event.resource_version else {}),
            "type": event.type,
            "reason": event.reason,
            "message": event.message,
            "source": self._source,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
        }

    def _forget_old(self, now: float) -> None:
        if len(self._series) > MAX_PENDING:
            self._series = {e: s for e, s in self._series.items() if now - s.last_seen < SERIES_SECONDS}


def _reference(regarding: APIObject | Object, kind: str, api_version: str, field_path: str) -> dict[str, str]:
    if isinstance(regarding, APIObject):
        meta = regarding.metadata
        found = {
            "kind": regarding.kind or kind or type(regarding).__name__,
            "apiVersion": regarding.api_version or api_version or "v1",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        }
    else:
        found = {
            "kind": regarding.get("kind") or kind,
            "apiVersion": regarding.get("apiVersion") or api_version or "v1",
            "namespace": objects.namespace(regarding),
            "name": objects.name(regarding),
            "uid": objects.uid(regarding),
            "resourceVersion": objects.resource_version(regarding),
        }
    found["fieldPath"] = field_path
    return {key: value for key, value in found.items() if value}


def _time_suffix() -> str:
    """Sixteen hexadecimal digits of the time, as upstream names events."""
    return f"{time.time_ns():x}"
