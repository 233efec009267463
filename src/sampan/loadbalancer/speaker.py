"""The speaker of one node: elects an owner for each address and answers ARP and NDP for those that this node owns.

Services, Nodes and EndpointSlices come from informers, whose caches stay in use while the API server is unreachable.
Which nodes are alive is known from heartbeats, faster than from a Lease. A node whose agent or link is down leaves the
election. `election.py` decides, `announcer.py` answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from sampan.api import core_v1
from sampan.client.config import Config
from sampan.client.events import EventRecorder
from sampan.client.informer import Informer
from sampan.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from sampan.client.rest import Client
from sampan.kernel.packet import PacketSocket
from sampan.kernel.rtnetlink import RouteSocket, mac_bytes
from sampan.loadbalancer import election, heartbeat
from sampan.loadbalancer.announcer import Announcer
from sampan.loadbalancer.heartbeat import Heartbeat, Peers, Sequence
from sampan.loadbalancer.nodehealth import NodeHealth
from sampan.loadbalancer.objects import DEFAULT_CLASS, SERVICE_NAME, Node, Service, Slice, canonical
from sampan.loadbalancer.pools import Pool

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
STALE_AFTER = 1.0
"""Seconds without a reconciliation after which the last election is out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerOptions:
    """This node, the API server, and the secret (`key`) that all speakers of a cluster share.

    `interface` defaults to the one that has the Node's InternalIP. Only addresses of `pools` are announced, whatever a
    Service's status says. `health_url` is the health check of the node's agent; empty disables it.
    """

    node_name: str
    interface: str = ""
    config: Config
    key: bytes
    pools: tuple[Pool, ...] = ()
    class_name: str = DEFAULT_CLASS
    health_url: str = "http://127.0.0.1:10248/healthz"


async def run(options: SpeakerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Run the speaker until cancelled; call `ready` after the first election. Raises OSError."""
    async with AsyncExitStack() as stack:
        client = Client(options.config, user_agent="sampan-loadbalancer-speaker", connections=4)
        stack.push_async_callback(client.close)
        if not options.interface:
            options = replace(options, interface=await _find_interface(client, options.node_name))
        speaker = Speaker(client, options)
        stack.callback(speaker.close)
        await speaker.run(ready)


async def _find_interface(client: Client, node_name: str) -> str:
    """The interface that has the Node's own address. Raises OSError, StatusError."""
    while True:
        try:
            node = await client.get(NODES, node_name, None, core_v1.Node)
            break
        except OSError as error:  # the API server is unreachable: wait for it, as an informer would
            log.warning("asking for node %s: %s", node_name, error)
            await asyncio.sleep(RETRY_SECONDS)
    internal = [one.address for one in node.status.addresses if one.type == "InternalIP"]
    with RouteSocket() as routes:
        names = {link.index: link.name for link in routes.links()}
        for address in routes.addresses():
            if address.address.partition("/")[0] in internal:
                return names[address.index]
    raise OSError(f"no interface here has an address of node {node_name} ({', '.join(internal) or 'it has none'})")


@dataclass(slots=True)
class _EndpointWatch:
    """The informer for one Service's EndpointSlices."""

    informer: Informer[Slice]
    task: asyncio.Task[None]


class Speaker:
    """Holds an election whenever its input changes, and at every heartbeat while there are addresses."""

    def __init__(self, client: Client, options: SpeakerOptions) -> None:
        self._client, self._options = client, options
        self._recorder = EventRecorder(client, "sampan-loadbalancer-speaker", options.node_name)
        self._services = Informer(client, SERVICES, Service, field_selector="spec.type=LoadBalancer")
        self._nodes = Informer(client, NODES, Node)
        self._endpoint_watches: dict[str, _EndpointWatch] = {}
        self._dirty = asyncio.Event()
        self._routes = RouteSocket()
        self._announcer = Announcer(options.interface)
        self._announcer.is_current = self._is_current
        self._health = NodeHealth(options.health_url, self._dirty.set)
        self._sequence = Sequence()
        self._socket: PacketSocket | None = None
        self._peers = Peers(0.0)
        self._alive: frozenset[str] = frozenset()
        self._last_reconcile = 0.0
        self._next_heartbeat = 0.0
        self._sent_healthy = False
        self._had_link = False
        for informer in (self._services, self._nodes):
            informer.add_handler(self._changed)

    def _changed(self, _old: object, _new: object) -> None:
        self._dirty.set()

    async def run(self, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run())
            group.create_task(self._nodes.run())
            group.create_task(self._health.run())
            await self._services.wait_synced()
            await self._nodes.wait_synced()
            self._reconcile(group)
            ready()
            while True:
                await self._wait()
                self._dirty.clear()
                self._reconcile(group)

    async def _wait(self) -> None:
        """Wait for a change; while there are addresses, at most until the next heartbeat is due."""
        if not self._health.is_enabled:
            await self._dirty.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, self._next_heartbeat - self._now())):
                await self._dirty.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        self._announcer.close()
        self._stop_listening()
        self._routes.close()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # --- reconciliation

    def _reconcile(self, group: asyncio.TaskGroup) -> None:
        """Send a heartbeat if one is due, hold the election, and answer for the addresses that this node owns."""
        now = self._now()
        if self._last_reconcile and now - self._last_reconcile > STALE_AFTER:
            self._peers.extend(now - self._last_reconcile)
        addresses = self._addresses()
        self._follow_endpoints(addresses, group)
        self._health.is_enabled = bool(addresses)
        if not addresses:
            self._stop_answering()
            return
        try:
            mac = self._link_mac()
            if self._socket is None or (mac and not self._had_link):
                self._listen(now)
            self._had_link = mac is not None
            healthy = mac is not None and self._health.is_healthy(now)
            self._send_heartbeat(now, mac, healthy)
            self._elect(now, addresses, mac, healthy)
        except OSError as error:
            log.warning("%s: %s", self._options.interface, error)
            self._stop_answering()
            self._health.is_enabled = True  # keeps reconciling at every heartbeat
            self._next_heartbeat = now + heartbeat.INTERVAL
        self._last_reconcile = now

    def _stop_answering(self) -> None:
        self._announcer.close()
        self._stop_listening()
        self._alive = frozenset()
        self._last_reconcile = 0.0

    def _addresses(self) -> dict[str, list[Service]]:
        """The addresses that some node has to announce, and the Services that have each."""
        found: dict[str, list[Service]] = {}
        for service in sorted(self._services.items(), key=lambda each: each.metadata.key):
            if not service.is_of_class(self._options.class_name):
                continue
            shown = (one.ip for one in service.status.load_balancer.ingress if one.ip_mode != "Proxy")
            for address in dict.fromkeys(canonical(shown)):  # a status may say one many times
                if any(pool.contains(address) for pool in self._options.pools):
                    found.setdefault(address, []).append(service)
        return found

    def _link_mac(self) -> bytes | None:
        """The MAC of the interface; None if it is down or has no carrier."""
        link = self._routes.link(self._options.interface)
        if link is None or not (link.up and link.running):
            return None
        return mac_bytes(link.mac)

    def _elect(self, now: float, addresses: dict[str, list[Service]], mac: bytes | None, healthy: bool) -> None:
        candidates = election.candidates(self._nodes.items())
        me = self._options.node_name
        alive = self._peers.alive(candidates.allowed - {me}, now) | (frozenset({me}) if healthy else frozenset())
        endpoints = {
            key: election.endpoint_nodes(one.informer.items())
            for key, one in self._endpoint_watches.items()
            if one.informer.synced
        }
        unsynced = self._endpoint_watches.keys() - endpoints.keys()
        owners = {
            address: election.elect(address, services, candidates, alive, endpoints)
            for address, services in addresses.items()
            if not any(service.metadata.key in unsynced for service in services)
        }
        mine = frozenset(address for address, node in owners.items() if node == me) if mac else frozenset()
        before, joined = self._alive, alive - self._alive
        self._alive = alive
        kept = mine & self._announcer.addresses
        self._announcer.set_addresses(mine, mac or b"")
        if joined and before:
            for address in kept:  # after a partition, the joined node may have answered for it too
                self._announcer.announce(address)
        for address in sorted(mine - kept):
            self._report(address, addresses[address])

    def _report(self, address: str, services: list[Service]) -> None:
        log.info("answering for %s", address)
        message = f'announcing from node "{self._options.node_name}" with protocol "layer2"'
        for service in services:
            self._recorder.event(service, "Normal", "nodeAssigned", message, kind="Service", api_version="v1")

    # --- heartbeats

    def _listen(self, now: float) -> None:
        """Open the heartbeat socket and reset the peers; also after a link failure, when their state is unknown."""
        self._stop_listening()
        opened = self._socket = PacketSocket(self._options.interface, heartbeat.ETHERTYPE)
        asyncio.get_running_loop().add_reader(opened.fileno(), self._receive_heartbeat, opened)
        self._peers = Peers(now)
        self._next_heartbeat = now

    def _stop_listening(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _send_heartbeat(self, now: float, mac: bytes | None, healthy: bool) -> None:
        """Send a heartbeat when it is due, and at once when this node's health has changed."""
        if now < self._next_heartbeat and healthy == self._sent_healthy:
            return
        self._next_heartbeat, self._sent_healthy = now + heartbeat.INTERVAL, healthy
        if self._socket is None or mac is None:
            return
        beat = Heartbeat(self._options.node_name, self._sequence.next(), healthy)
        self._socket.send(heartbeat.encode(beat, self._options.key, mac))

    def _receive_heartbeat(self, opened: PacketSocket) -> None:
        frame = opened.receive()
        beat = heartbeat.decode(frame, self._options.key) if frame else None
        if frame is None or beat is None or beat.node == self._options.node_name:
            return
        self._announcer.speakers.add(heartbeat.sender(frame))
        if self._peers.hear(beat, self._now()):
            self._dirty.set()

    def _is_current(self) -> bool:
        """Whether the last election is recent. If this process was stopped, other nodes have taken over meanwhile."""
        return self._now() - self._last_reconcile <= STALE_AFTER

    # --- endpoints

    def _follow_endpoints(self, addresses: dict[str, list[Service]], group: asyncio.TaskGroup) -> None:
        """Watch the EndpointSlices of the Services with externalTrafficPolicy Local, and of no others."""
        wanted = {
            service.metadata.key: service
            for services in addresses.values()
            for service in services
            if service.spec.external_traffic_policy == "Local"
        }
        for key in self._endpoint_watches.keys() - wanted.keys():
            self._endpoint_watches.pop(key).task.cancel()
        for key in wanted.keys() - self._endpoint_watches.keys():
            meta = wanted[key].metadata
            selector = f"{SERVICE_NAME}={meta.name}"
            slices = Informer(self._client, ENDPOINT_SLICES, Slice, namespace=meta.namespace, label_selector=selector)
            slices.add_handler(self._changed)
            self._endpoint_watches[key] = _EndpointWatch(slices, group.create_task(self._watch(slices)))

    async def _watch(self, slices: Informer[Slice]) -> None:
        async def note_first() -> None:
            await slices.wait_synced()
            self._dirty.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(note_first())
            await slices.run()
