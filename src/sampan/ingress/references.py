"""Secrets and ConfigMaps that Ingresses refer to: read by name, and nothing of the others.

In each namespace where something is referred to, a watch of metadata tells which object has changed; the content is
then asked for by name, of those alone that are wanted. Both need the verbs `list` and `watch`, no others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Generic, TypeVar

from sampan.api.meta_v1 import APIObject, Struct
from sampan.client.informer import Informer
from sampan.client.resources import Resource
from sampan.client.rest import Client
from sampan.machinery.errors import StatusError

log = logging.getLogger(__name__)

T = TypeVar("T", bound=APIObject)
Key = tuple[str, str]
"""Namespace and name."""

RETRY_SECONDS = 1.0


class _Version(Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Known(APIObject, frozen=True):
    """An object of which nothing is decoded but its name and version."""

    metadata: _Version = _Version()  # type: ignore[assignment]


class References(Generic[T]):
    """The wanted objects of one resource, current. `changed` is called after each change of one of them."""

    def __init__(self, client: Client, resource: Resource, kind: type[T], changed: Callable[[], None]) -> None:
        self._client, self._resource, self._kind, self._changed = client, resource, kind, changed
        self._wanted: frozenset[Key] = frozenset()
        self._found: dict[Key, T | None] = {}
        self._watched: dict[str, Informer[_Known]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reads: dict[Key, asyncio.Task[None]] = {}

    @property
    def objects(self) -> Mapping[Key, T | None]:
        """The wanted objects, a live view: None for what does not exist, nothing for what is not known yet."""
        return self._found

    async def want(self, keys: Set[Key], seconds: float) -> bool:
        """Have exactly these, waiting for at most so long. Returns whether something is known now that was not.

        What does not come in time counts as missing until it does.
        """
        fresh = keys - self._wanted
        self._wanted = frozenset(keys)
        for key in [key for key in self._found if key not in keys]:
            del self._found[key]
        self._watch({namespace for namespace, _ in keys})
        if not fresh:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._arrive(fresh)
        except TimeoutError:
            log.warning("%s: not all that Ingresses refer to could be read in time", self._resource)
            for key in fresh:
                self._found.setdefault(key, None)
        return True

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, namespaces: set[str]) -> None:
        for namespace in [one for one in self._tasks if one not in namespaces]:
            self._tasks.pop(namespace).cancel()
            del self._watched[namespace]
        for namespace in namespaces - self._tasks.keys():
            informer = Informer(self._client, self._resource, _Known, namespace=namespace, metadata_only=True)
            informer.add_handler(self._heard)
            self._watched[namespace] = informer
            self._tasks[namespace] = asyncio.get_running_loop().create_task(informer.run())

    async def _arrive(self, keys: Iterable[Key]) -> None:
        """Wait until it is known of each whether it exists, and those that do have been read."""
        namespaces = {namespace for namespace, _ in keys}
        await asyncio.gather(*(self._watched[namespace].wait_synced() for namespace in namespaces))
        for key in keys:
            known = self._watched[key[0]].get(*key)
            if known is not None:
                self._read_soon(key, known.metadata.resource_version)
            elif key in self._wanted:
                self._found.setdefault(key, None)
        if reads := [self._reads[key] for key in keys if key in self._reads]:
            await asyncio.wait(reads)

    def _heard(self, old: _Known | None, new: _Known | None) -> None:
        meta = (new or old or _Known()).metadata
        key = (meta.namespace, meta.name)
        if key not in self._wanted:
            return
        if new is not None:
            self._read_soon(key, meta.resource_version)
        elif self._found.get(key) is not None:
            self._found[key] = None
            self._changed()

    def _read_soon(self, key: Key, version: str) -> None:
        found = self._found.get(key)
        if key in self._reads or (found is not None and found.metadata.resource_version == version):
            return
        task = self._reads[key] = asyncio.get_running_loop().create_task(self._read(key))
        task.add_done_callback(lambda _: self._reads.pop(key, None))

    async def _read(self, key: Key) -> None:
        """Until what has been read is what the watch knows."""
        namespace, name = key
        while key in self._wanted:
            known = self._watched[namespace].get(*key)
            found = self._found.get(key)
            if known is None or (found and found.metadata.resource_version == known.metadata.resource_version):
                return
            try:
                listed = await self._client.list(
                    self._resource, namespace, type=self._kind, field_selector=f"metadata.name={name}"
                )
            except (StatusError, OSError) as error:
                log.warning("%s %s/%s could not be read: %s", self._resource, namespace, name, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if key in self._wanted and listed.items:
                self._found[key] = listed.items[0]
                self._changed()
            if listed.items and listed.items[0].metadata.resource_version != known.metadata.resource_version:
                await asyncio.sleep(0.005)
            elif not listed.items:
                self._found.setdefault(key, None)
                return
