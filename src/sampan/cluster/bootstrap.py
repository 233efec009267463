"""Makes an empty cluster usable and proves that it is: the add-ons, then nodes Ready, then a DNS answer.

Runs once at each start as a component in the first node's network, where Services answer. Every step is told to the
user; `ready` comes when a workload would find everything it needs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sampan.api import nodes
from sampan.api.apps_v1 import Deployment
from sampan.api.core_v1 import Node, Pod
from sampan.client import resources
from sampan.client.config import Config
from sampan.client.informer import Informer
from sampan.client.rest import Client
from sampan.cluster import addons
from sampan.cluster.addons import coredns, ingress
from sampan.cluster.addons.objects import SYSTEM
from sampan.cluster.config import ClusterConfig
from sampan.machinery import times
from sampan.machinery.errors import AlreadyExists, StatusError

RETRY = 0.02
ANSWER_SECONDS = 0.1
COMPLAINT = 250
"""Attempts without a DNS answer until that is worth a line in the log."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    config: Config
    cluster: ClusterConfig


Ready = Callable[..., None]
"""Called with a text to tell progress, without one when all is done."""


async def run(options: BootstrapOptions, ready: Ready) -> None:
    client = Client(options.config, user_agent="sampan-bootstrap")
    ready_nodes = _ReadyNodes(client, options.cluster, ready)
    watching = asyncio.create_task(ready_nodes.watch())
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(create_addons(client, options.cluster, ready_nodes))
            group.create_task(ready_nodes.wait(len(options.cluster.node_list)))
            group.create_task(_default_account(client))
            if options.cluster.ingress:
                group.create_task(_ingress_serves(client, ready))
            for server in options.cluster.dns_servers:
                group.create_task(_dns_answers(client, options.cluster, server, ready))
        ready()
    finally:
        watching.cancel()
        await client.close()


async def create_addons(client: Client, config: ClusterConfig, ready_nodes: _ReadyNodes) -> None:
    """Creates what is missing of the add-ons; what is there, perhaps changed by the user, stays.

    A Deployment comes when there is a node for each of its pods: they would all be put on the first one that is ready.
    """
    for resource, obj in addons.objects(config):
        if resource == resources.DEPLOYMENTS:
            await ready_nodes.wait(obj["spec"]["replicas"])
        await _until_done(lambda resource=resource, obj=obj: client.create(resource, obj))  # type: ignore[misc]


async def _until_done(attempt: Callable[[], Awaitable[object]]) -> None:
    """Tries until the API server accepts; it may still be starting."""
    while True:
        try:
            await attempt()
            return
        except AlreadyExists:
            return
        except (StatusError, OSError) as error:
            log.warning("trying again: %s", error)
            await asyncio.sleep(RETRY)


class _ReadyNodes:
    """The nodes that are Ready and were heard from since this began: an old condition proves nothing."""

    def __init__(self, client: Client, config: ClusterConfig, ready: Ready) -> None:
        self._began = times.now()
        self._expected = {node.name for node in config.node_list}
        self._found: set[str] = set()
        self._tell = ready
        self._change = asyncio.Event()
        self._informer = Informer(client, resources.NODES, Node)
        self._informer.add_handler(self._changed)

    async def watch(self) -> None:
        """Notes nodes, and tells of each, until cancelled."""
        await self._informer.run()

    async def wait(self, count: int) -> None:
        """Returns when so many are ready."""
        while len(self._found) < count:
            self._change.clear()
            await self._change.wait()

    def _changed(self, _: Node | None, node: Node | None) -> None:
        if node is not None and node.metadata.name in self._expected - self._found and _is_fresh(node, self._began):
            self._found.add(node.metadata.name)
            self._tell(f"{node.metadata.name} is Ready")
            self._change.set()


def _is_fresh(node: Node, began: str) -> bool:
    condition = nodes.condition(node, "Ready")
    heard = condition.last_heartbeat_time if condition else None
    return nodes.is_ready(node) and bool(heard) and str(heard) >= began


async def _default_account(client: Client) -> None:
    """Pods in a namespace need its ServiceAccount `default`."""
    await _until_done(lambda: client.get(resources.SERVICE_ACCOUNTS, "default", "default"))


async def _ingress_serves(client: Client, ready: Ready) -> None:
    """All pods of the ingress controller are ready."""
    while True:
        try:
            deployment = await client.get(resources.DEPLOYMENTS, ingress.CONTROLLER, ingress.NAMESPACE, Deployment)
            if deployment.status.available_replicas >= deployment.spec.replicas:
                break
        except (StatusError, OSError):
            pass
        await asyncio.sleep(RETRY)
    ready("Ingresses are served")


async def _dns_answers(client: Client, config: ClusterConfig, server: str, ready: Ready) -> None:
    name = f"kubernetes.default.svc.{config.network.domain}"
    attempts = 0
    while not await _resolves(name, server):
        attempts += 1
        if attempts % COMPLAINT == 0:
            log.warning("no answer from %s yet; cluster DNS: %s", server, await _dns_pods(client))
        await asyncio.sleep(RETRY)
    ready(f"DNS answers at {server}")


async def _dns_pods(client: Client) -> str:
    """How the DNS pods are, in a line for the log."""
    selector = ",".join(f"{key}={value}" for key, value in coredns.LABELS.items())
    try:
        found = await client.list(resources.PODS, SYSTEM, label_selector=selector, type=Pod)
    except (StatusError, OSError) as error:
        return str(error)
    return ", ".join(f"{pod.metadata.name}: {_state(pod)}" for pod in found.items) or "it has no pods"


def _state(pod: Pod) -> str:
    """Why a pod's containers wait, or else its phase."""
    waiting = [status.state.waiting for status in pod.status.container_statuses if status.state.waiting]
    return "; ".join(f"{one.reason} {one.message}".strip() for one in waiting) or pod.status.phase


async def _resolves(name: str, server: str) -> bool:
    """Whether a DNS server gives an address for a name (RFC 1035)."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        try:
            await loop.sock_connect(channel, (server, 53))
            await loop.sock_sendall(channel, question(name))
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await loop.sock_recv(channel, 512)
        except (OSError, TimeoutError):
            return False
    return has_address(answer)


def question(name: str) -> bytes:
    """A query for a name's A records, with recursion desired."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def has_address(answer: bytes) -> bool:
    """Whether it is a successful response with at least one record."""
    if len(answer) < 12:
        return False
    _, flags, _, answers, _, _ = struct.unpack_from("!6H", answer)
    return bool(flags & 0x8000) and flags & 0x000F == 0 and answers > 0
