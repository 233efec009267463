"""Informers: a local, indexed copy of a resource that the watch keeps current.

A list fills the copy; a watch from its version keeps it; a broken watch resumes from the last version seen (bookmarks
move it on); only when the server no longer knows that version is the list taken again, and then handlers hear of the
differences alone. Handlers run on the event loop, in order, and must not block.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from sampan.api.meta_v1 import APIObject
from sampan.client.resources import Resource
from sampan.client.rest import JSON, METADATA, METADATA_LIST, Client, Rejected, WatchFrame, decoder_for, rejected
from sampan.machinery.errors import Gone, StatusError, TooManyRequests

log = logging.getLogger(__name__)

T = TypeVar("T", bound=APIObject)
Key = tuple[str, str]
Selection = tuple[Resource, type[Any], str | None, str, str]
"""What tells an informer from others: resource, type, namespace, label selector, field selector."""
Index = Callable[[T], Iterable[Hashable]]
InformerHandler = Callable[[T | None, T | None], None]

FIRST_RETRY_SECONDS = 0.02
LAST_RETRY_SECONDS = 5.0
_ORDINARY_SECONDS = 1.0
_MAX_REJECTED = 1000


class Informer(Generic[T]):
    """A current copy of every object of one resource (in one namespace or all, selected or not)."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        kind: type[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexers: Mapping[str, Index[T]] | None = None,
    ) -> None:
        """With `metadata_only` nothing else is sent: for a `kind` that reads nothing else."""
        self.resource = resource
        self._client = client
        self._decoder = decoder_for(kind)
        self._list_type = kind
        self._labels, self._fields = label_selector, field_selector
        self._namespace = namespace
        self._accept = (METADATA_LIST, METADATA) if metadata_only else (JSON, JSON)
        self._items: dict[Key, T] = {}
        self._indexers: dict[str, Index[T]] = dict(indexers or {})
        self._indexes: dict[str, dict[Hashable, dict[Key, T]]] = {name: {} for name in self._indexers}
        self._filed: dict[str, dict[Key, list[Hashable]]] = {name: {} for name in self._indexers}
        self._handlers: list[InformerHandler[T]] = []
        self.rejected = 0
        """How often an object came that could not be read."""
        self._rejected_keys: set[Key] = set()
        self._synced = asyncio.Event()
        self._version = ""

    # --- reading

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """The version up to which this copy is current."""
        return self._version

    async def wait_synced(self) -> None:
        """Return once the first list has been delivered."""
        await self._synced.wait()

    def get(self, namespace: str | None, name: str) -> T | None:
        return self._items.get((namespace or "", name))

    def items(self) -> list[T]:
        return list(self._items.values())

    @property
    def by_key(self) -> Mapping[Key, T]:
        """All objects by namespace and name: a view that follows."""
        return MappingProxyType(self._items)

    def by_index(self, index: str, key: Hashable) -> list[T]:
        return list(self._indexes[index].get(key, {}).values())

    def __len__(self) -> int:
        return len(self._items)

    # --- setting up

    def add_handler(self, handler: InformerHandler[T]) -> None:
        """Call `handler(old, new)` for every change: old is None for additions, new is None for deletions."""
        self._handlers.append(handler)
        for item in self.items():
            self._call(handler, None, item)

    def add_index(self, name: str, index: Index[T]) -> None:
        if name in self._indexers:
            return
        self._indexers[name] = index
        self._indexes[name] = {}
        self._filed[name] = {}
        for key, item in self._items.items():
            self._file(name, key, item)

    # --- following the server

    async def run(self) -> None:
        """Follow the server until cancelled, whatever happens to it meanwhile.

        Failures are retried after a growing pause; a watch that brought something begins the pauses anew.
        """
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                if not self._version:
                    await self._relist()
                if await self._follow():
                    delay = FIRST_RETRY_SECONDS
                    continue
            except Gone:
                self._version = ""
            except (StatusError, OSError, msgspec.MsgspecError) as error:
                log.log(logging.DEBUG if delay < 1 else logging.WARNING, "watch of %s: %s", self.resource, error)
                if isinstance(error, StatusError) and not isinstance(error, TooManyRequests):
                    self._version = ""
            except Exception:
                log.exception("watch of %s", self.resource)
                self._version = ""
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    async def _relist(self) -> None:
        listed = await self._client.list(
            self.resource,
            self._namespace,
            type=self._list_type,
            label_selector=self._labels,
            field_selector=self._fields,
            accept=self._accept[0],
        )
        for bad in listed.rejected:
            self._reject(bad)
        fresh = {(item.metadata.namespace, item.metadata.name): item for item in listed.items}
        for key in [key for key in self._items if key not in fresh]:
            self._remove(key)
        for key, item in fresh.items():
            self._put(key, item)
        self._version = listed.resource_version
        self._synced.set()

    async def _follow(self) -> bool:
        """Watch until the server ends it; True if that was an ordinary watch: some time, or some changes."""
        begun = asyncio.get_running_loop().time()
        brought = False
        watch = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._labels,
            field_selector=self._fields,
            accept=self._accept[1],
        )
        async for frames in watch:
            for frame in frames:
                brought = True
                self._apply(frame)
        return brought or asyncio.get_running_loop().time() - begun >= _ORDINARY_SECONDS

    def _apply(self, frame: WatchFrame) -> None:
        try:
            item: T = self._decoder.decode(frame.object)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            bad = rejected(frame.object, error)
            self._reject(bad)
            self._version = bad.resource_version or self._version
            return
        key = (item.metadata.namespace, item.metadata.name)
        if frame.type == "DELETED":
            self._remove(key)
            self._rejected_keys.discard(key)
        elif frame.type != "BOOKMARK":
            self._put(key, item)
        self._version = item.metadata.resource_version

    def _reject(self, bad: Rejected) -> None:
        """Do without an object that cannot be read. It is logged once until it can be read again."""
        self.rejected += 1
        if bad.key not in self._rejected_keys and len(self._rejected_keys) < _MAX_REJECTED:
            self._rejected_keys.add(bad.key)
            log.error("%s %s cannot be read and is left out: %s", self.resource, "/".join(bad.key), bad.why)
        self._remove(bad.key)

    # --- the copy

    def _put(self, key: Key, item: T) -> None:
        old = self._items.get(key)
        if old is not None and old.metadata.resource_version == item.metadata.resource_version:
            return
        if old is not None and old.metadata.uid != item.metadata.uid:
            self._remove(key)
            old = None
        if old is not None:
            self._unfile_all(key)
        self._items[key] = item
        self._rejected_keys.discard(key)
        for name in self._indexers:
            self._file(name, key, item)
        self._notify(old, item)

    def _remove(self, key: Key) -> None:
        old = self._items.pop(key, None)
        if old is not None:
            self._unfile_all(key)
            self._notify(old, None)

    def _file(self, name: str, key: Key, item: T) -> None:
        """An index that raises has nothing of this item; other indexes and items are as they should be."""
        filed: list[Hashable] = []
        self._filed[name][key] = filed
        try:
            for value in self._indexers[name](item):
                self._indexes[name].setdefault(value, {})[key] = item
                filed.append(value)
        except Exception:
            log.exception("index %s of %s %s", name, self.resource, item.metadata.key)

    def _unfile_all(self, key: Key) -> None:
        for name, index in self._indexes.items():
            for value in self._filed[name].pop(key, ()):
                bucket = index.get(value)
                if bucket is not None:
                    bucket.pop(key, None)
                    if not bucket:
                        del index[value]

    def _notify(self, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            self._call(handler, old, new)

    def _call(self, handler: InformerHandler[T], old: T | None, new: T | None) -> None:
        try:
            handler(old, new)
        except Exception:
            item = new or old
            log.exception("handling a change of %s %s", self.resource, item.metadata.key if item else "")


class Informers:
    """Informers shared within a process: one per resource, type and selection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers: dict[Selection, Informer[Any]] = {}
        self._tasks: dict[Selection, asyncio.Task[None]] = {}
        self._running = False
        self._ended = asyncio.Event()

    def of(
        self,
        resource: Resource,
        kind: type[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexers: Mapping[str, Index[T]] | None = None,
    ) -> Informer[T]:
        """The informer for this selection; made, and started if `run` has begun, when first asked for."""
        key = (resource, kind, namespace, label_selector, field_selector)
        informer = self._informers.get(key)
        if informer is None:
            informer = self._informers[key] = Informer(
                self.client,
                resource,
                kind,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                metadata_only=metadata_only,
            )
            if self._running:
                self._start(key)
        for name, index in (indexers or {}).items():
            informer.add_index(name, index)
        return informer

    def find(self, resource: Resource) -> Informer[Any] | None:
        """The informer of all objects of a resource, decoded into whatever type, if somebody asked for one."""
        for (found, _, *selection), informer in self._informers.items():
            if found == resource and not any(selection):
                return informer
        return None

    def missing(self) -> list[Informer[Any]]:
        """Those that have not delivered their first list yet."""
        return [informer for informer in self._informers.values() if not informer.synced]

    async def run(self) -> None:
        """Run all informers, and those asked for later, until cancelled. Raises what ended any of them."""
        self._running = True
        for key in self._informers:
            self._start(key)
        try:
            while True:
                await self._ended.wait()
                self._ended.clear()
                for task in list(self._tasks.values()):
                    if task.done() and not task.cancelled():
                        task.result()
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def wait_synced(self) -> None:
        await asyncio.gather(*(informer.wait_synced() for informer in self._informers.values()))

    def _start(self, key: Selection) -> None:
        if key not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._informers[key].run())
            task.add_done_callback(lambda _: self._ended.set())
            self._tasks[key] = task
