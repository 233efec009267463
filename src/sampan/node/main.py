"""The node agent: registers the node, runs the pods that are bound to it, serves their logs and streams.

`run` is executed inside the node's network namespace. It may be killed at any moment: containers go on, and the next
agent takes them over (`adoption.py`).
"""

import asyncio
import ipaddress
import logging
import sys
from collections.abc import Callable

from sampan.api import core_v1
from sampan.api.core_v1 import Pod, Service
from sampan.client.events import EventRecorder
from sampan.client.informer import Informer
from sampan.client.resources import NODES, PODS, SERVICES
from sampan.client.rest import Client
from sampan.http.health import Health
from sampan.http.server import Server
from sampan.kernel import processes
from sampan.machinery import quantity
from sampan.node import eviction, facts, registration
from sampan.node.images.store import ImageStore
from sampan.node.logs import rotation
from sampan.node.network import NodeNetwork, PodNetwork
from sampan.node.node import Node
from sampan.node.object_cache import ObjectCache
from sampan.node.options import AgentOptions
from sampan.node.pods import PodManager
from sampan.node.registration import Registrar
from sampan.node.routes import follow_nodes
from sampan.node.runtime.runtime import Runtime
from sampan.node.server import AgentServer

__all__ = ["AgentOptions", "run"]

OOM_SCORE_ADJ = -999
"""When memory runs out, pods are killed before the agent is, as upstream's kubelet has it."""
SWITCH_SECONDS = 0.001
"""How long a thread that makes system calls waits for the event loop to let it go on."""

log = logging.getLogger(__name__)

CONNECTIONS = 4
"""Requests to the API server under way at once, beside watches."""


async def run(options: AgentOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Be the agent of one node until cancelled. `ready` is called once pods can be run."""
    options.root.mkdir(parents=True, exist_ok=True)
    sys.setswitchinterval(SWITCH_SECONDS)
    processes.set_oom_score_adj(OOM_SCORE_ADJ)
    client = Client(options.config, user_agent="sampan-agent", connections=CONNECTIONS)
    registrar = Registrar(client, options)
    services = Informer(client, SERVICES, Service)
    nodes = Informer(client, NODES, core_v1.Node)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(services.run())
            group.create_task(nodes.run())
            registered = await registrar.register()
            pod_cidr = options.pod_cidr or registered.spec.pod_cidr or await _assigned_cidr(nodes, options.node_name)
            node = _node(options, client, services, pod_cidr)
            await _serve(node, group, registrar, nodes, ready)
    finally:
        await client.close()


async def _serve(
    node: Node,
    group: asyncio.TaskGroup,
    registrar: Registrar,
    nodes: Informer[core_v1.Node],
    ready: Callable[[], None],
) -> None:
    """Everything that runs for as long as the agent does."""
    await node.network.setup_node()
    manager = PodManager(node)
    pods = Informer(node.client, PODS, Pod, field_selector=f"spec.nodeName={node.options.node_name}")
    pods.add_handler(manager.pod_changed)
    server = AgentServer(node, manager)
    health: Server | None = None
    try:
        follow_nodes(nodes, node, group)
        group.create_task(node.runtime.run())
        group.create_task(pods.run())
        group.create_task(_rotate_logs(node))
        group.create_task(manager.keep_statuses())
        group.create_task(eviction.watch(node, manager.workers.values))
        await server.start()
        if node.options.health_port is not None:
            health = await Health().serve("127.0.0.1", node.options.health_port)
        await pods.wait_synced()
        manager.adopt_orphans(pods.items())
        group.create_task(manager.sweep())
        await registrar.announce_ready()
        node.recorder.event(_reference(node.options), "Normal", "Starting", "Starting kubelet.")
        ready()
        await registrar.run(nodes)
    finally:
        await server.close()
        if health is not None:
            await health.close()
        await manager.leave()
        node.runtime.close()
        node.objects.close()


def _node(options: AgentOptions, client: Client, services: Informer[Service], pod_cidr: str) -> Node:
    amounts = facts.capacity(facts.read(options.root), options.capacity)
    network = NodeNetwork(
        node_ip=options.node_ip,
        pod_cidr=pod_cidr,
        state=options.volatile / "network",
        direct=options.direct_networks,
        services=options.service_networks,
        own=tuple(server for server in options.cluster_dns if ipaddress.ip_address(server).is_link_local),
    )
    return Node(
        options=options,
        client=client,
        recorder=EventRecorder(client, "kubelet", options.node_name),
        runtime=Runtime(options.volatile / "runtime"),
        images=ImageStore(options.images, hidden=options.hidden, ways=options.registries),
        network=PodNetwork(network),
        services=services,
        objects=ObjectCache(client),
        allocatable=amounts,
        labels=registration.node_labels(options),
        memory_capacity=quantity.parse(str(amounts["memory"])).value(),
        creation_slots=asyncio.Semaphore(options.parallel_starts),
    )


async def _assigned_cidr(nodes: Informer[core_v1.Node], name: str) -> str:
    """Wait until a controller has given the node its `spec.podCIDR`."""
    assigned: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def changed(_old: core_v1.Node | None, new: core_v1.Node | None) -> None:
        if new and new.metadata.name == name and new.spec.pod_cidr and not assigned.done():
            assigned.set_result(new.spec.pod_cidr)

    nodes.add_handler(changed)
    return await assigned


async def _rotate_logs(node: Node) -> None:
    while True:
        await asyncio.sleep(rotation.CHECK_SECONDS)
        await rotation.rotate_all(node.runtime)


def _reference(options: AgentOptions) -> dict[str, object]:
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": options.node_name, "uid": options.node_name}}
