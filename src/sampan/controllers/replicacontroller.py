"""The shell that ReplicaSets and ReplicationControllers share: claim pods, scale, write the status.

Everything it does was decided in `replication.py`; it never acts on a cache that lacks its own last writes.
"""

import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from sampan.api import pods
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import APIObject
from sampan.client.events import EventRecorder
from sampan.client.informer import Informer
from sampan.controllers import replication
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.ownership import PodOwnership
from sampan.controllers.podcontrol import PodControl, slow_start
from sampan.controllers.replication import Replicated, Scale
from sampan.machinery import times
from sampan.machinery.errors import NotFound, StatusError

Owner = TypeVar("Owner", bound=APIObject)


class ReplicaController(QueueController, Generic[Owner]):
    """A work queue of owners, fed by owners and pods."""

    component: ClassVar[str]
    reports_terminating: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.cache = self.owners(context)
        recorder = EventRecorder(context.client, self.component)
        self._writes: OwnWrites[str] = OwnWrites(context.pods)
        self._pods = PodControl(context.client, recorder, self.cache.resource, self._writes)
        self._ownership = PodOwnership(context, self.cache, lambda found: self.view(found).selector, self._writes)
        self._ownership.wake(self.queue)
        self.cache.add_handler(self.enqueue)

    # --- what the two kinds differ in

    @staticmethod
    @abstractmethod
    def owners(context: Context) -> Informer[Owner]:
        """The cache of the kind."""

    @staticmethod
    @abstractmethod
    def view(found: Owner) -> Replicated: ...

    def siblings(self, owner: Replicated) -> Iterable[str]:
        """The uids of the owners, this one included, that answer to the same controller."""
        return [owner.metadata.uid]

    # --- reconciling

    async def sync(self, key: str) -> None:
        found = self.cache.get(*split(key))
        if found is None:
            return
        if not self._writes.seen(key):
            self.queue.add_after(key, STALE_SECONDS)
            return
        owner, mine = self.view(found), await self._ownership.claim(found)
        now = time.time()
        active = [pod for pod in mine if pods.is_active(pod) and not self._writes.is_doomed(pod)]
        scale, error = Scale(), None
        if not owner.metadata.deletion_timestamp:
            scale = replication.decide_scale(owner, active, self._related(owner), now)
            error = await self._apply(owner, scale)
        failure = replication.decide_failure(scale, error.message, times.now()) if error else None
        await self._write_status(owner, replication.decide_status(owner, active, self._terminating(mine), failure, now))
        wait = replication.next_available(owner, active, now)
        if wait is not None:
            self.queue.add_after(key, wait)
        if error is not None:
            raise error

    def _terminating(self, mine: Iterable[Pod]) -> int | None:
        if not self.reports_terminating:
            return None
        return sum(1 for pod in mine if pods.is_terminating(pod) and not pods.is_terminal(pod))

    def _related(self, owner: Replicated) -> list[Pod]:
        by_controller = self.context.pods.by_index
        return [pod for uid in self.siblings(owner) for pod in by_controller("controller", uid)]

    async def _apply(self, owner: Replicated, scale: Scale) -> StatusError | None:
        if scale.delete:
            return await self._pods.delete_all(owner.metadata, scale.delete)
        if not scale.create:
            return None
        template = self._pods.pod(owner.metadata, owner.template)

        async def create(_: int) -> None:
            await self._pods.create(owner.metadata, template)

        _, error = await slow_start(scale.create, create)
        return None if error is not None and is_namespace_terminating(error) else error

    async def _write_status(self, owner: Replicated, counts: replication.ReplicaCounts) -> None:
        if counts == owner.status:
            return
        status = replication.status_object(counts, with_terminating=self.reports_terminating)
        meta = owner.metadata
        try:
            await self.client.patch(
                self.cache.resource, meta.name, {"status": status}, meta.namespace, subresource="status"
            )
        except NotFound:
            return
