"""The controllers and the scheduler together, against a real API server; a stand-in plays the nodes' agents."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from sampan.client.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
)
from sampan.client.rest import Client
from sampan.controllers.manager import ControllersOptions
from sampan.controllers.manager import run as run_controllers
from sampan.scheduler.main import SchedulerOptions
from sampan.scheduler.main import run as run_scheduler
from support.apiserver import running_apiserver
from support.kubelet import Kubelets, register

DEADLINE = 10.0


class ControlPlane:
    """A client of a running control plane, and what tests ask of it."""

    def __init__(self, client: Client, config) -> None:
        self.client = client
        self.config = config

    async def until(self, probe: Callable[[], Awaitable[object]], what: str = "") -> object:
        """Poll until the probe gives something true."""
        end = time.monotonic() + DEADLINE
        while True:
            found = await probe()
            if found:
                return found
            assert time.monotonic() < end, f"still not so: {what or probe}"
            await asyncio.sleep(0.01)

    async def items(self, resource, namespace="default", prefix=""):
        listed = (await self.client.list(resource, namespace)).items
        return [one for one in listed if one["metadata"]["name"].startswith(prefix)]

    async def gone(self, resource, namespace="default", prefix=""):
        async def none_left():
            return not await self.items(resource, namespace, prefix)

        await self.until(none_left, f"{resource} {prefix} gone")

    async def events(self, reason):
        async def found():
            return [one for one in await self.items(EVENTS) if one["reason"] == reason]

        return [one["message"] for one in await self.until(found, reason)]

    async def available(self, name, count):
        async def counted():
            status = (await self.client.get(DEPLOYMENTS, name, "default")).get("status", {})
            wanted = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), count)
            return all(status.get(key) == value for key, value in wanted.items()) and status

        return await self.until(counted, f"deployment {name} has {count} available")

    async def slice_addresses(self, name):
        slices = await self.client.list(ENDPOINT_SLICES, "default", label_selector=f"kubernetes.io/service-name={name}")
        return {
            address
            for one in slices.items
            for each in one.get("endpoints") or ()
            if each["conditions"]["ready"]
            for address in each["addresses"]
        }


@asynccontextmanager
async def control_plane(*nodes, **options):
    async with AsyncExitStack() as stack:
        config = await stack.enter_async_context(running_apiserver())
        client = Client(config)
        stack.push_async_callback(client.close)
        ready = [asyncio.Event(), asyncio.Event()]
        group = await stack.enter_async_context(running())
        group(run_controllers(ControllersOptions(config, **options), ready[0].set))
        group(run_scheduler(SchedulerOptions(config), ready[1].set))
        group(Kubelets(client).run())
        for one in ready:
            await one.wait()
        for name in nodes:
            await register(client, name)
        yield ControlPlane(client, config)


@asynccontextmanager
async def running():
    """Run coroutines in the background; a failure of any is the test's."""
    tasks = []

    def start(coroutine):
        tasks.append(asyncio.ensure_future(coroutine))
        return tasks[-1]

    try:
        yield start
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [one for one in results if isinstance(one, Exception)]
        if failures:
            raise failures[0]


def play(scenario, *nodes, **options):
    """Run a scenario against a new control plane."""

    async def run():
        async with asyncio.timeout(60), control_plane(*nodes, **options) as plane:
            await scenario(plane)

    asyncio.run(run())


def workload(name="web", replicas=2, image="host:1", **spec):
    pod = {"containers": [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {**pod, **spec}}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": wanted}


def service(name="web", **spec):
    spec = {"selector": {"app": name}, "ports": [{"name": "main", "port": 80, "targetPort": "http"}], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
