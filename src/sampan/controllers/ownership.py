"""Which pods are an owner's: claiming them on reconciling, and finding the owners a pod's change concerns."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from sampan.api import pods
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import APIObject, ObjectMeta
from sampan.client.informer import Informer
from sampan.client.resources import PODS, Resource
from sampan.client.workqueue import WorkQueue
from sampan.controllers import adoption
from sampan.controllers.context import Context
from sampan.controllers.freshness import OwnWrites
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object
from sampan.machinery.selectors import LabelSelector

Owner = TypeVar("Owner", bound=APIObject)


class PodOwnership(Generic[Owner]):
    """The pods of one kind of owner, whose cache is indexed by namespace."""

    def __init__(
        self,
        context: Context,
        owners: Informer[Owner],
        selector: Callable[[Owner], LabelSelector],
        writes: OwnWrites[str],
    ) -> None:
        self._client = context.client
        self._cache = context.pods
        self._owners = owners
        self._selector = selector
        self._writes = writes

    @property
    def _owner(self) -> Resource:
        return self._owners.resource

    def wake(self, queue: WorkQueue[str]) -> None:
        """From now on put the owners that a pod's change concerns into the queue."""

        def changed(old: Pod | None, new: Pod | None) -> None:
            for key in (*controllers_of(self._owner, old, new), *self._adopters(old, new)):
                queue.add(key)

        self._cache.add_handler(changed)

    def _adopters(self, old: Pod | None, new: Pod | None) -> Iterator[str]:
        """The keys of the owners that may adopt a pod which has just become an orphan."""
        if new is None or not _became_orphan(old, new):
            return
        for owner in self._owners.by_index("namespace", new.metadata.namespace):
            if self._selector(owner).matches(new.metadata.labels):
                yield owner.metadata.key

    async def claim(self, owner: Owner) -> list[Pod]:
        """The pods that are the owner's, after adopting and releasing what must be."""
        meta = owner.metadata
        candidates = self._cache.by_index("controller", meta.uid)
        candidates += self._cache.by_index("orphans", meta.namespace)
        claims = adoption.claim(meta, self._selector(owner), candidates)
        reference = adoption.controller_reference(self._owner.api_version, self._owner.kind, meta)
        adopted = [pod for pod in claims.adopt if not pods.is_terminal(pod)]
        await asyncio.gather(
            *(self._patch(meta, pod, adoption.adoption_patch(reference, pod.metadata)) for pod in adopted),
            *(self._patch(meta, pod, adoption.release_patch(meta, pod.metadata)) for pod in claims.release),
        )
        return [*claims.owned, *adopted]

    async def _patch(self, owner: ObjectMeta, pod: Pod, patch: Object) -> None:
        meta = pod.metadata
        try:
            written = await self._client.patch(PODS, meta.name, patch, meta.namespace, type="strategic")
        except NotFound:
            return
        self._writes.wrote(owner.key, written)


def controllers_of(owner: Resource, old: APIObject | None, new: APIObject | None) -> Iterator[str]:
    """The keys of the controllers of that kind which an object had or has."""
    for one in (old, new):
        controller = one.metadata.controller if one else None
        if one is not None and controller is not None and controller.kind == owner.kind:
            yield f"{one.metadata.namespace}/{controller.name}"


def _became_orphan(old: Pod | None, new: Pod) -> bool:
    """Whether it has no controller, and had one, or other labels, or did not exist, before."""
    if new.metadata.controller is not None or pods.is_terminating(new):
        return False
    return old is None or old.metadata.controller is not None or old.metadata.labels != new.metadata.labels
