"""Host network access (`hostNetwork: true`): a veth pair between the machine and the box, and routes over it.

    machine                              │ box
    sampan-1a2b3c4d 10.2.2.2 ═══ veth ═══╪═══ _host ── routes ── br-lan 10.2.2.1 ── nodes, pods, Services
      10.2.2.0/24, 10.244.0.0/16,        │
      10.96.0.0/12  via 10.2.2.1         │

The box routes. The machine is not attached to the nodes' bridge, so that nothing on the bridge can spoof ARP or IPv6
router advertisements to it. Replies to 10.2.2.2 go through the nodes' gateway (`lan.py`). Both directions take the same
path, so the machine needs neither forwarding nor a looser reverse path filter (rp_filter).

Address, routes and neighbour entries belong to one interface, which ends with the box's network namespace: when the box
is killed, the kernel removes them all. `remove` does not wait for that. The interface's name is derived from the
cluster's directory, so that it is found without a record.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_interface, ip_network
from pathlib import Path

from sampan.cluster import paths as places
from sampan.cluster.config import ClusterConfig
from sampan.cluster.paths import ClusterPaths
from sampan.kernel import rtnetlink
from sampan.kernel.rtnetlink import Neighbour, Route, RouteSocket

BOX_LINK = "_host"
"""The box's end; no node's port on the bridge has such a name."""
_DEFAULT_ROUTE_LENGTH = 1
"""Routes with a prefix of at most this length count as default routes (VPNs split the default route in halves)."""
_ALL_TABLES = 0


class HostNetworkError(Exception):
    """Why the machine's network cannot take the cluster's addresses; one line a reason."""


@dataclass(frozen=True, slots=True)
class UsedNetwork:
    """A network that the machine uses already, for a route or an address, and the interface."""

    network: IPv4Network
    use: str
    interface: str


def check(config: ClusterConfig, paths: ClusterPaths) -> None:
    """Raises HostNetworkError if the machine has a route or an address that overlaps the cluster's; OSError."""
    if not config.host_network:
        return
    with RouteSocket() as routes:
        names = {link.index: link.name for link in routes.links()}
        used = [
            *_used_by_routes(routes.routes(table=_ALL_TABLES), names),
            *(_used_by_address(one, names) for one in routes.addresses() if ":" not in one.address),
        ]
    others = {one.host_link: one.name for one in places.clusters(paths.root)}
    problems = list(conflicts(config, [one for one in used if one.interface != paths.host_link], others))
    if problems:
        raise HostNetworkError("\n".join(problems))


def _used_by_routes(routes: Iterable[Route], names: dict[int, str]) -> Iterator[UsedNetwork]:
    for route in routes:
        if route.type not in ("local", "broadcast", "multicast", "anycast"):
            yield UsedNetwork(IPv4Network(route.destination), "route", names.get(route.index, ""))


def _used_by_address(address: rtnetlink.Address, names: dict[int, str]) -> UsedNetwork:
    return UsedNetwork(IPv4Network(ip_interface(address.address).network), "address", names.get(address.index, ""))


def conflicts(config: ClusterConfig, used: Iterable[UsedNetwork], clusters: dict[str, str]) -> Iterator[str]:
    """Conflicts between the cluster's ranges and used networks; `clusters` has the names of clusters by interface."""
    wanted = {f"network.{field}": ip_network(getattr(config.network, field)) for field in ("nodes", "pods", "services")}
    seen = set()
    for one in used:
        for field, network in wanted.items():
            if one.network.prefixlen <= _DEFAULT_ROUTE_LENGTH or not one.network.overlaps(network):
                continue
            if one.interface in clusters:
                problem = f"cluster {clusters[one.interface]!r} has brought {one.network} to this machine already"
            else:
                over = f" ({one.interface})" if one.interface else ""
                problem = f"this machine has a{'n' if one.use == 'address' else ''} {one.use} in {one.network}{over}"
            if (field, problem) not in seen:
                seen.add((field, problem))
                yield f"hostNetwork: {field} {network}: {problem}; choose another range with --config"


def create(config: ClusterConfig, paths: ClusterPaths, box_pid: int) -> None:
    """Connects the calling thread's network namespace to the box's. Raises OSError and leaves nothing behind."""
    remove(paths)  # left over after a kill, while something holds the old box's network
    box = Path(f"/proc/{box_pid}/ns/net")
    try:
        with RouteSocket() as machine, RouteSocket(box) as inside:
            descriptor = os.open(box, os.O_RDONLY | os.O_CLOEXEC)
            try:
                machine.execute(rtnetlink.add_veth(paths.host_link, BOX_LINK, peer_netns=descriptor))
            finally:
                os.close(descriptor)
            _configure(config, machine, paths.host_link, inside)
    except OSError:
        remove(paths)
        raise


def _configure(config: ClusterConfig, machine: RouteSocket, name: str, inside: RouteSocket) -> None:
    outer, inner = machine.link(name), inside.link(BOX_LINK)
    if outer is None or inner is None:
        raise FileNotFoundError(errno.ENOENT, "the interface went as soon as it was made", name)
    inside.execute(
        rtnetlink.set_link(inner.index, up=True),
        rtnetlink.replace_neighbour(Neighbour(inner.index, config.host_ip, outer.mac)),
        rtnetlink.replace_route(Route(f"{config.host_ip}/32", inner.index, source=config.gateway)),
    )
    ranges = (config.network.nodes, config.network.pods, config.network.services)
    machine.execute(
        rtnetlink.add_address(outer.index, f"{config.host_ip}/32"),
        rtnetlink.replace_neighbour(Neighbour(outer.index, config.gateway, inner.mac)),
        rtnetlink.add_route(Route(f"{config.gateway}/32", outer.index, source=config.host_ip)),
        *(rtnetlink.add_route(Route(one, outer.index, config.gateway, source=config.host_ip)) for one in ranges),
    )


def exists(paths: ClusterPaths) -> bool:
    """Whether the cluster's interface is on this machine."""
    with RouteSocket() as routes:
        return routes.link(paths.host_link) is not None


def remove(paths: ClusterPaths) -> None:
    """Removes the interface with its address and routes, if it exists. Raises OSError."""
    with RouteSocket() as routes:
        routes.execute(rtnetlink.delete_link(paths.host_link), ignore=(errno.ENODEV,))
