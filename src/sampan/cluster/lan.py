"""The nodes' network: a bridge in the box, a network namespace per node joined to it by veth, and routes.

    box's own network                        node-1's network
    br-lan 10.2.2.1/24 ──┬── node-1 ═veth═ eth0 10.2.2.10/24 ── pods 10.244.0.0/24
                         ├── node-2 ═veth═ eth0 …
    routes: each node's pods via the node, Services via the first node, nothing outside

Everything is sent over netlink in three batches for the box and one for each node. The agent fills in a node's own
pod network later (`sampan.node.network`).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from sampan.cluster.config import ClusterConfig
from sampan.kernel import netns, rtnetlink, sysctl
from sampan.kernel.netlink import Request
from sampan.kernel.rtnetlink import Route, RouteSocket

BRIDGE = "br-lan"
NODE_LINK = "eth0"
LOOPBACK = 1  # the index of lo in every network namespace

# What pods send outside, or to a port of a node where nobody listens, is refused at once ("administratively
# prohibited", which unlike "unreachable" fails a connection immediately, or "port unreachable"), however often they
# try.
_REFUSE_ALWAYS = {"net.ipv4.icmp_ratelimit": 0, "net.ipv4.icmp_msgs_per_sec": 1_000_000}
_ROUTER = {"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0}


def namespace(run: Path, node: str) -> Path:
    """Where a node's network namespace is kept."""
    return run / "netns" / node


def create(config: ClusterConfig, run: Path) -> None:
    """Builds the whole LAN in the calling thread's network namespace, which must be new. Raises OSError."""
    (run / "netns").mkdir(parents=True, exist_ok=True)
    for node in config.node_list:
        netns.create_network(namespace(run, node.name))
    with RouteSocket() as routes:
        routes.execute(rtnetlink.set_link(LOOPBACK, up=True), rtnetlink.add_bridge(BRIDGE))
        bridge = routes.index(BRIDGE)
        routes.execute(rtnetlink.add_address(bridge, f"{config.gateway}/{config.lan_prefix}"))
        for node in config.node_list:
            _attach(routes, bridge, node.name, namespace(run, node.name))
        for index in range(len(config.node_list)):
            _set_up_node(config, index, run)
        routes.execute(*_box_routes(config))
    _set_up_kernel()


def _set_up_kernel() -> None:
    sysctl.write_all(_ROUTER)
    sysctl.write_all(_REFUSE_ALWAYS, optional=True)


def _attach(routes: RouteSocket, bridge: int, node: str, network: Path) -> None:
    descriptor = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
    try:
        routes.execute(rtnetlink.add_veth(_port(node), NODE_LINK, peer_netns=descriptor, master=bridge))
    finally:
        os.close(descriptor)


def _port(node: str) -> str:
    """A node's port on the bridge; interface names have at most 15 characters."""
    return node if len(node) <= 15 else f"{node[:6]}-{zlib.crc32(node.encode()):08x}"


def _set_up_node(config: ClusterConfig, index: int, run: Path) -> None:
    network = namespace(run, config.node_list[index].name)
    with RouteSocket(network) as routes:
        link = routes.index(NODE_LINK)
        routes.execute(
            rtnetlink.set_link(LOOPBACK, up=True),
            rtnetlink.set_link(link, up=True),
            rtnetlink.add_address(link, f"{config.node_ip(index)}/{config.lan_prefix}"),
            *(rtnetlink.replace_route(route) for route in _node_routes(config, index, link)),
        )
    netns.run_in(network, _set_up_kernel)


def _node_routes(config: ClusterConfig, index: int, link: int) -> list[Route]:
    others = [other for other in range(len(config.node_list)) if other != index]
    return [
        Route("0.0.0.0/0", link, config.gateway),
        *(Route(config.pod_cidr(other), link, config.node_ip(other)) for other in others),
    ]


def _box_routes(config: ClusterConfig) -> list[Request]:
    pods = [Route(config.pod_cidr(index), 0, config.node_ip(index)) for index in range(len(config.node_list))]
    services = Route(config.network.services, 0, config.node_ip(0))
    outside = Route("0.0.0.0/0", type="prohibit")
    return [rtnetlink.replace_route(route) for route in (*pods, services, outside)]
