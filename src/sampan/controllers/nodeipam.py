"""The node IPAM controller: every node gets a pod range of its own out of the cluster's."""

import ipaddress
from collections.abc import Iterable

from sampan.api.core_v1 import Node
from sampan.client.events import EventRecorder
from sampan.client.resources import NODES
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController
from sampan.controllers.freshness import OwnWrites
from sampan.controllers.references import reference
from sampan.machinery.errors import NotFound

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RETRY_SECONDS = 1.0


def next_free(cluster: Network, mask: int, used: Iterable[str]) -> str | None:
    """The first range of the cluster's that overlaps none in use; None when all are taken: pure."""
    taken = [ipaddress.ip_network(one, strict=False) for one in used]
    for candidate in cluster.subnets(new_prefix=mask):
        if not any(one.version == candidate.version and one.overlaps(candidate) for one in taken):
            return str(candidate)
    return None


class NodeIPAMController(QueueController):
    """One worker: ranges are given out one at a time."""

    name = "nodeipam"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes = context.nodes
        self._cluster = ipaddress.ip_network(context.options.cluster_cidr)
        self._recorder = EventRecorder(context.client, "cidrAllocator")
        self._writes: OwnWrites[str] = OwnWrites(self._nodes)
        self._nodes.add_handler(self._node_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        self.queue.add("")

    async def sync(self, key: str) -> None:
        """Serve every node that lacks a range, in the order of their names."""
        if not self._writes.seen(key):
            self.queue.add_after(key, RETRY_SECONDS)
            return
        nodes = sorted(self._nodes.items(), key=lambda node: _natural(node.metadata.name))
        used = [cidr for node in nodes for cidr in (node.spec.pod_cidrs or (node.spec.pod_cidr,)) if cidr]
        for node in nodes:
            if not node.spec.pod_cidr and not node.metadata.deletion_timestamp:
                cidr = next_free(self._cluster, self.context.options.node_cidr_mask, used)
                if cidr is None:
                    message = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
                    self._recorder.event(reference(NODES, node.metadata), "Normal", "CIDRNotAvailable", message)
                    return
                used.append(cidr)
                await self._assign(key, node, cidr)

    async def _assign(self, key: str, node: Node, cidr: str) -> None:
        patch = {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
        try:
            written = await self.client.patch(NODES, node.metadata.name, patch, type="strategic")
        except NotFound:
            return
        self._writes.wrote(key, written)


def _natural(name: str) -> tuple[str, int]:
    """Order node-2 before node-10."""
    head = name.rstrip("0123456789")
    digits = name[len(head) :]
    return head, int(digits) if digits else -1
