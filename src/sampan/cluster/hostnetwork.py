"""The machine's own way into the cluster: a veth pair between its network and the box, and routes over it.

    machine                              │ box
    sampan-1a2b3c4d 10.2.2.2 ═══ veth ═══╪═══ _host ── routes ── br-lan 10.2.2.1 ── nodes, pods, Services
      10.2.2.0/24, 10.244.0.0/16,        │
      10.96.0.0/12  via 10.2.2.1         │

The box routes; the machine is not on the nodes' bridge, so that nothing there can pretend to it to be somebody else
(by ARP or by IPv6 router advertisements). What comes back to 10.2.2.2 goes by the nodes' gateway (`lan.py`). Both
directions take the same way, so the machine need not forward packets nor relax its check of their source addresses.

Address, routes and neighbours hang on the one interface, and the interface ends with the box's network: when the box
is killed the kernel removes them all. `remove` does not wait for that. The interface's name follows from the cluster's
directory, so that it is found again without a record.
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
_EVERYWHERE = 1
"""Routes with a prefix no longer than this stand for "everything else" (VPNs halve the default route)."""
_ALL_TABLES = 0


class HostNetworkError(Exception):
    """Why the machine's network cannot take the cluster's addresses; one line a reason."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Addresses that the machine uses already: for what, over which of its interfaces."""

    network: IPv4Network
    use: str
    interface: str


def check(config: ClusterConfig, paths: ClusterPaths) -> None:
    """Raises HostNetworkError if the machine has a route or an address that overlaps the cluster's; OSError."""
    if not config.host_network:
        return
    with RouteSocket() as routes:
        names = {link.index: link.name for link in routes.links()}
        taken = [
            *_routed(routes.routes(table=_ALL_TABLES), names),
            *(_addressed(one, names) for one in routes.addresses() if ":" not in one.address),
        ]
    others = {one.host_link: one.name for one in places.clusters(paths.root)}
    problems = list(conflicts(config, [one for one in taken if one.interface != paths.host_link], others))
    if problems:
        raise HostNetworkError("\n".join(problems))


def _routed(routes: Iterable[Route], names: dict[int, str]) -> Iterator[Taken]:
    for route in routes:
        if route.type not in ("local", "broadcast", "multicast", "anycast"):
            yield Taken(IPv4Network(route.destination), "route", names.get(route.index, ""))


def _addressed(address: rtnetlink.Address, names: dict[int, str]) -> Taken:
    return Taken(IPv4Network(ip_interface(address.address).network), "address", names.get(address.index, ""))


def conflicts(config: ClusterConfig, taken: Iterable[Taken], clusters: dict[str, str]) -> Iterator[str]:
    """What of the cluster's addresses the machine uses otherwise; `clusters` has the names of those by interface."""
    wanted = {f"network.{field}": ip_network(getattr(config.network, field)) for field in ("nodes", "pods", "services")}
    seen = set()
    for one in taken:
        for field, network in wanted.items():
            if one.network.prefixlen <= _EVERYWHERE or not one.network.overlaps(network):
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
    """Joins the calling thread's network to the box's. Raises OSError; nothing is then left."""
    remove(paths)  # what a kill has left whose network something still holds
    box = Path(f"/proc/{box_pid}/ns/net")
    try:
        with RouteSocket() as machine, RouteSocket(box) as inside:
            descriptor = os.open(box, os.O_RDONLY | os.O_CLOEXEC)
            try:
                machine.execute(rtnetlink.add_veth(paths.host_link, BOX_LINK, peer_netns=descriptor))
            finally:
                os.close(descriptor)
            _join(config, machine, paths.host_link, inside)
    except OSError:
        remove(paths)
        raise


def _join(config: ClusterConfig, machine: RouteSocket, name: str, inside: RouteSocket) -> None:
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
    """Removes the interface with all that hangs on it, if it is there. Raises OSError."""
    with RouteSocket() as routes:
        routes.execute(rtnetlink.delete_link(paths.host_link), ignore=(errno.ENODEV,))
