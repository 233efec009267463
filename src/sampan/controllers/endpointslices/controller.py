"""The EndpointSlice controller's shell: from events to Services, from Services to written slices."""

import asyncio
from collections.abc import Iterable

import msgspec

from sampan.api.core_v1 import Node, Pod, Service
from sampan.api.discovery_v1 import EndpointSlice
from sampan.client.events import EventRecorder
from sampan.client.resources import ENDPOINT_SLICES, SERVICES
from sampan.controllers.adoption import controller_reference
from sampan.controllers.context import SERVICE_NAME, Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.endpointslices.desired import desired_endpoints, families
from sampan.controllers.endpointslices.packing import Changes, Content, pack
from sampan.controllers.endpointslices.triggers import LAST_CHANGE, TriggerTimes
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.references import reference
from sampan.controllers.selection import selected_pods, services_of, services_touched
from sampan.machinery.errors import Conflict, NotFound, StatusError
from sampan.machinery.objects import Object

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"


class EndpointSliceController(QueueController):
    name = "endpointslice"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services, self._slices, self._nodes = context.services, context.endpoint_slices, context.nodes
        self._recorder = EventRecorder(context.client, "endpoint-slice-controller")
        self._writes: OwnWrites[str] = OwnWrites(self._slices)
        self._triggers = TriggerTimes()
        self._services.add_handler(self.enqueue)
        self._slices.add_handler(self._slice_changed)
        self._nodes.add_handler(self._node_changed)
        context.pods.add_handler(self._pod_changed)

    # --- events

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for service in services_touched(self._services, old, new):
            self.queue.add(service.metadata.key)

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for one in (old, new):
            if one is not None and one.metadata.labels.get(MANAGED_BY) == CONTROLLER:
                self.queue.add(f"{one.metadata.namespace}/{one.metadata.labels.get(SERVICE_NAME, '')}")

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        if node is None or _zone(old) == _zone(new):
            return
        for pod in self.context.pods.by_index("node", node.metadata.name):
            for service in services_of(self._services, pod):
                self.queue.add(service.metadata.key)

    # --- reconciling

    async def sync(self, key: str) -> None:
        service = self._services.get(*split(key))
        if service is None:
            self._triggers.forget(key)
            return
        if service.spec.type == "ExternalName" or not service.spec.selector or service.metadata.deletion_timestamp:
            return
        if not self._writes.seen(key):
            self.queue.add_after(key, STALE_SECONDS)
            return
        pods = selected_pods(self.context.pods, service.metadata.namespace, service.spec.selector)
        try:
            await self._reconcile(service, pods)
        except StatusError as error:
            if not isinstance(error, Conflict) and not is_namespace_terminating(error):
                self._complain(service, error)
            raise

    async def _reconcile(self, service: Service, pods: list[Pod]) -> None:
        existing = [one for one in self._existing(service) if not one.metadata.deletion_timestamp]
        trigger = self._triggers.update(service, pods)
        wanted = families(service)
        await asyncio.gather(*(self._delete(one) for one in existing if one.address_type not in wanted))
        for family in wanted:
            of_family = [one for one in existing if one.address_type == family]
            changes = pack(desired_endpoints(service, pods, self._zone_of, family), of_family, placeholder=True)
            await self._apply(service, family, of_family, changes, trigger)

    def _existing(self, service: Service) -> Iterable[EndpointSlice]:
        meta = service.metadata
        for one in self._slices.by_index("service", (meta.namespace, meta.name)):
            if one.metadata.labels.get(MANAGED_BY) == CONTROLLER:
                yield one

    def _zone_of(self, node_name: str) -> str | None:
        return _zone(self._nodes.get(None, node_name))

    def _complain(self, service: Service, error: StatusError) -> None:
        where = f"{service.metadata.namespace}/{service.metadata.name}"
        message = f"Error updating Endpoint Slices for Service {where}: {error.message}"
        self._recorder.event(reference(SERVICES, service.metadata), "Warning", "FailedToUpdateEndpointSlices", message)

    # --- acting

    async def _apply(
        self, service: Service, family: str, existing: list[EndpointSlice], changes: Changes, trigger: str | None
    ) -> None:
        labels = slice_labels(service)
        touched = {one.metadata.name for one, _ in changes.update} | {one.metadata.name for one in changes.delete}
        relabel = [
            (one, Content(one.ports, one.endpoints))
            for one in existing
            if one.metadata.name not in touched and one.metadata.labels != labels
        ]
        await asyncio.gather(
            *(self._create(service, family, labels, content, trigger) for content in changes.create),
            *(self._update(service, one, labels, content, trigger) for one, content in (*changes.update, *relabel)),
            *(self._delete(one) for one in changes.delete),
        )

    async def _create(
        self, service: Service, family: str, labels: dict[str, str], content: Content, trigger: str | None
    ) -> None:
        metadata: Object = {
            "generateName": f"{service.metadata.name}-",
            "namespace": service.metadata.namespace,
            "labels": labels,
            "ownerReferences": [controller_reference(SERVICES.api_version, SERVICES.kind, service.metadata)],
        }
        if trigger:
            metadata["annotations"] = {LAST_CHANGE: trigger}
        body = {"metadata": metadata, "addressType": family, **content_object(content)}
        created = await self.client.create(ENDPOINT_SLICES, body, service.metadata.namespace)
        self._writes.wrote(service.metadata.key, created)

    async def _update(
        self, service: Service, one: EndpointSlice, labels: dict[str, str], content: Content, trigger: str | None
    ) -> None:
        gone = dict.fromkeys(key for key in one.metadata.labels if key not in labels)
        metadata: Object = {
            "resourceVersion": one.metadata.resource_version,
            "labels": {**gone, **labels},
            "annotations": {LAST_CHANGE: trigger},
        }
        patch = {"metadata": metadata, **content_object(content)}
        try:
            written = await self.client.patch(ENDPOINT_SLICES, one.metadata.name, patch, one.metadata.namespace)
        except NotFound:
            return
        self._writes.wrote(service.metadata.key, written)

    async def _delete(self, one: EndpointSlice) -> None:
        try:
            await self.client.delete(ENDPOINT_SLICES, one.metadata.name, one.metadata.namespace, uid=one.metadata.uid)
        except NotFound:
            return


def slice_labels(service: Service) -> dict[str, str]:
    """The Service's labels, and whose slice this is."""
    labels = {key: value for key, value in service.metadata.labels.items() if key not in (MANAGED_BY, HEADLESS)}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels | {SERVICE_NAME: service.metadata.name, MANAGED_BY: CONTROLLER}


def content_object(content: Content) -> Object:
    """Endpoints and ports as they go over the wire."""
    body: Object = msgspec.to_builtins({"endpoints": content.endpoints, "ports": content.ports})
    return {"endpoints": list(body["endpoints"]), "ports": list(body["ports"])}


def _zone(node: Node | None) -> str | None:
    return node.metadata.labels.get(ZONE) if node else None
