"""The load balancer controller: assigns addresses to Services, as `allocation.allocate` decides for all of them.

The controller keeps the result in memory and reads a Service's status only when it first sees the Service, so that
addresses survive a restart. Every write is conditional on the resourceVersion that was read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

from sampan.api.core_v1 import LoadBalancerIngress, PortStatus
from sampan.client.config import Config
from sampan.client.events import EventRecorder
from sampan.client.informer import Informer
from sampan.client.leader import LeaderElector, unique_identity
from sampan.client.resources import SERVICES
from sampan.client.rest import Client
from sampan.client.workqueue import WorkQueue, run_workers
from sampan.loadbalancer.allocation import Assigned, Claim, Outcome, Refused, allocate
from sampan.loadbalancer.objects import DEFAULT_CLASS, FINALIZER, FROM_POOL, Service, allocation_request, canonical
from sampan.loadbalancer.pools import Pool
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object, resource_version

log = logging.getLogger(__name__)

LEASE = ("kube-system", "sampan-loadbalancer")
WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """The pools and the Services to serve: those of `class_name` and those without a class.

    With `leader_elect`, only the process that holds the Lease kube-system/sampan-loadbalancer acts.
    """

    config: Config
    pools: tuple[Pool, ...] = ()
    class_name: str = DEFAULT_CLASS
    leader_elect: bool = False
    lease_seconds: float = 15.0


async def run(options: ControllerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Assign addresses until cancelled; call `ready` once this process is active or on standby."""
    async with AsyncExitStack() as stack:
        client = Client(options.config, user_agent="sampan-loadbalancer", connections=WORKERS + 1)
        stack.push_async_callback(client.close)
        if not options.leader_elect:
            await Controller(client, options).run(ready)
            return
        elector = LeaderElector(
            client,
            *LEASE,
            unique_identity(),
            lease_seconds=options.lease_seconds,
            retry_seconds=options.lease_seconds / 7.5,
        )
        stack.push_async_callback(elector.release)
        ready()
        await elector.run(lambda: Controller(client, options).run(lambda: None))


class Controller:
    """One term as leader, with its own informer cache and allocation."""

    def __init__(self, client: Client, options: ControllerOptions) -> None:
        self._client, self._options = client, options
        self._recorder = EventRecorder(client, "service-controller")
        self._services = Informer(client, SERVICES, Service)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue("loadbalancer")
        self._dirty = asyncio.Event()
        self._plan: dict[str, Outcome] = {}
        self._reported: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._written_versions: dict[str, int] = {}
        self._services.add_handler(self._changed)

    async def run(self, ready: Callable[[], None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._services.run())
                await self._services.wait_synced()
                self._replan()
                ready()
                group.create_task(run_workers(self._queue, self._sync, WORKERS))
                while True:
                    await self._dirty.wait()
                    self._replan()
        finally:
            self._queue.shutdown()

    def _changed(self, old: Service | None, new: Service | None) -> None:
        if new is not None:
            self._queue.add((new.metadata.namespace, new.metadata.name))
        released = old is not None and not set(old.addresses) <= set(new.addresses if new else ())
        if released or self._inputs(old) != self._inputs(new):
            self._dirty.set()

    def _inputs(self, service: Service | None) -> object:
        """All fields of a Service that allocation depends on, except the addresses that it holds."""
        if service is None:
            return None
        return (
            self._is_ours(service),
            dataclasses.replace(allocation_request(service, ()), in_status=()),
            service.spec.external_ips,
        )

    # --- allocation

    def _replan(self) -> None:
        """Allocate for all Services again, and queue those whose outcome has changed."""
        self._dirty.clear()
        ours = {one.metadata.uid: one for one in self._services.items() if self._is_ours(one)}
        before = self._plan
        requests = [allocation_request(one, self._held(one)) for one in ours.values()]
        self._plan = allocate(requests, self._options.pools, self._others())
        if self._plan != before:
            self._dirty.set()  # a Service decided earlier may want an address that another has just lost
        for uid, one in ours.items():
            if lost := self._plan[uid].lost:
                self._lost[uid] = lost
            if before.get(uid) != self._plan[uid]:
                self._queue.add((one.metadata.namespace, one.metadata.name))
        for known in (self._reported, self._written_versions, self._lost):
            for uid in known.keys() - ours.keys():
                del known[uid]

    def _is_ours(self, service: Service) -> bool:
        return service.is_of_class(self._options.class_name)

    def _others(self) -> dict[str, list[Claim]]:
        """Addresses that this controller did not assign: of other load balancer classes, and externalIPs."""
        found: dict[str, list[Claim]] = {}
        for one in self._services.items():
            foreign = one.addresses if one.spec.type == "LoadBalancer" and not self._is_ours(one) else ()
            for address in canonical((*foreign, *one.spec.external_ips)):
                found.setdefault(address, []).append((one.metadata.uid, one.metadata.key))
        return found

    def _held(self, service: Service) -> tuple[str, ...]:
        known = self._plan.get(service.metadata.uid)
        if known is None:
            return canonical(service.addresses)
        return known.addresses if isinstance(known, Assigned) else ()

    # --- sync

    async def _sync(self, key: tuple[str, str]) -> None:
        service = self._services.get(*key)
        if service is None or _version_number(service.metadata.resource_version) < self._written_versions.get(
            service.metadata.uid, 0
        ):
            return  # deleted, or older than what this process wrote last
        outcome = self._plan.get(service.metadata.uid)
        try:
            if not self._is_ours(service):
                await self._release(service)
            elif service.metadata.deletion_timestamp:
                await self._remove_finalizer(service)
            elif isinstance(outcome, Assigned):
                await self._assign(service, outcome)
            elif isinstance(outcome, Refused):
                await self._refuse(service, outcome)
        except NotFound:
            return

    async def _assign(self, service: Service, outcome: Assigned) -> None:
        self._report_loss(service)
        ingress = _ingress(service, outcome.addresses)
        has_status = service.status.load_balancer.ingress == ingress
        pools = ",".join(dict.fromkeys(outcome.pools))
        if has_status and FINALIZER in service.metadata.finalizers and _pool_of(service) == pools:
            return
        version = service.metadata.resource_version
        if not has_status:
            self._event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        if FINALIZER not in service.metadata.finalizers or _pool_of(service) != pools:
            finalizers = [*(one for one in service.metadata.finalizers if one != FINALIZER), FINALIZER]
            version = await self._write(service, version, {"finalizers": finalizers, "annotations": {FROM_POOL: pools}})
        if not has_status:
            status: Object = {"loadBalancer": {"ingress": _ingress_object(ingress)}}
            await self._write_status(service, version, status)
            shown = ", ".join(f'"{address}"' for address in outcome.addresses)
            self._event(service, "Normal", "IPAllocated", f"Assigned IP [{shown}]")
            self._event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
            log.info("%s: assigned %s of pool %s", service.metadata.key, shown, pools)
        self._reported.pop(service.metadata.uid, None)

    async def _refuse(self, service: Service, outcome: Refused) -> None:
        """Clear the Service's status, and report each reason once as an event."""
        self._report_loss(service)
        await self._clear(service)
        uid = service.metadata.uid
        if self._reported.get(uid) != outcome.reason:
            self._reported[uid] = outcome.reason
            message = f'Failed to allocate IP for "{service.metadata.key}": {outcome.reason}'
            self._event(service, "Warning", "AllocationFailed", message)
            log.warning("%s: %s", service.metadata.key, outcome.reason)

    def _report_loss(self, service: Service) -> None:
        lost = self._lost.pop(service.metadata.uid, "")
        if lost and service.addresses:
            message = f"current allocation is no longer possible: {lost}"
            self._event(service, "Warning", "ClearAssignment", message)

    async def _release(self, service: Service) -> None:
        """Clear a Service that is no longer of type LoadBalancer."""
        pools = self._options.pools
        of_pools = any(pool.contains(address) for pool in pools for address in service.addresses)
        if service.spec.type == "LoadBalancer" or not (of_pools or FROM_POOL in service.metadata.annotations):
            return
        self._event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        await self._clear(service)
        self._event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")

    async def _clear(self, service: Service) -> None:
        """Clear the status before finalizer and annotation, which mark a Service that still has to be cleared."""
        version = service.metadata.resource_version
        if service.status.load_balancer.ingress:
            version = await self._write_status(service, version, {"loadBalancer": {"ingress": None}})
        await self._remove_finalizer_and_annotation(service, version)

    async def _remove_finalizer(self, service: Service) -> None:
        """Let a terminating Service be deleted; proxies remove its rules once it is gone."""
        if FINALIZER in service.metadata.finalizers:
            self._event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
            await self._remove_finalizer_and_annotation(service, service.metadata.resource_version)

    async def _remove_finalizer_and_annotation(self, service: Service, version: str) -> None:
        kept = [one for one in service.metadata.finalizers if one != FINALIZER]
        if len(kept) < len(service.metadata.finalizers) or FROM_POOL in service.metadata.annotations:
            await self._write(service, version, {"finalizers": kept, "annotations": {FROM_POOL: None}})

    # --- writing

    async def _write(self, service: Service, version: str, metadata: Object) -> str:
        """Patch a Service if it is still at `version`; return its new version. Raises Conflict, NotFound."""
        return await self._patch(service, {"metadata": {**metadata, "resourceVersion": version}}, None)

    async def _write_status(self, service: Service, version: str, status: Object) -> str:
        return await self._patch(service, {"metadata": {"resourceVersion": version}, "status": status}, "status")

    async def _patch(self, service: Service, patch: Object, subresource: str | None) -> str:
        meta = service.metadata
        written = await self._client.patch(SERVICES, meta.name, patch, meta.namespace, subresource=subresource)
        version = resource_version(written)
        self._written_versions[meta.uid] = _version_number(version)
        return version

    def _event(self, service: Service, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._recorder.event(service, type, reason, message, kind="Service", api_version="v1")


def _ingress(service: Service, addresses: tuple[str, ...]) -> tuple[LoadBalancerIngress, ...]:
    ports = tuple(PortStatus(port=port.port, protocol=port.protocol) for port in service.spec.ports)
    return tuple(LoadBalancerIngress(ip=address, ip_mode="VIP", ports=ports) for address in addresses)


def _ingress_object(ingress: tuple[LoadBalancerIngress, ...]) -> list[Object]:
    return [
        {"ip": one.ip, "ipMode": "VIP", "ports": [{"port": port.port, "protocol": port.protocol} for port in one.ports]}
        for one in ingress
    ]


def _pool_of(service: Service) -> str:
    return service.metadata.annotations.get(FROM_POOL, "")


def _version_number(version: str) -> int:
    return int(version) if version.isdigit() else 0
