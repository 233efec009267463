"""The Endpoints controller: the older, single object that says which pods stand behind a Service.

Ports that the same addresses serve share a subset. Above 1000 addresses the object is truncated and says so; that is
what EndpointSlices are for.
"""

from collections.abc import Iterable, Mapping

import msgspec

from sampan.api import pods
from sampan.api.core_v1 import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Pod, Service
from sampan.client.events import EventRecorder
from sampan.client.resources import ENDPOINTS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.endpointslices.desired import families, hostname_of, pod_reference, target_ports
from sampan.controllers.endpointslices.triggers import LAST_CHANGE, TriggerTimes
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.references import reference
from sampan.controllers.selection import selected_pods, services_touched
from sampan.machinery.errors import Conflict, NotFound, StatusError
from sampan.machinery.objects import Object

MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"

_Placed = tuple[EndpointAddress, bool]


def desired_subsets(service: Service, selected: Iterable[Pod]) -> tuple[EndpointSubset, ...]:
    """The subsets of a Service's Endpoints: pure."""
    by_port: dict[EndpointPort | None, list[_Placed]] = {}
    tolerant = service.spec.publish_not_ready_addresses
    for pod in sorted(selected, key=lambda pod: (_address(service, pod), pod.metadata.uid)):
        ip = _address(service, pod)
        if not ip or pods.is_terminal(pod) or (pods.is_terminating(pod) and not tolerant):
            continue
        address = EndpointAddress(
            ip=ip,
            hostname=hostname_of(service, pod) or "",
            node_name=pod.spec.node_name or None,
            target_ref=pod_reference(pod),
        )
        for port in _ports(service, pod):
            by_port.setdefault(port, []).append((address, tolerant or pods.is_ready(pod)))
    return _repack(by_port)


def truncated(subsets: Iterable[EndpointSubset]) -> tuple[tuple[EndpointSubset, ...], bool]:
    """At most 1000 addresses in all, ready ones first; and whether any were left out."""
    subsets = tuple(subsets)
    total = sum(len(one.addresses) + len(one.not_ready_addresses) for one in subsets)
    if total <= MAX_ADDRESSES:
        return subsets, False
    room = MAX_ADDRESSES
    kept = []
    for one in subsets:
        ready = one.addresses[:room]
        room -= len(ready)
        kept.append((one, ready))
    result = []
    for one, ready in kept:
        not_ready = one.not_ready_addresses[:room]
        room -= len(not_ready)
        if ready or not_ready:
            result.append(EndpointSubset(addresses=ready, not_ready_addresses=not_ready, ports=one.ports))
    return tuple(result), True


def _repack(by_port: Mapping[EndpointPort | None, list[_Placed]]) -> tuple[EndpointSubset, ...]:
    """Give ports with the same addresses one subset."""
    groups: dict[tuple[_Placed, ...], list[EndpointPort]] = {}
    for port, placed in by_port.items():
        ports = groups.setdefault(tuple(placed), [])
        if port is not None:
            ports.append(port)
    return tuple(
        EndpointSubset(
            addresses=tuple(address for address, ready in placed if ready),
            not_ready_addresses=tuple(address for address, ready in placed if not ready),
            ports=tuple(ports),
        )
        for placed, ports in groups.items()
    )


def _ports(service: Service, pod: Pod) -> tuple[EndpointPort | None, ...]:
    """The pod's ports for the Service; (None,) for a headless Service that has none."""
    if not service.spec.ports:
        return (None,) if service.spec.cluster_ip == "None" else ()
    return tuple(
        EndpointPort(
            name=one.name or "", port=one.port or 0, protocol=one.protocol or "TCP", app_protocol=one.app_protocol
        )
        for one in target_ports(service, pod)
    )


def _address(service: Service, pod: Pod) -> str:
    """The pod's address in the Service's first family."""
    wants_ipv6 = families(service)[0] == "IPv6"
    ips = [one.ip for one in pod.status.pod_ips] or [pod.status.pod_ip]
    return next((ip for ip in ips if ip and (":" in ip) is wants_ipv6), "")


class EndpointsController(QueueController):
    name = "endpoints"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._services, self._endpoints = context.services, context.endpoints
        self._recorder = EventRecorder(context.client, "endpoint-controller")
        self._writes: OwnWrites[str] = OwnWrites(self._endpoints)
        self._triggers = TriggerTimes()
        self._without_service: set[str] = set()
        self._services.add_handler(self._service_changed)
        self._endpoints.add_handler(self._endpoints_changed)
        context.pods.add_handler(self._pod_changed)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        if new is None and old is not None:
            self._without_service.add(old.metadata.key)
        self.enqueue(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for service in services_touched(self._services, old, new):
            self.queue.add(service.metadata.key)

    def _endpoints_changed(self, old: Endpoints | None, new: Endpoints | None) -> None:
        changed = new or old
        if changed is not None:
            self.queue.add(changed.metadata.key)

    async def sync(self, key: str) -> None:
        service = self._services.get(*split(key))
        if service is None:
            self._triggers.forget(key)
            await self._remove(key)
            return
        if not service.spec.selector or service.spec.type == "ExternalName" or service.metadata.deletion_timestamp:
            return
        if not self._writes.seen(key):
            self.queue.add_after(key, STALE_SECONDS)
            return
        selected = selected_pods(self.context.pods, service.metadata.namespace, service.spec.selector)
        subsets, over = truncated(desired_subsets(service, selected))
        await self._write(service, subsets, over, self._triggers.update(service, selected))

    async def _remove(self, key: str) -> None:
        """Endpoints go with their Service; those that never had one were made by hand, and stay."""
        namespace, name = split(key)
        left = self._endpoints.get(namespace, name)
        if left is None:
            self._without_service.discard(key)
            return
        if key not in self._without_service and left.metadata.labels.get(MANAGED_BY) != "endpoint-controller":
            return
        try:
            await self.client.delete(ENDPOINTS, name, namespace, uid=left.metadata.uid)
        except NotFound:
            return

    async def _write(
        self, service: Service, subsets: tuple[EndpointSubset, ...], over: bool, trigger: str | None
    ) -> None:
        meta = service.metadata
        current = self._endpoints.get(meta.namespace, meta.name)
        labels = endpoints_labels(service)
        same_marks = current is not None and current.metadata.labels == labels
        if current is not None and same_marks and current.subsets == subsets:
            return
        annotations = {LAST_CHANGE: trigger, OVER_CAPACITY: "truncated" if over else None}
        try:
            if current is None:
                written = await self.client.create(ENDPOINTS, _manifest(service, labels, annotations, subsets))
            else:
                written = await self._update(current, labels, annotations, subsets)
        except StatusError as error:
            if not isinstance(error, Conflict) and not is_namespace_terminating(error):
                self._complain(service, current is None, error)
            raise
        self._writes.wrote(meta.key, written)

    async def _update(
        self,
        current: Endpoints,
        labels: Mapping[str, str],
        annotations: Mapping[str, str | None],
        subsets: tuple[EndpointSubset, ...],
    ) -> Object:
        gone = dict.fromkeys(key for key in current.metadata.labels if key not in labels)
        metadata = {
            "resourceVersion": current.metadata.resource_version,
            "labels": {**gone, **labels},
            "annotations": dict(annotations),
        }
        patch = {"metadata": metadata, "subsets": _subsets_object(subsets) or None}
        return await self.client.patch(ENDPOINTS, current.metadata.name, patch, current.metadata.namespace)

    def _complain(self, service: Service, creating: bool, error: StatusError) -> None:
        verb, reason = ("create", "FailedToCreateEndpoint") if creating else ("update", "FailedToUpdateEndpoint")
        where = f"{service.metadata.namespace}/{service.metadata.name}"
        about = reference(ENDPOINTS, service.metadata)
        self._recorder.event(about, "Warning", reason, f"Failed to {verb} endpoint for service {where}: {error}")


def endpoints_labels(service: Service) -> dict[str, str]:
    labels = {key: value for key, value in service.metadata.labels.items() if key != HEADLESS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels | {MANAGED_BY: "endpoint-controller"}


def _manifest(
    service: Service,
    labels: Mapping[str, str],
    annotations: Mapping[str, str | None],
    subsets: tuple[EndpointSubset, ...],
) -> Object:
    metadata = {
        "name": service.metadata.name,
        "namespace": service.metadata.namespace,
        "labels": dict(labels),
        "annotations": {key: value for key, value in annotations.items() if value},
    }
    return {"metadata": metadata, "subsets": _subsets_object(subsets)}


def _subsets_object(subsets: tuple[EndpointSubset, ...]) -> list[Object]:
    """Subsets as they go over the wire, protocols always written."""
    built: list[Object] = list(msgspec.to_builtins(subsets))
    for subset in built:
        for port in subset.get("ports", ()):
            port.setdefault("protocol", "TCP")
    return built
