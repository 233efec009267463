"""A strategy at work without a server: the calls the engine makes, in its order, against objects held in a dict."""

import asyncio
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from sampan.apiserver.registry.allocators import Allocators
from sampan.apiserver.resources import RESOURCES, ResourceInfo
from sampan.apiserver.strategy import RegistryConfig, RequestInfo, Strategy
from sampan.machinery.errors import Invalid
from sampan.machinery.objects import Object


@dataclass
class FakeServices:
    """What strategies may ask of the server, from objects given by the test."""

    config: RegistryConfig = field(default_factory=RegistryConfig)
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    schemas: Any = None
    allocators: Allocators = field(default_factory=lambda: Allocators("10.96.0.0/12", (30000, 32767)))

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return deepcopy(self.objects.get((resource, namespace, name)))

    async def list(self, resource: str, namespace: str = "") -> list[Object]:
        return [
            deepcopy(obj)
            for (kind, space, _), obj in self.objects.items()
            if kind == resource and (not namespace or space == namespace)
        ]

    async def create(self, resource: str, obj: Object, namespace: str = "") -> Object:
        self.objects[resource, namespace, obj["metadata"]["name"]] = obj
        return obj

    async def update(self, resource: str, obj: Object, namespace: str = "") -> Object:
        return await self.create(resource, obj, namespace)

    async def delete(self, resource: str, namespace: str, name: str) -> None:
        del self.objects[resource, namespace, name]


def info(resource: str, version: str = "") -> ResourceInfo:
    """The first row named like `deployments.apps`, or that of one version."""
    return next(row for row in RESOURCES if row.resource == resource and version in ("", row.version))


class Registry:
    """One kind's strategy, driven as the engine drives it."""

    def __init__(self, resource: str, services: FakeServices | None = None, version: str = "") -> None:
        self.services = services or FakeServices()
        self.info = info(resource, version)
        self.strategy: Strategy = (self.info.strategy or Strategy)(self.info, self.services)

    def create(self, obj: Object, **request: Any) -> Object:
        return asyncio.run(self._create(deepcopy(obj), RequestInfo("create", **request)))

    def update(self, old: Object, new: Object, **request: Any) -> Object:
        return asyncio.run(self._update(deepcopy(new), deepcopy(old), RequestInfo("update", **request)))

    def delete(self, obj: Object) -> None:
        asyncio.run(self.strategy.after_delete(deepcopy(obj), RequestInfo("delete")))

    def errors(self, obj: Object) -> list[str]:
        """What creating it complains of, as `path: message`."""
        obj = deepcopy(obj)
        self.strategy.defaults(obj)
        return [str(error) for error in self.strategy.validate(obj)]

    def update_errors(self, old: Object, new: Object) -> list[str]:
        old, new = deepcopy(old), deepcopy(new)
        self.strategy.defaults(old)
        self.strategy.defaults(new)
        return [str(error) for error in self.strategy.validate_update(new, old)]

    async def _create(self, obj: Object, request: RequestInfo) -> Object:
        obj.setdefault("apiVersion", self.info.api_version)
        obj.setdefault("kind", self.info.kind)
        self.strategy.defaults(obj)
        self.strategy.prepare_create(obj, request)
        await self.strategy.admit_create(obj, request)
        if errors := self.strategy.validate(obj):
            await self.strategy.rollback_create(obj, request)
            raise Invalid.of(self.info.group, self.info.kind, obj["metadata"].get("name", ""), errors)
        if request.dry_run:
            await self.strategy.rollback_create(obj, request)
        else:
            await self.strategy.after_create(obj, request)
        return obj

    async def _update(self, new: Object, old: Object, request: RequestInfo) -> Object:
        self.strategy.defaults(new)
        self.strategy.prepare_update(new, old, request)
        await self.strategy.admit_update(new, old, request)
        if errors := self.strategy.validate_update(new, old):
            await self.strategy.rollback_update(new, old, request)
            raise Invalid.of(self.info.group, self.info.kind, new["metadata"].get("name", ""), errors)
        if request.dry_run:
            await self.strategy.rollback_update(new, old, request)
        else:
            await self.strategy.after_update(new, old, request)
        return new
