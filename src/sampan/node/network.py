"""The pods' network on one node: a namespace and an address per pod, routes to them and to the other nodes' pods.

Every pod has a veth of its own and the node routes between them, without a bridge, so that all traffic, also between
two pods of one node, passes the node's netfilter hooks where the proxy's rules are. Hardware addresses are fixed and
known beforehand, so no ARP is ever needed. `node_firewall.py` has the few rules of the node.
"""

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.kernel import libc, netns, sysctl
from sampan.kernel.descriptors import Descriptor
from sampan.kernel.rtnetlink import (
    PROTOCOL_STATIC,
    SCOPE_LINK,
    Neighbour,
    Route,
    RouteSocket,
    add_address,
    add_route,
    add_veth,
    delete_link,
    delete_route,
    replace_neighbour,
    replace_route,
    set_link,
)
from sampan.kernel.threads import in_thread
from sampan.node.ipam import AddressPool
from sampan.node.node_firewall import NodeFirewall
from sampan.node.node_rules import HostPort as HostPort

NODE_SIDE_MAC = "ee:ee:ee:ee:ee:ee"
NODE_SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.route_localnet": 1,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv6.conf.default.disable_ipv6": 1,
}
POD_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": 0}
"""As containerd 2 has it: in a pod of its own network every user may listen on every port."""
_NO_DEVICE = 19
_NOT_THERE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNetwork:
    """What decides a node's pod network."""

    node_ip: str
    pod_cidr: str
    state: Path
    """Directory for addresses in use and namespace handles."""
    direct: tuple[str, ...] = ("10.244.0.0/16", "10.2.2.0/24")
    """Where pods' packets go unmasqueraded: the cluster's pods and nodes."""
    services: tuple[str, ...] = ("10.96.0.0/12",)
    """Where host ports do not count: Services' addresses."""
    own: tuple[str, ...] = ()
    """Link-local addresses that only this node answers for, if any does."""
    mtu: int = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandbox:
    """The namespaces that the containers of a pod share. None: the node's own."""

    pod_uid: str
    network: Path | None
    ipc: Path | None
    uts: Path | None
    ips: tuple[str, ...]


class _Record(msgspec.Struct, frozen=True):
    """What is written of a sandbox when it is complete."""

    kinds: tuple[str, ...]
    ips: tuple[str, ...]
    host_ports: tuple[HostPort, ...] = ()


class PodNetwork:
    """Makes, finds and removes the sandboxes of one node's pods. Must run inside the node's network namespace."""

    def __init__(self, options: NodeNetwork) -> None:
        self.options = options
        self._sandboxes = options.state / "sandboxes"
        self._sandboxes.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pool = AddressPool(options.pod_cidr, options.state / "addresses")
        self._firewall = NodeFirewall()
        self._lock = asyncio.Lock()
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def setup_node(self) -> None:
        """Prepare the node: forwarding, masquerading, host ports of the pods that are there. Repeatable."""
        sysctl.write_all(NODE_SYSCTLS, optional=True)
        options = self.options
        await self._firewall.masquerade(options.pod_cidr, options.direct, options.own)
        await self._apply_host_ports()

    # --- sandboxes

    async def add(
        self,
        pod_uid: str,
        *,
        hostname: str,
        host_network: bool = False,
        host_ipc: bool = False,
        host_ports: Iterable[HostPort] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> PodSandbox:
        """Make the pod's namespaces, connect them and give it an address. Returns what exists if called again.

        Raises NoFreeAddress, OSError (in the kernel's words); nothing but the address is then kept.
        """
        async with self._turn(pod_uid):
            return self.find(pod_uid) or await self._add(
                pod_uid, hostname, host_network, host_ipc, tuple(host_ports), sysctls or {}
            )

    async def _add(
        self,
        pod_uid: str,
        hostname: str,
        host_network: bool,
        host_ipc: bool,
        host_ports: tuple[HostPort, ...],
        sysctls: Mapping[str, str],
    ) -> PodSandbox:
        await self._remove(pod_uid)
        kinds = () if host_network else ("net", "uts")
        record = _Record(
            kinds=kinds if host_ipc else (*kinds, "ipc"),
            ips=(self.options.node_ip if host_network else self._pool.assign(pod_uid),),
            host_ports=() if host_network else host_ports,
        )
        await in_thread(self._make, pod_uid, record, hostname, sysctls)
        if record.host_ports:
            await self._apply_host_ports()
        return self._sandbox(pod_uid, record)

    def find(self, pod_uid: str) -> PodSandbox | None:
        """The sandbox of a pod if it is complete; also after a restart."""
        record = self._record(pod_uid)
        if record is None or not all(netns.exists(self._directory(pod_uid) / kind) for kind in record.kinds):
            return None
        return self._sandbox(pod_uid, record)

    def pods(self) -> list[str]:
        """The uids of all pods that have anything here, complete or not."""
        return sorted({*os.listdir(self._sandboxes), *self._pool.owners().values()})

    async def remove(self, pod_uid: str) -> None:
        """Take everything of a pod away and free its address, also while it is being made. Repeatable.

        Raises OSError if something is left; it is then as much in use as before, address included.
        """
        async with self._turn(pod_uid):
            await self._remove(pod_uid)

    @asynccontextmanager
    async def _turn(self, pod_uid: str) -> AsyncIterator[None]:
        """What makes a pod's sandbox and what takes it away never run at a time."""
        lock, users = self._turns.get(pod_uid, (asyncio.Lock(), 0))
        self._turns[pod_uid] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            users = self._turns[pod_uid][1] - 1
            self._turns[pod_uid] = lock, users
            if not users:
                del self._turns[pod_uid]

    async def _remove(self, pod_uid: str) -> None:
        record = self._record(pod_uid)
        if self._directory(pod_uid).exists():
            await in_thread(self._unmake, pod_uid)
        self._pool.free(pod_uid)
        if record is not None and record.host_ports:
            await self._apply_host_ports()

    def _directory(self, pod_uid: str) -> Path:
        return self._sandboxes / pod_uid

    def _record(self, pod_uid: str) -> _Record | None:
        try:
            return msgspec.json.decode((self._directory(pod_uid) / "sandbox.json").read_bytes(), type=_Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _sandbox(self, pod_uid: str, record: _Record) -> PodSandbox:
        paths = {kind: self._directory(pod_uid) / kind for kind in record.kinds}
        return PodSandbox(
            pod_uid=pod_uid, network=paths.get("net"), ipc=paths.get("ipc"), uts=paths.get("uts"), ips=record.ips
        )

    def _make(self, pod_uid: str, record: _Record, hostname: str, sysctls: Mapping[str, str]) -> None:
        """Everything of `add` that asks the kernel. The record is written last: it says that all before is there."""
        directory = self._directory(pod_uid)
        directory.mkdir(mode=0o700, exist_ok=True)
        inside: list[RouteSocket] = []

        def prepare() -> None:
            if "uts" in record.kinds:
                libc.sethostname(hostname)
            if "net" in record.kinds:
                inside.append(RouteSocket())
                sysctl.write_all(POD_SYSCTLS, optional=True)
            sysctl.write_all(sysctls)

        if record.kinds:
            netns.create({kind: directory / kind for kind in record.kinds}, prepare)
        if inside:
            with inside[0]:
                self._connect(record.ips[0], directory / "net", inside[0])
        partial = directory / "sandbox.partial"
        partial.write_bytes(msgspec.json.encode(record))
        partial.rename(directory / "sandbox.json")

    def _connect(self, address: str, network: Path, pod: RouteSocket) -> None:
        """Join a pod's network namespace to the node's."""
        name, mac, gateway = interface_name(address), hardware_address(address), self._pool.gateway
        with Descriptor.open(network, os.O_RDONLY) as handle, RouteSocket() as node:
            node.execute(delete_link(name), ignore=(_NO_DEVICE,))
            node.execute(
                add_veth(
                    name,
                    "eth0",
                    peer_netns=handle.fileno(),
                    mac=NODE_SIDE_MAC,
                    peer_mac=mac,
                    mtu=self.options.mtu,
                )
            )
            inner = pod.index("eth0")
            pod.execute(
                set_link("lo", up=True),
                set_link(inner, up=True),
                add_address(inner, f"{address}/32"),
                add_route(Route(f"{gateway}/32", inner)),
                add_route(Route("0.0.0.0/0", inner, via=gateway)),
                replace_neighbour(Neighbour(inner, gateway, NODE_SIDE_MAC)),
            )
            outer = node.index(name)
            node.execute(
                replace_route(Route(f"{address}/32", outer, source=self.options.node_ip)),
                replace_neighbour(Neighbour(outer, address, mac)),
            )

    def _unmake(self, pod_uid: str) -> None:
        """Take the route and the names away. The veth goes with the namespace, which the kernel does later in bulk:
        removing it by itself would make every caller wait some 30 ms for other processors.
        """
        directory = self._directory(pod_uid)
        (directory / "sandbox.json").unlink(missing_ok=True)
        address = self._pool.address_of(pod_uid)
        if address is not None:
            with RouteSocket() as node:
                node.execute(delete_route(Route(f"{address}/32", scope=SCOPE_LINK)), ignore=(_NOT_THERE,))
        for entry in list(directory.iterdir()):
            netns.delete(entry)
        directory.rmdir()

    # --- the rest of the node

    async def _apply_host_ports(self) -> None:
        async with self._lock:
            records = [record for uid in os.listdir(self._sandboxes) if (record := self._record(uid)) is not None]
            mappings = [(port, record.ips[0]) for record in records for port in record.host_ports]
            await self._firewall.host_ports(mappings, self.options.services)

    async def sync_routes(self, routes: Iterable[tuple[str, str]]) -> None:
        """Have exactly these routes (pod CIDR, node address) to other nodes' pods."""
        wanted = {str(ipaddress.ip_network(cidr)): via for cidr, via in routes}
        with RouteSocket() as node:
            present = {
                route.destination: route
                for route in node.routes()
                if route.via and route.protocol == PROTOCOL_STATIC and route.destination != "0.0.0.0/0"
            }
            stale = [delete_route(route) for cidr, route in present.items() if cidr not in wanted]
            fresh = [
                replace_route(Route(cidr, via=via))
                for cidr, via in wanted.items()
                if cidr not in present or present[cidr].via != via
            ]
            node.execute(*stale, ignore=(_NOT_THERE,))
            node.execute(*fresh)


def interface_name(address: str) -> str:
    """The node's end of a pod's veth; 15 characters at most, and unique because the address is."""
    return f"pod{int(ipaddress.ip_address(address)):x}"[:15]


def hardware_address(address: str) -> str:
    """The pod's own, derived from its IP address as upstream's network plug-ins do."""
    return f"0a:58:{ipaddress.ip_address(address).packed[-4:].hex(':')}"
