"""The StatefulSet controller's shell."""

import asyncio
import time

import msgspec

from sampan.api import pods
from sampan.api.apps_v1 import ControllerRevision, StatefulSet, StatefulSetStatus
from sampan.api.core_v1 import Pod
from sampan.client.events import EventRecorder
from sampan.client.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from sampan.controllers import history
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.ownership import PodOwnership, controllers_of
from sampan.controllers.references import reference
from sampan.controllers.statefulsets.decision import World, decide, decide_status
from sampan.controllers.statefulsets.identity import claims_of, pod_of
from sampan.machinery.errors import AlreadyExists, NotFound, StatusError
from sampan.machinery.objects import Object, name
from sampan.machinery.selectors import LabelSelector, from_label_selector


class StatefulSetController(QueueController):
    name = "statefulset"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets, self._revisions = context.stateful_sets, context.controller_revisions
        self._recorder = EventRecorder(context.client, "statefulset-controller")
        self._pod_writes: OwnWrites[str] = OwnWrites(context.pods)
        self._history_writes: OwnWrites[str] = OwnWrites(self._revisions)
        self._set_writes: OwnWrites[str] = OwnWrites(self._sets)
        self._ownership = PodOwnership(context, self._sets, _selector, self._pod_writes)
        self._sets.add_handler(self.enqueue)
        self._revisions.add_handler(self._revision_changed)
        self._ownership.wake(self.queue)

    # --- events

    def _revision_changed(self, old: ControllerRevision | None, new: ControllerRevision | None) -> None:
        for key in controllers_of(STATEFUL_SETS, old, new):
            self.queue.add(key)

    # --- reconciling

    async def sync(self, key: str) -> None:
        found = self._sets.get(*split(key))
        if found is None:
            return
        if not all(writes.seen(key) for writes in (self._pod_writes, self._history_writes, self._set_writes)):
            self.queue.add_after(key, STALE_SECONDS)
            return
        mine = await self._ownership.claim(found)
        mine = [pod for pod in mine if pod.metadata.name.rpartition("-")[0] == found.metadata.name]
        revision = await self._remember(found)
        if revision is None:
            collisions = (found.status.collision_count or 0) + 1
            await self._write_status(found, msgspec.structs.replace(found.status, collision_count=collisions))
            return
        world = World(found, tuple(mine), self._current(found, revision.name), revision.name, time.time())
        if not found.metadata.deletion_timestamp and not any(self._pod_writes.is_doomed(pod) for pod in mine):
            await self._apply(world)
        await self._write_status(found, decide_status(world))
        await self._forget_surplus(world)
        self._look_again(world)

    async def _remember(self, found: StatefulSet) -> history.Revision | None:
        known = self._revisions.by_index("controller", found.metadata.uid)
        revision = history.current_revision(found.metadata, found.spec.template, known, found.status.collision_count)
        if found.metadata.deletion_timestamp:
            return revision
        selector = found.spec.selector
        labels = dict(selector.match_labels) if selector else {}
        kept = await history.remember(
            self.client, self._history_writes, STATEFUL_SETS, found.metadata, revision, labels
        )
        return revision if kept else None

    def _current(self, found: StatefulSet, update: str) -> str:
        """The revision that is being left, as long as it is remembered."""
        known = {one.metadata.name for one in self._revisions.by_index("controller", found.metadata.uid)}
        current = found.status.current_revision
        return current if current in known else update

    async def _apply(self, world: World) -> None:
        plan = decide(world)
        templates = self._templates(world)
        await asyncio.gather(*(self._delete(world, pod) for pod in plan.delete))
        for ordinal, revision in plan.create:
            await self._claim_volumes(world, ordinal)
            await self._create(world, pod_of(world.stateful_set, templates[revision], revision, ordinal))

    def _templates(self, world: World) -> dict[str, Object]:
        """The templates of the revisions that pods are made of."""
        templates = {world.update: world.stateful_set.spec.template}
        for one in self._revisions.by_index("controller", world.stateful_set.metadata.uid):
            template = dict((one.data.get("spec") or {}).get("template") or {})
            template.pop("$patch", None)
            templates.setdefault(one.metadata.name, template)
        return templates

    async def _create(self, world: World, pod: Object) -> None:
        owner = world.stateful_set.metadata
        about = reference(STATEFUL_SETS, owner)
        what = f"create Pod {name(pod)} in StatefulSet {owner.name}"
        try:
            created = await self.client.create(PODS, pod, owner.namespace)
        except StatusError as error:
            if is_namespace_terminating(error):
                return
            self._recorder.event(about, "Warning", "FailedCreate", f"{what} failed error: {error.message}")
            raise
        self._pod_writes.wrote(owner.key, created)
        self._recorder.event(about, "Normal", "SuccessfulCreate", f"{what} successful")

    async def _claim_volumes(self, world: World, ordinal: int) -> None:
        owner = world.stateful_set.metadata
        for claim in claims_of(world.stateful_set, ordinal):
            try:
                await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim, owner.namespace)
            except AlreadyExists:
                continue
            where = f"Pod {owner.name}-{ordinal} in StatefulSet {owner.name}"
            message = f"create Claim {name(claim)} {where} success"
            self._recorder.event(reference(STATEFUL_SETS, owner), "Normal", "SuccessfulCreate", message)

    async def _delete(self, world: World, pod: Pod) -> None:
        owner, meta = world.stateful_set.metadata, pod.metadata
        about, what = reference(STATEFUL_SETS, owner), f"delete Pod {meta.name} in StatefulSet {owner.name}"
        self._pod_writes.doom(meta.uid)
        try:
            await self.client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return
        except StatusError as error:
            self._pod_writes.spare(meta.uid)
            self._recorder.event(about, "Warning", "FailedDelete", f"{what} failed error: {error.message}")
            raise
        self._recorder.event(about, "Normal", "SuccessfulDelete", f"{what} successful")

    async def _forget_surplus(self, world: World) -> None:
        known = self._revisions.by_index("controller", world.stateful_set.metadata.uid)
        used = {world.revision_of(pod) for pod in world.pods} | {world.current, world.update}
        limit = world.stateful_set.spec.revision_history_limit
        await history.forget(self.client, history.surplus(known, used, limit))

    def _look_again(self, world: World) -> None:
        """Come back when the next pod becomes available."""
        least = world.stateful_set.spec.min_ready_seconds
        waits = (pods.available_in(pod, least, world.now) for pod in world.pods)
        wait = min((one for one in waits if one), default=None)
        if wait is not None:
            self.queue.add_after(world.stateful_set.metadata.key, wait)

    async def _write_status(self, found: StatefulSet, status: StatefulSetStatus) -> None:
        if status == found.status:
            return
        meta = found.metadata
        patch = {"status": _status_object(status)}
        try:
            written = await self.client.patch(STATEFUL_SETS, meta.name, patch, meta.namespace, subresource="status")
        except NotFound:
            return
        self._set_writes.wrote(meta.key, written)


def _status_object(status: StatefulSetStatus) -> Object:
    return {
        "observedGeneration": status.observed_generation or None,
        "replicas": status.replicas,
        "readyReplicas": status.ready_replicas or None,
        "currentReplicas": status.current_replicas or None,
        "updatedReplicas": status.updated_replicas or None,
        "availableReplicas": status.available_replicas,
        "currentRevision": status.current_revision or None,
        "updateRevision": status.update_revision or None,
        "collisionCount": status.collision_count,
    }


def _selector(found: StatefulSet) -> LabelSelector:
    return from_label_selector(found.spec.selector)
