"""The nodes' network: a bridge in the box, a network namespace per node joined to it by veth, and routes.

    box's own network                        node-1's network
    br-lan 10.2.2.1/24 ──┬── node-1 ═veth═ eth0 10.2.2.10/24 ── pods 10.244.0.0/24
                         ├── node-2 ═veth═ eth0 …
    outbound 169.254.77.100/32 ══ user-mode stack (`outbound.py`) ══ the machine's network
    routes: each node's pods via the node, Services via the first node, the world via the stack while one is attached;
    what else lies in the cluster's ranges, and what is the machine's alone (link-local, metadata), nowhere

Everything is sent over netlink in three batches for the box and one for each node. The agent fills in a node's own
pod network later (`sampan.node.network`).
"""

from __future__ import annotations

import logging
import os
import zlib
from ipaddress import IPv4Network
from pathlib import Path

from sampan.cluster.config import ClusterConfig
from sampan.kernel import netns, rtnetlink, sysctl, tap
from sampan.kernel.netlink import Request
from sampan.kernel.rtnetlink import Route, RouteSocket

BRIDGE = "br-lan"
NODE_LINK = "eth0"
LOOPBACK = 1  # the index of lo in every network namespace
OUTBOUND = "outbound"
"""The tap that the user-mode stack attaches to."""
OUTBOUND_MTU = 1500
_GATEWAY_HOST, _TAP_HOST = 2, 100  # of the outbound range; slirp4netns knows no other gateway
_LAST_METRIC = 1000

NEVER_OUT = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local: with 169.254.169.254 the metadata, so credentials, of a machine in a cloud
    "100.100.100.200/32",  # metadata as well, of three clouds that chose addresses elsewhere
    "168.63.129.16/32",
    "192.0.0.192/32",
    "224.0.0.0/3",
    "fe80::/10",
    "fd00:ec2::254/128",
)
"""What no packet is sent to through the machine: it would speak with the machine's authority, or is no address."""

# What pods send outside, or to a port of a node where nobody listens, is refused at once ("administratively
# prohibited", which unlike "unreachable" fails a connection immediately, or "port unreachable"), however often they
# try.
_REFUSE_ALWAYS = {"net.ipv4.icmp_ratelimit": 0, "net.ipv4.icmp_msgs_per_sec": 1_000_000}
_ROUTER = {"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0}


log = logging.getLogger(__name__)


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
        if config.outbound_range:
            try:
                _prepare_way_out(config, routes)
            except OSError as error:  # without a tap the cluster is isolated, which the supervisor tells
                log.warning("no way out: %s", error)
    _set_up_kernel()


def outbound_gateway(config: ClusterConfig) -> str:
    """The user-mode stack's own address, which is the machine's loopback where that is allowed."""
    return str(IPv4Network(config.outbound_range)[_GATEWAY_HOST])


def _prepare_way_out(config: ClusterConfig, routes: RouteSocket) -> None:
    """A tap with its routes. They count only while the stack is attached, so that otherwise all is refused at once."""
    tap.create(OUTBOUND)
    link = routes.index(OUTBOUND)
    gateway, own = outbound_gateway(config), IPv4Network(config.outbound_range)[_TAP_HOST]
    sysctl.write_all({f"net.ipv4.conf.{OUTBOUND}.ignore_routes_with_linkdown": 1})
    sysctl.write_all({f"net.ipv6.conf.{OUTBOUND}.disable_ipv6": 1}, optional=True)
    routes.execute(
        rtnetlink.set_link(link, up=True, mtu=OUTBOUND_MTU),
        rtnetlink.add_address(link, f"{own}/32"),
        rtnetlink.replace_route(Route("0.0.0.0/0", link, gateway, onlink=True)),
        rtnetlink.replace_route(Route(config.outbound_range, type="prohibit")),
    )
    if config.allow_host_loopback:
        routes.execute(rtnetlink.replace_route(Route(f"{gateway}/32", link)))


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
    # Agents remove static routes by a gateway that lead to no node's pods; this one they leave.
    host = Route(f"{config.host_ip}/32", link, config.gateway, protocol=rtnetlink.PROTOCOL_BOOT)
    return [
        Route("0.0.0.0/0", link, config.gateway),
        *([host] if config.host_network else []),
        *(Route(config.pod_cidr(other), link, config.node_ip(other)) for other in others),
    ]


def _box_routes(config: ClusterConfig) -> list[Request]:
    pods = [Route(config.pod_cidr(index), 0, config.node_ip(index)) for index in range(len(config.node_list))]
    services = Route(config.network.services, 0, config.node_ip(0))
    refused = ("0.0.0.0/0", config.network.pods, *_never_out(config))
    nowhere = [Route(one, type="prohibit", metric=_LAST_METRIC) for one in refused]
    return [rtnetlink.replace_route(route) for route in (*pods, services, *nowhere)]


def _never_out(config: ClusterConfig) -> list[str]:
    """What lies within the cluster's own ranges is the cluster's."""
    own = [IPv4Network(one) for one in config.ranges]
    all_ipv4 = [one for one in NEVER_OUT if ":" not in one]
    return [one for one in all_ipv4 if not any(IPv4Network(one).subnet_of(other) for other in own)]
