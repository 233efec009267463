"""The garbage collector's shell: watches every resource, and acts on the objects the graph points at."""

import asyncio
import logging
from typing import Any

from sampan.api.meta_v1 import APIObject, ObjectMeta, OwnerReference, PartialObject
from sampan.client.informer import Informer, Informers
from sampan.client.resources import Resource
from sampan.client.workqueue import WorkQueue, run_workers
from sampan.controllers.context import Context
from sampan.controllers.controller import Controller
from sampan.controllers.discovery import discover
from sampan.controllers.garbagecollector.graph import FOREGROUND, ORPHAN, Graph, Node, Task, Work
from sampan.controllers.garbagecollector.verdict import Keep, Owner, Remove, judge
from sampan.machinery.errors import NotFound, StatusError
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

WORKERS = 10
AT_ONCE = 4
"""Watches opened at a time: the others have more urgent work when a cluster starts."""
SYNC_SECONDS = 10.0
RETRY_SECONDS = 1.0
HEAD_START_SECONDS = 1.0
"""Watching everything costs a connection for each kind; what else starts at the same time goes first."""
IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
REDISCOVER = frozenset({"customresourcedefinitions", "apiservices"})


class GarbageCollector(Controller):
    name = "garbagecollector"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._informers = Informers(context.client)
        self._graph = Graph()
        self._queue: WorkQueue[Work] = WorkQueue(self.name, context.queue_metrics)
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._watched: set[Resource] = set()
        self._stale = asyncio.Event()

    async def run(self) -> None:
        await self.context.informers.wait_synced()
        await asyncio.sleep(HEAD_START_SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informers.run())
            await self._watch_all()
            group.create_task(run_workers(self._queue, self.sync, WORKERS))
            group.create_task(self._rediscover())

    # --- watching everything

    async def _watch_all(self) -> None:
        while True:
            try:
                found = await discover(self.client)
                break
            except (StatusError, OSError) as error:
                log.warning("garbage collector: cannot discover resources: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
        resources = found.able("list", "watch", "delete")
        self._kinds = {(one.api_version, one.kind): one for one in resources}
        new = [one for one in resources if one not in self._watched and (one.group, one.plural) not in IGNORED]
        for start in range(0, len(new), AT_ONCE):
            informers = [self._watch(one) for one in new[start : start + AT_ONCE]]
            await self._wait_synced(informers)

    def _watch(self, resource: Resource) -> Informer[Any]:
        """Follow a resource, by the cache that other controllers share where there is one."""
        self._watched.add(resource)
        shared = self.context.informers.find(resource)
        informer: Informer[Any] = shared or self._informers.of(resource, PartialObject, metadata_only=True)

        def changed(old: APIObject | None, new: APIObject | None) -> None:
            self._changed(resource, old, new)

        informer.add_handler(changed)
        return informer

    async def _wait_synced(self, informers: list[Informer[Any]]) -> None:
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await asyncio.gather(*(one.wait_synced() for one in informers))
        except TimeoutError:
            silent = ", ".join(str(one.resource) for one in informers if not one.synced)
            log.warning("garbage collector: could not list %s; their objects are looked up one by one", silent)

    async def _rediscover(self) -> None:
        while True:
            await self._stale.wait()
            await asyncio.sleep(RETRY_SECONDS)
            self._stale.clear()
            await self._watch_all()

    def _changed(self, resource: Resource, old: APIObject | None, new: APIObject | None) -> None:
        if new is not None:
            work = self._graph.observe(resource, new.metadata, self._kinds)
        else:
            work = self._graph.forget(old.metadata.uid) if old else []
        if resource.plural in REDISCOVER:
            self._stale.set()
        self._enqueue(work)

    def _enqueue(self, work: list[Work]) -> None:
        for one in work:
            self._queue.add(one)

    # --- acting

    async def sync(self, work: Work) -> None:
        task, uid = work
        node = self._graph.nodes.get(uid)
        if node is None or node.resource is None:
            return
        live = await self._live(node)
        if live is None or live.uid != uid:
            self._enqueue(self._graph.forget(uid))
        elif task is Task.ORPHAN:
            await self._orphan(node, live)
        elif node.foreground:
            await self._finish_foreground(node, live)
        elif not node.virtual and not node.deleting:
            await self._collect(node, live)

    async def _collect(self, node: Node, live: ObjectMeta) -> None:
        owners = {one.uid: await self._owner_state(node, one) for one in live.owner_references}
        dependents = self._graph.dependents(node.uid)
        verdict = judge(
            live,
            owners,
            has_dependents=bool(dependents),
            dependents_waiting=[one.foreground for one in dependents],
        )
        if isinstance(verdict, Keep):
            if verdict.drop:
                gone = {one.uid for one in verdict.drop}
                await self._set_owners(node, live, [one for one in live.owner_references if one.uid not in gone])
            return
        await self._remove(node, live, verdict)

    async def _owner_state(self, node: Node, reference: OwnerReference) -> Owner:
        """From the graph where it knows, else from the server."""
        if self._graph.is_absent(reference.uid):
            return Owner.DANGLING
        owner = self._graph.nodes.get(reference.uid)
        if owner is not None and not owner.virtual:
            return Owner.WAITING if owner.foreground else Owner.SOLID
        if owner is None or owner.resource is None:
            return Owner.SOLID
        live = await self._live(owner)
        if live is None or live.uid != reference.uid:
            self._enqueue(self._graph.forget(reference.uid))
            return Owner.DANGLING
        waiting = live.deletion_timestamp is not None and FOREGROUND in live.finalizers
        return Owner.WAITING if waiting else Owner.SOLID

    async def _remove(self, node: Node, live: ObjectMeta, verdict: Remove) -> None:
        assert node.resource is not None
        if verdict.unblock:
            await self._set_owners(node, live, list(live.owner_references), unblock=True)
        try:
            await self.client.delete(
                node.resource, node.name, node.namespace, uid=node.uid, propagation=verdict.propagation
            )
        except NotFound:
            self._enqueue(self._graph.forget(node.uid))

    async def _finish_foreground(self, node: Node, live: ObjectMeta) -> None:
        """Let the object go when no dependent blocks it any more; else see to those that do."""
        blocking = self._graph.blocking_dependents(node.uid)
        if blocking:
            self._enqueue([(Task.DELETE, one.uid) for one in blocking if not one.deleting])
        else:
            await self._drop_finalizer(node, live, FOREGROUND)

    async def _orphan(self, node: Node, live: ObjectMeta) -> None:
        """Take this owner off its dependents, then let it go."""
        for dependent in self._graph.dependents(node.uid):
            found = await self._live(dependent)
            if found is not None and found.uid == dependent.uid:
                left = [one for one in found.owner_references if one.uid != node.uid]
                if len(left) != len(found.owner_references):
                    await self._set_owners(dependent, found, left)
        await self._drop_finalizer(node, live, ORPHAN)

    # --- the server

    async def _live(self, node: Node) -> ObjectMeta | None:
        if node.resource is None:
            return None
        try:
            found = await self.client.get(node.resource, node.name, node.namespace, PartialObject)
        except NotFound:
            return None
        return found.metadata

    async def _set_owners(
        self, node: Node, live: ObjectMeta, owners: list[OwnerReference], *, unblock: bool = False
    ) -> None:
        references: list[Object] = [
            {
                "apiVersion": one.api_version,
                "kind": one.kind,
                "name": one.name,
                "uid": one.uid,
                **({"controller": True} if one.controller else {}),
                **({"blockOwnerDeletion": True} if one.block_owner_deletion and not unblock else {}),
            }
            for one in owners
        ]
        await self._patch(node, live, {"ownerReferences": references or None})

    async def _drop_finalizer(self, node: Node, live: ObjectMeta, finalizer: str) -> None:
        if finalizer in live.finalizers:
            left = [one for one in live.finalizers if one != finalizer]
            await self._patch(node, live, {"finalizers": left or None})

    async def _patch(self, node: Node, live: ObjectMeta, metadata: Object) -> None:
        """Change metadata, of exactly the version that was looked at."""
        assert node.resource is not None
        patch = {"metadata": {"resourceVersion": live.resource_version, **metadata}}
        try:
            await self.client.patch(node.resource, node.name, patch, node.namespace)
        except NotFound:
            self._enqueue(self._graph.forget(node.uid))
