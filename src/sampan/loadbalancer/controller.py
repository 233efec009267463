"""The controller: gives Services their addresses, as `allocation.plan` decides over all of them.

The plan of this process is what counts; what Services say in their status is read when they are first seen, which is
how addresses survive a restart. Every write is made only if the Service has not changed since it was read.
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
from sampan.loadbalancer.allocation import Assigned, Outcome, Refused, plan
from sampan.loadbalancer.objects import DEFAULT_CLASS, FINALIZER, FROM_POOL, Service, canonical, request
from sampan.loadbalancer.pools import Pool
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object, resource_version

log = logging.getLogger(__name__)

LEASE = ("kube-system", "sampan-loadbalancer")
WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """The pools, and which Services are meant: those of `class_name`, and those that name no class.

    With `leader_elect`, of several processes only the one that holds the Lease kube-system/sampan-loadbalancer acts.
    """

    config: Config
    pools: tuple[Pool, ...] = ()
    class_name: str = DEFAULT_CLASS
    leader_elect: bool = False
    lease_seconds: float = 15.0


async def run(options: ControllerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Give out addresses until cancelled; `ready` is called when this acts, or stands by for the one that does."""
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
    """One run, with a cache and a plan of its own."""

    def __init__(self, client: Client, options: ControllerOptions) -> None:
        self._client, self._options = client, options
        self._recorder = EventRecorder(client, "service-controller")
        self._services = Informer(client, SERVICES, Service)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue("loadbalancer")
        self._dirty = asyncio.Event()
        self._plan: dict[str, Outcome] = {}
        self._told: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._wrote: dict[str, int] = {}
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
        gave_up = old is not None and not set(old.addresses) <= set(new.addresses if new else ())
        if gave_up or self._asks(old) != self._asks(new):
            self._dirty.set()

    def _asks(self, service: Service | None) -> object:
        """All of a Service that the plan depends on, but for what it holds."""
        if service is None:
            return None
        return self._is_ours(service), dataclasses.replace(request(service, ()), shown=()), service.spec.external_ips

    # --- deciding

    def _replan(self) -> None:
        """Decide anew for all Services, and have those looked at whose outcome is another."""
        self._dirty.clear()
        ours = {one.metadata.uid: one for one in self._services.items() if self._is_ours(one)}
        before = self._plan
        requests = [request(one, self._held(one)) for one in ours.values()]
        self._plan = plan(requests, self._options.pools, self._others())
        if self._plan != before:
            self._dirty.set()  # one may have given up what another that was decided earlier would like
        for uid, one in ours.items():
            if lost := self._plan[uid].lost:
                self._lost[uid] = lost
            if before.get(uid) != self._plan[uid]:
                self._queue.add((one.metadata.namespace, one.metadata.name))
        for known in (self._told, self._wrote, self._lost):
            for uid in known.keys() - ours.keys():
                del known[uid]

    def _is_ours(self, service: Service) -> bool:
        return service.is_of_class(self._options.class_name)

    def _others(self) -> dict[str, str]:
        """Addresses that Services have from elsewhere: from the load balancers of other classes, or as externalIPs."""
        found: dict[str, str] = {}
        for one in self._services.items():
            foreign = one.addresses if one.spec.type == "LoadBalancer" and not self._is_ours(one) else ()
            for address in canonical((*foreign, *one.spec.external_ips)):
                found[address] = one.metadata.key
        return found

    def _held(self, service: Service) -> tuple[str, ...]:
        known = self._plan.get(service.metadata.uid)
        if known is None:
            return canonical(service.addresses)
        return known.addresses if isinstance(known, Assigned) else ()

    # --- acting

    async def _sync(self, key: tuple[str, str]) -> None:
        service = self._services.get(*key)
        if service is None or _number(service.metadata.resource_version) < self._wrote.get(service.metadata.uid, 0):
            return  # gone, or what was written last is about to arrive
        outcome = self._plan.get(service.metadata.uid)
        try:
            if not self._is_ours(service):
                await self._release(service)
            elif service.metadata.deletion_timestamp:
                await self._let_go(service)
            elif isinstance(outcome, Assigned):
                await self._assign(service, outcome)
            elif isinstance(outcome, Refused):
                await self._refuse(service, outcome)
        except NotFound:
            return

    async def _assign(self, service: Service, outcome: Assigned) -> None:
        self._tell_loss(service)
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
        self._told.pop(service.metadata.uid, None)

    async def _refuse(self, service: Service, outcome: Refused) -> None:
        """Take away what it must not have, and say why, once for each reason."""
        self._tell_loss(service)
        await self._clear(service)
        uid = service.metadata.uid
        if self._told.get(uid) != outcome.reason:
            self._told[uid] = outcome.reason
            message = f'Failed to allocate IP for "{service.metadata.key}": {outcome.reason}'
            self._event(service, "Warning", "AllocationFailed", message)
            log.warning("%s: %s", service.metadata.key, outcome.reason)

    def _tell_loss(self, service: Service) -> None:
        lost = self._lost.pop(service.metadata.uid, "")
        if lost and service.addresses:
            message = f"current allocation is no longer possible: {lost}"
            self._event(service, "Warning", "ClearAssignment", message)

    async def _release(self, service: Service) -> None:
        """Of a Service that is no longer a load balancer: give back what it has from here."""
        pools = self._options.pools
        of_pools = any(pool.contains(address) for pool in pools for address in service.addresses)
        if service.spec.type == "LoadBalancer" or not (of_pools or FROM_POOL in service.metadata.annotations):
            return
        self._event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        await self._clear(service)
        self._event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")

    async def _clear(self, service: Service) -> None:
        """Empty its status first: afterwards nothing says any more that there is something to empty."""
        version = service.metadata.resource_version
        if service.status.load_balancer.ingress:
            version = await self._write_status(service, version, {"loadBalancer": {"ingress": None}})
        await self._drop_marks(service, version)

    async def _let_go(self, service: Service) -> None:
        """Of a Service that is being deleted: the proxies end its rules when it is gone."""
        if FINALIZER in service.metadata.finalizers:
            self._event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")
            await self._drop_marks(service, service.metadata.resource_version)

    async def _drop_marks(self, service: Service, version: str) -> None:
        kept = [one for one in service.metadata.finalizers if one != FINALIZER]
        if len(kept) < len(service.metadata.finalizers) or FROM_POOL in service.metadata.annotations:
            await self._write(service, version, {"finalizers": kept, "annotations": {FROM_POOL: None}})

    # --- writing

    async def _write(self, service: Service, version: str, metadata: Object) -> str:
        """Change a Service if it is still at `version`; gives its new one. Raises Conflict, NotFound."""
        return await self._patch(service, {"metadata": {**metadata, "resourceVersion": version}}, None)

    async def _write_status(self, service: Service, version: str, status: Object) -> str:
        return await self._patch(service, {"metadata": {"resourceVersion": version}, "status": status}, "status")

    async def _patch(self, service: Service, patch: Object, subresource: str | None) -> str:
        meta = service.metadata
        written = await self._client.patch(SERVICES, meta.name, patch, meta.namespace, subresource=subresource)
        version = resource_version(written)
        self._wrote[meta.uid] = _number(version)
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


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0
