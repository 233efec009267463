"""Routes to the pods of other nodes, from the Node objects: each node is the gateway of its own pod CIDR."""

import asyncio
import logging
from collections.abc import Iterable

from sampan.api import core_v1
from sampan.client.informer import Informer
from sampan.node.node import Node

log = logging.getLogger(__name__)

Route = tuple[str, str]


def routes(nodes: Iterable[core_v1.Node], own_name: str) -> list[Route]:
    """(pod CIDR, node address) of every other node that has both."""
    found = []
    for node in nodes:
        address = next((one.address for one in node.status.addresses if one.type == "InternalIP"), "")
        if node.metadata.name != own_name and node.spec.pod_cidr and address:
            found.append((node.spec.pod_cidr, address))
    return sorted(found)


def follow_nodes(nodes: Informer[core_v1.Node], node: Node, group: asyncio.TaskGroup) -> None:
    """Keep this node's routes as the Node objects say."""
    changed = asyncio.Event()
    nodes.add_handler(lambda _old, _new: changed.set())
    group.create_task(_keep_routes(nodes, node, changed))


async def _keep_routes(nodes: Informer[core_v1.Node], node: Node, changed: asyncio.Event) -> None:
    await nodes.wait_synced()
    applied: list[Route] | None = None
    while True:
        changed.clear()
        wanted = routes(nodes.items(), node.options.node_name)
        if wanted != applied:
            try:
                await node.network.sync_routes(wanted)
                applied = wanted
            except OSError as error:
                log.warning("routes of node %s: %s", node.options.node_name, error)
        await changed.wait()
