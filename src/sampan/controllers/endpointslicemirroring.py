"""The EndpointSlice mirroring controller: Endpoints that people write by hand, for Services without a selector, appear
as slices, so that consumers need to read slices alone.
"""

import asyncio
from collections.abc import Mapping

from sampan.api.core_v1 import EndpointAddress, Endpoints, EndpointSubset, Service
from sampan.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from sampan.client.resources import ENDPOINT_SLICES, ENDPOINTS
from sampan.controllers.adoption import controller_reference
from sampan.controllers.context import SERVICE_NAME, Context
from sampan.controllers.controller import QueueController, split
from sampan.controllers.endpointslices.controller import MANAGED_BY, content_object
from sampan.controllers.endpointslices.desired import Groups, Ports
from sampan.controllers.endpointslices.packing import Changes, Content, pack
from sampan.controllers.endpointslices.triggers import LAST_CHANGE
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MAX_PER_SUBSET = 1000

_NOT_COPIED = frozenset({"kubectl.kubernetes.io/last-applied-configuration", LAST_CHANGE})


def should_mirror(endpoints: Endpoints, service: Service | None) -> bool:
    """Whether these Endpoints are people's own: their Service exists and selects nothing."""
    meta = endpoints.metadata
    if service is None or service.spec.selector or meta.deletion_timestamp:
        return False
    return meta.labels.get(SKIP_MIRROR) != "true" and LEADER not in meta.annotations


def mirrored(endpoints: Endpoints, family: str) -> Groups:
    """The endpoints of one address family by their ports: pure."""
    groups: dict[Ports, dict[tuple[str, ...], Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(
                name=port.name, protocol=port.protocol or "TCP", port=port.port, app_protocol=port.app_protocol
            )
            for port in subset.ports
        )
        for address, ready in _addresses(subset):
            if (":" in address.ip) is (family == "IPv6"):
                endpoint = _endpoint(address, ready)
                groups.setdefault(ports, {}).setdefault(endpoint.addresses, endpoint)
    return {ports: tuple(found.values()) for ports, found in groups.items()}


def _addresses(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    placed = [(one, True) for one in subset.addresses] + [(one, False) for one in subset.not_ready_addresses]
    return placed[:MAX_PER_SUBSET]


def _endpoint(address: EndpointAddress, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        target_ref=address.target_ref,
        node_name=address.node_name,
    )


class EndpointSliceMirroringController(QueueController):
    name = "endpointslicemirroring"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services, self._endpoints, self._slices = context.services, context.endpoints, context.endpoint_slices
        self._writes: OwnWrites[str] = OwnWrites(self._slices)
        self._endpoints.add_handler(self.enqueue)
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        had, has = bool(old and old.spec.selector), bool(new and new.spec.selector)
        changed = new or old
        if changed is not None and (old is None or new is None or had != has):
            self.queue.add(changed.metadata.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for one in (old, new):
            if one is not None and one.metadata.labels.get(MANAGED_BY) == CONTROLLER:
                self.queue.add(f"{one.metadata.namespace}/{one.metadata.labels.get(SERVICE_NAME, '')}")

    async def sync(self, key: str) -> None:
        if not self._writes.seen(key):
            self.queue.add_after(key, STALE_SECONDS)
            return
        namespace, name = split(key)
        endpoints, service = self._endpoints.get(namespace, name), self._services.get(namespace, name)
        existing = [
            one
            for one in self._slices.by_index("service", (namespace, name))
            if one.metadata.labels.get(MANAGED_BY) == CONTROLLER and not one.metadata.deletion_timestamp
        ]
        if endpoints is None or not should_mirror(endpoints, service):
            await asyncio.gather(*(self._delete(one) for one in existing))
            return
        for family in ("IPv4", "IPv6"):
            of_family = [one for one in existing if one.address_type == family]
            await self._apply(endpoints, family, pack(mirrored(endpoints, family), of_family, placeholder=False))

    async def _apply(self, endpoints: Endpoints, family: str, changes: Changes) -> None:
        await asyncio.gather(
            *(self._create(endpoints, family, content) for content in changes.create),
            *(self._update(endpoints, one, content) for one, content in changes.update),
            *(self._delete(one) for one in changes.delete),
        )

    async def _create(self, endpoints: Endpoints, family: str, content: Content) -> None:
        meta = endpoints.metadata
        metadata: Object = {
            "generateName": f"{meta.name}-",
            "namespace": meta.namespace,
            **_marks(endpoints),
            "ownerReferences": [controller_reference(ENDPOINTS.api_version, ENDPOINTS.kind, meta)],
        }
        body = {"metadata": metadata, "addressType": family, **content_object(content)}
        self._writes.wrote(meta.key, await self.client.create(ENDPOINT_SLICES, body, meta.namespace))

    async def _update(self, endpoints: Endpoints, one: EndpointSlice, content: Content) -> None:
        metadata = {"resourceVersion": one.metadata.resource_version, **_marks(endpoints)}
        patch = {"metadata": metadata, **content_object(content)}
        try:
            written = await self.client.patch(ENDPOINT_SLICES, one.metadata.name, patch, one.metadata.namespace)
        except NotFound:
            return
        self._writes.wrote(endpoints.metadata.key, written)

    async def _delete(self, one: EndpointSlice) -> None:
        try:
            await self.client.delete(ENDPOINT_SLICES, one.metadata.name, one.metadata.namespace, uid=one.metadata.uid)
        except NotFound:
            return


def _marks(endpoints: Endpoints) -> Mapping[str, Mapping[str, str]]:
    """The labels and annotations of a mirror."""
    meta = endpoints.metadata
    return {
        "labels": {**meta.labels, SERVICE_NAME: meta.name, MANAGED_BY: CONTROLLER},
        "annotations": {key: value for key, value in meta.annotations.items() if key not in _NOT_COPIED},
    }
