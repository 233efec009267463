"""The controller manager: all controllers of one process, over one client and one set of caches."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

from sampan.client.informer import Informers
from sampan.client.leader import LeaderElector, unique_identity
from sampan.client.queue_metrics import QueueMetrics
from sampan.client.rest import Client
from sampan.controllers.context import Context, ControllersOptions
from sampan.controllers.controller import Controller
from sampan.controllers.cronjobs.controller import CronJobController
from sampan.controllers.daemonsets.controller import DaemonSetController
from sampan.controllers.deployments.controller import DeploymentController
from sampan.controllers.disruption import DisruptionController
from sampan.controllers.endpoints import EndpointsController
from sampan.controllers.endpointslicemirroring import EndpointSliceMirroringController
from sampan.controllers.endpointslices.controller import EndpointSliceController
from sampan.controllers.garbagecollector.controller import GarbageCollector
from sampan.controllers.jobs.controller import JobController
from sampan.controllers.namespaces import NamespaceController
from sampan.controllers.nodeipam import NodeIPAMController
from sampan.controllers.nodelifecycle import NodeLifecycleController
from sampan.controllers.podgc import PodGarbageCollector
from sampan.controllers.replicasets import ReplicaSetController
from sampan.controllers.replicationcontrollers import ReplicationControllerController
from sampan.controllers.resourcequotas import ResourceQuotaController
from sampan.controllers.rootca import RootCAPublisher
from sampan.controllers.serviceaccounts import ServiceAccountController
from sampan.controllers.statefulsets.controller import StatefulSetController
from sampan.controllers.tainteviction import TaintEvictionController
from sampan.controllers.tokensecrets import TokenSecretController
from sampan.http.health import Health
from sampan.http.metrics import Registry

__all__ = ["CONTROLLERS", "ControllersOptions", "run", "selected"]

log = logging.getLogger(__name__)

SYNC_SECONDS = 10.0
CONNECTIONS = 8
"""Requests at once, beside watches: enough to keep an API server busy, few enough that a burst is not spent on TLS."""
LEASE = ("kube-system", "kube-controller-manager")

CONTROLLERS: tuple[type[Controller], ...] = (
    NamespaceController,
    ServiceAccountController,
    RootCAPublisher,
    TokenSecretController,
    NodeIPAMController,
    NodeLifecycleController,
    TaintEvictionController,
    ReplicaSetController,
    ReplicationControllerController,
    DeploymentController,
    DaemonSetController,
    StatefulSetController,
    JobController,
    CronJobController,
    DisruptionController,
    ResourceQuotaController,
    EndpointSliceController,
    EndpointsController,
    EndpointSliceMirroringController,
    PodGarbageCollector,
    GarbageCollector,
)


def selected(names: Iterable[str]) -> list[type[Controller]]:
    """The controllers that the names stand for: `*` all, `name` one more, `-name` one less. Raises ValueError."""
    names = tuple(names)
    known = {controller.name for controller in CONTROLLERS}
    unknown = [name for name in names if name != "*" and name.removeprefix("-") not in known]
    if unknown:
        raise ValueError(f"unknown controllers: {', '.join(unknown)}; known are: {', '.join(sorted(known))}")
    return [one for one in CONTROLLERS if f"-{one.name}" not in names and ("*" in names or one.name in names)]


class Manager:
    """One run of the selected controllers, with caches of their own."""

    def __init__(self, client: Client, options: ControllersOptions, queue_metrics: QueueMetrics) -> None:
        self._informers = Informers(client)
        self._controllers = [
            controller(Context(client, options, self._informers, queue_metrics))
            for controller in selected(options.controllers)
        ]

    @property
    def synced(self) -> bool:
        return not self._informers.missing()

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled; each controller starts when its own caches are filled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informers.run())
            for controller in self._controllers:
                group.create_task(controller.run(), name=controller.name)
            await self._wait_synced()
            log.info("running %d controllers", len(self._controllers))
            ready()

    async def _wait_synced(self) -> None:
        """For a limited time: what cannot be listed keeps those waiting that need it."""
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._informers.wait_synced()
        except TimeoutError:
            missing = ", ".join(str(informer.resource) for informer in self._informers.missing())
            log.warning("controllers that need these wait until they can be listed: %s", missing)


async def run(options: ControllersOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Run the controllers until cancelled; `ready` is called when they act, or stand by for the one that does.

    Raises ValueError (unknown controllers), OSError (the health port is taken).
    """
    async with AsyncExitStack() as stack:
        client = Client(options.config, user_agent="sampan-controller-manager", connections=CONNECTIONS)
        stack.push_async_callback(client.close)
        registry = Registry()
        queue_metrics = QueueMetrics(registry)
        manager = Manager(client, options, queue_metrics)
        if options.health_port is not None:
            health = Health(registry, ready={"informer-sync": lambda: manager.synced})
            server = await health.serve("127.0.0.1", options.health_port)
            stack.push_async_callback(server.close)
        if not options.leader_elect:
            await manager.run(ready)
            return

        async def lead() -> None:
            nonlocal manager
            manager = Manager(client, options, queue_metrics)
            await manager.run(lambda: None)

        elector = LeaderElector(client, *LEASE, options.identity or unique_identity())
        stack.push_async_callback(elector.release)
        ready()
        await elector.run(lead)
