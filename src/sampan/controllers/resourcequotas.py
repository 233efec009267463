"""The resourcequota controller: keeps each quota's status, `hard` and `used`, true to what its namespace holds.

It counts anew, from the server, a moment after something that a quota limits has changed. What is watched depends on
what quotas limit: in a cluster without quotas nothing is watched but quotas. Refusing is the API server's part.
"""

from typing import ClassVar

from sampan.api import quotas
from sampan.api.core_v1 import ResourceQuota
from sampan.api.meta_v1 import APIObject, PartialObject
from sampan.client import resources
from sampan.client.resources import Resource
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, split
from sampan.controllers.discovery import discover
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object

SETTLING_SECONDS = 0.2
"""A burst of changes is counted once."""
_KNOWN = {
    str(one): one
    for one in (
        resources.PODS,
        resources.SERVICES,
        resources.CONFIG_MAPS,
        resources.SECRETS,
        resources.PERSISTENT_VOLUME_CLAIMS,
        resources.REPLICATION_CONTROLLERS,
        resources.RESOURCE_QUOTAS,
    )
}


def wanted_status(quota: ResourceQuota, used: quotas.Usage) -> Object:
    """What the status should say."""
    hard = dict(quota.spec.hard)
    return {"hard": hard, "used": {name: str(used[name]) for name in hard if name in used}}


class ResourceQuotaController(QueueController):
    name: ClassVar[str] = "resourcequota"
    workers: ClassVar[int] = 2

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._quotas = context.resource_quotas
        self._followed: set[str] = set()
        self._resources = dict(_KNOWN)
        self._quotas.add_handler(self.enqueue)

    def _changed(self, old: APIObject | None, new: APIObject | None) -> None:
        changed = new or old
        if changed is not None:
            for quota in self._quotas.by_index("namespace", changed.metadata.namespace):
                self.queue.add_after(quota.metadata.key, SETTLING_SECONDS)

    async def sync(self, key: str) -> None:
        quota = self._quotas.get(*split(key))
        if quota is None:
            return
        used: quotas.Usage = {}
        for limited in sorted({quotas.resource_of(name) for name in quota.spec.hard}):
            resource = await self._resource(limited)
            if resource is not None:
                self._follow(limited, resource)
                listed = await self.client.list(resource, quota.metadata.namespace)
                used |= quotas.total(limited, listed.items, quota.spec.hard)
        status = wanted_status(quota, used)
        if status == {"hard": dict(quota.status.hard), "used": dict(quota.status.used)}:
            return
        meta = quota.metadata
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": status}
        try:
            await self.client.patch(resources.RESOURCE_QUOTAS, meta.name, patch, meta.namespace, subresource="status")
        except NotFound:
            return

    async def _resource(self, name: str) -> Resource | None:
        """The resource that a quota calls so, if the server has it."""
        if name not in self._resources:
            found = await discover(self.client)
            self._resources |= {str(one): one for one in found.able("list", "watch")}
        return self._resources.get(name)

    def _follow(self, name: str, resource: Resource) -> None:
        """Hear of changes, by a cache that others share where there is one."""
        if name in self._followed:
            return
        self._followed.add(name)
        shared = self.context.informers.find(resource)
        informer = shared or self.context.informers.of(resource, PartialObject, metadata_only=True)
        informer.add_handler(self._changed)
