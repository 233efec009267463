"""One running server as its parts see it: the store, the catalog and the pipelines over them.

`Context` is what handlers get, and it is the `Services` that strategies may call (`strategy.py`): the same pipelines,
without HTTP around them.
"""

import time

from sampan.apiserver import deletion
from sampan.apiserver.catalog import Catalog
from sampan.apiserver.engine import Engine
from sampan.apiserver.registry.allocators import Allocators
from sampan.apiserver.rendering import Renderers
from sampan.apiserver.resources import RESOURCES
from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RegistryConfig, RequestInfo, User
from sampan.apiserver.watchcache import Hubs
from sampan.machinery.objects import Object, metadata
from sampan.machinery.schema import Schemas
from sampan.store.interface import Store

SYSTEM = User("system:apiserver", ("system:masters", "system:authenticated"))


class Context:
    """The server's state. Made once; everything in it lives as long as the server."""

    def __init__(self, store: Store, schemas: Schemas, config: RegistryConfig) -> None:
        self.store = store
        self.schemas = schemas
        self.config = config
        self.allocators = Allocators(config.service_cidr, config.node_port_range)
        self.started = time.time()
        self.catalog = Catalog(RESOURCES, store, self)
        self.engine = Engine(store, self.catalog)
        self.hubs = Hubs(store)
        self.renderers = Renderers()
        services = self.catalog.named("services")
        self.allocators.restore(services.decode(entry) for entry in store.scan(services.prefix))

    # --- Services

    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        served = self.catalog.named(resource)
        entry = await self.store.get(served.key(namespace, name))
        return served.decode(entry) if entry is not None else None

    async def list(self, resource: str, namespace: str = "") -> list[Object]:
        served = self.catalog.named(resource)
        return [served.decode(entry) for entry in self.store.scan(served.scope(namespace))]

    async def create(self, resource: str, obj: Object, namespace: str = "") -> Object:
        served = self.catalog.named(resource)
        request = self._request("create", served, namespace, "")
        obj.setdefault("apiVersion", served.api_version)
        obj.setdefault("kind", served.info.kind)
        written = await self.engine.create(served, obj, request)
        return served.decode_value(written.value)

    async def update(self, resource: str, obj: Object, namespace: str = "", subresource: str = "") -> Object:
        served = self.catalog.named(resource)
        request = self._request("update", served, namespace, metadata(obj).get("name", ""))
        request.subresource = subresource
        written = await self.engine.update(served, request, lambda _: obj)
        return served.decode_value(written.value)

    async def delete(self, resource: str, namespace: str, name: str) -> None:
        served = self.catalog.named(resource)
        request = self._request("delete", served, namespace, name)
        await deletion.delete(self.store, served, request, deletion.DeleteOptions())

    def _request(self, verb: str, served: Served, namespace: str, name: str) -> RequestInfo:
        info = served.info
        return RequestInfo(
            verb, info.group, info.version, info.plural, namespace=namespace, name=name, user=SYSTEM,
            field_manager="sampan-apiserver", field_validation="Ignore",
        )  # fmt: skip

    def close(self) -> None:
        self.hubs.close()
