"""A node agent beside a real API server, for tests that run inside `isolated` namespaces."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sampan.client.config import Config
from sampan.client.resources import CONFIG_MAPS, EVENTS, PODS, SERVICE_ACCOUNTS
from sampan.client.rest import Client
from sampan.kernel import cgroups
from sampan.machinery.errors import AlreadyExists, NotFound
from sampan.machinery.objects import Object
from sampan.node import main
from sampan.node.options import AgentOptions
from support.apiserver import make_pki, running_apiserver
from support.isolated import NODE_IP

NODE = "node-1"
DEADLINE_SECONDS = 30.0


class Cluster:
    """One node and a client for its API server."""

    def __init__(self, config: Config, directory: Path, **options: Any) -> None:
        pki = make_pki()
        self.client = Client(config)
        self.options = AgentOptions(
            node_name=NODE,
            node_ip=NODE_IP,
            config=config,
            root=directory / "node",
            images=directory / "images",
            pod_cidr="10.244.0.0/24",
            cgroup_parent=f"/sampan-test-{directory.name}",
            serving_cert=pki / f"node-{NODE}-server.crt",
            serving_key=pki / f"node-{NODE}-server.key",
            client_ca=pki / "ca.crt",
            **options,
        )

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """Run an agent until the block ends; pods stay."""
        ready = asyncio.Event()
        task = asyncio.create_task(main.run(self.options, ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=DEADLINE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert ready.is_set(), "the agent did not become ready"
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def create(self, name: str, *command: str, spec: Object | None = None, **container: Any) -> Object:
        """A pod of one container `main` from the host image, bound to the node."""
        main_container = {"name": "main", "image": "host", "imagePullPolicy": "IfNotPresent", **container}
        if command:
            main_container["command"] = list(command)
        full = {"nodeName": NODE, "terminationGracePeriodSeconds": 5, "containers": [main_container], **(spec or {})}
        return await self.client.create(PODS, {"metadata": {"name": name}, "spec": full}, "default")

    async def pod(self, name: str) -> Object:
        return await self.client.get(PODS, name, "default")

    async def until(self, name: str, true: Callable[[Object], Any], why: str = "") -> Object:
        """Wait until a pod's status is as wanted."""
        pod: Object = {}

        async def look() -> bool:
            nonlocal pod
            pod = await self.pod(name)
            return bool(true(pod.get("status") or {}))

        await eventually(look, lambda: f"{why or 'pod'}: {pod.get('status')}")
        return pod

    async def until_gone(self, name: str) -> None:
        async def look() -> bool:
            try:
                await self.pod(name)
            except NotFound:
                return True
            return False

        await eventually(look, lambda: f"{name} still exists")

    async def until_event(self, name: str, reason: str) -> str:
        """Wait for an event about a pod; its message."""
        found: list[str] = []

        async def look() -> bool:
            events = await self.client.list(EVENTS, "default")
            found[:] = [
                one["message"]
                for one in events.items
                if one["involvedObject"]["name"] == name and one["reason"] == reason
            ]
            return bool(found)

        await eventually(look, lambda: f"no event {reason} about {name}")
        return found[0]


async def eventually(look: Callable[[], Awaitable[bool]], why: Callable[[], str]) -> None:
    """Poll a condition until it holds or the deadline passes."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not await look():
        assert time.monotonic() < end, why()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def cluster(directory: Path, **options: Any) -> AsyncIterator[Cluster]:
    """An API server with what every namespace has, and a node whose agent, with these options, is not running yet."""
    async with running_apiserver() as config:
        one = Cluster(config, directory, **options)
        for resource, obj in (
            (SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}),
            (CONFIG_MAPS, {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "certificate"}}),
        ):
            try:
                await one.client.create(resource, obj, "default")
            except AlreadyExists:
                continue
        try:
            yield one
        finally:
            await one.client.close()
            cgroups.remove(one.options.cgroup_parent)


def ready(status: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))


def state(status: Object, index: int = 0, kind: str = "containerStatuses") -> Object:
    """The state of a container, for instance `{"running": {…}}`."""
    statuses = status.get(kind) or []
    found: Object = statuses[index]["state"] if index < len(statuses) else {}
    return found


def restarts(status: Object) -> int:
    return sum(one["restartCount"] for one in status.get("containerStatuses") or [])
