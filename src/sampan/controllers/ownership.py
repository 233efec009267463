"""Which pods are an owner's: claiming them on reconciling, and finding the owners a pod's change concerns."""

import asyncio
from collections.abc import Iterator

from sampan.api import pods
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.resources import PODS, Resource
from sampan.controllers import adoption
from sampan.controllers.context import Context
from sampan.controllers.freshness import OwnWrites
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object
from sampan.machinery.selectors import LabelSelector


class PodOwnership:
    """The pods of one kind of owner."""

    def __init__(self, context: Context, owner: Resource, writes: OwnWrites[str]) -> None:
        self._client = context.client
        self._cache = context.pods
        self._owner = owner
        self._writes = writes

    def owners(self, old: Pod | None, new: Pod | None) -> Iterator[str]:
        """The keys of the owners that a pod had or has."""
        for pod in (old, new):
            controller = pod.metadata.controller if pod else None
            if pod is not None and controller is not None and controller.kind == self._owner.kind:
                yield f"{pod.metadata.namespace}/{controller.name}"

    @staticmethod
    def became_orphan(old: Pod | None, new: Pod) -> bool:
        """Whether it has no controller, and had one, or other labels, or did not exist, before."""
        if new.metadata.controller is not None or pods.is_terminating(new):
            return False
        return old is None or old.metadata.controller is not None or old.metadata.labels != new.metadata.labels

    async def claim(self, owner: ObjectMeta, selector: LabelSelector) -> list[Pod]:
        """The pods that are the owner's, after adopting and releasing what must be."""
        candidates = self._cache.by_index("controller", owner.uid)
        candidates += self._cache.by_index("orphans", owner.namespace)
        claims = adoption.claim(owner, selector, candidates)
        reference = adoption.controller_reference(self._owner.api_version, self._owner.kind, owner)
        adopted = [pod for pod in claims.adopt if not pods.is_terminal(pod)]
        await asyncio.gather(
            *(self._patch(owner, pod, adoption.adoption_patch(reference, pod.metadata)) for pod in adopted),
            *(self._patch(owner, pod, adoption.release_patch(owner, pod.metadata)) for pod in claims.release),
        )
        return [*claims.owned, *adopted]

    async def _patch(self, owner: ObjectMeta, pod: Pod, patch: Object) -> None:
        meta = pod.metadata
        try:
            written = await self._client.patch(PODS, meta.name, patch, meta.namespace, type="strategic")
        except NotFound:
            return
        self._writes.wrote(owner.key, written)
