"""The speaker of one node: finds out with all others which of them answers for an address, and answers if it is this.

What the API server tells (Services, Nodes, endpoints) comes by watch and serves on while the server is away; who lives
comes by heartbeat, faster than any Lease. A node leaves the election when its agent or its link is dead. `election.py`
decides, `announcer.py` answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

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
from sampan.loadbalancer.objects import DEFAULT_CLASS, SERVICE_NAME, Node, Service, Slice
from sampan.loadbalancer.pools import Pool, parse_address

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
PAUSE = 1.0
"""Seconds without a turn of the loop after which what is known of the others is out of date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerOptions:
    """Where this is, whom to follow, and the secret that all speakers of a cluster share.

    Without an `interface`, it is the one that has the Node's InternalIP. Only addresses of `pools` are announced,
    whatever a status says. `health_url` is asked whether the node's agent lives; empty: it is not asked.
    """

    node_name: str
    interface: str = ""
    config: Config
    key: bytes
    pools: tuple[Pool, ...] = ()
    class_name: str = DEFAULT_CLASS
    health_url: str = "http://127.0.0.1:10248/healthz"


async def run(options: SpeakerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Speak until cancelled; `ready` is called once the first election has been held. Raises OSError."""
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
        except OSError as error:  # the API server is away, which an informer would wait for as well
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
class _Following:
    """The watch of one Service's endpoints."""

    informer: Informer[Slice]
    task: asyncio.Task[None]


@dataclass(slots=True)
class _Known:
    """What the last election was decided from, and its result for each address."""

    owners: dict[str, str | None] = field(default_factory=dict)
    alive: frozenset[str] = frozenset()


class Speaker:
    """Holds elections whenever something it depends on changes, and at every heartbeat while there are addresses."""

    def __init__(self, client: Client, options: SpeakerOptions) -> None:
        self._client, self._options = client, options
        self._recorder = EventRecorder(client, "sampan-loadbalancer-speaker", options.node_name)
        self._services = Informer(client, SERVICES, Service, field_selector="spec.type=LoadBalancer")
        self._nodes = Informer(client, NODES, Node)
        self._slices: dict[str, _Following] = {}
        self._dirty = asyncio.Event()
        self._routes = RouteSocket()
        self._announcer = Announcer(options.interface)
        self._announcer.is_current = self._is_current
        self._health = NodeHealth(options.health_url, self._dirty.set)
        self._sequence = Sequence()
        self._socket: PacketSocket | None = None
        self._peers = Peers(0.0)
        self._known = _Known()
        self._turned = 0.0
        self._due = 0.0
        self._told_able = False
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
            self._turn(group)
            ready()
            while True:
                await self._wait()
                self._dirty.clear()
                self._turn(group)

    async def _wait(self) -> None:
        """Until something has changed; while there are addresses, not longer than until the next heartbeat is due."""
        if not self._health.is_wanted:
            await self._dirty.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, self._due - self._now())):
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

    # --- one turn

    def _turn(self, group: asyncio.TaskGroup) -> None:
        """Send a heartbeat if one is due, hold the election, and answer for what it has given to this node."""
        now = self._now()
        if self._turned and now - self._turned > PAUSE:
            self._peers.excuse(now - self._turned)
        addresses = self._addresses()
        self._follow_endpoints(addresses, group)
        self._health.is_wanted = bool(addresses)
        if not addresses:
            self._rest()
            return
        try:
            mac = self._link()
            if self._socket is None or (mac and not self._had_link):
                self._listen(now)
            self._had_link = mac is not None
            able = mac is not None and self._health.is_healthy(now)
            self._beat(now, mac, able)
            self._elect(now, addresses, mac, able)
        except OSError as error:
            log.warning("%s: %s", self._options.interface, error)
            self._rest()
            self._health.is_wanted = True  # so that there is another turn soon
            self._due = now + heartbeat.INTERVAL
        self._turned = now

    def _rest(self) -> None:
        self._announcer.close()
        self._stop_listening()
        self._known = _Known()
        self._turned = 0.0

    def _addresses(self) -> dict[str, list[Service]]:
        """What is to be announced by somebody, and the Services behind each address."""
        found: dict[str, list[Service]] = {}
        for service in sorted(self._services.items(), key=lambda each: each.metadata.key):
            if not service.is_of_class(self._options.class_name):
                continue
            for one in service.status.load_balancer.ingress:
                address = parse_address(one.ip)
                if address is None or one.ip_mode == "Proxy":
                    continue
                if any(pool.contains(str(address)) for pool in self._options.pools):
                    found.setdefault(str(address), []).append(service)
        return found

    def _link(self) -> bytes | None:
        """The hardware address of the interface; None if nothing is at its other end."""
        link = self._routes.link(self._options.interface)
        if link is None or not (link.up and link.running):
            return None
        return mac_bytes(link.mac)

    def _elect(self, now: float, addresses: dict[str, list[Service]], mac: bytes | None, able: bool) -> None:
        who = election.candidates(self._nodes.items())
        me = self._options.node_name
        alive = self._peers.alive(who.allowed - {me}, now) | (frozenset({me}) if able else frozenset())
        endpoints = {
            key: election.endpoint_nodes(one.informer.items())
            for key, one in self._slices.items()
            if one.informer.synced
        }
        waiting = self._slices.keys() - endpoints.keys()
        owners = {
            address: election.owner(address, services, who, alive, endpoints)
            for address, services in addresses.items()
            if not any(service.metadata.key in waiting for service in services)
        }
        mine = frozenset(address for address, node in owners.items() if node == me) if mac else frozenset()
        before, joined = self._known, alive - self._known.alive
        self._known = _Known(owners, alive)
        kept = mine & self._announcer.addresses
        self._announcer.follow(mine, mac or b"")
        if joined and before.alive:
            for address in kept:  # another may have answered for it while neither heard the other
                self._announcer.announce(address)
        for address in sorted(mine - kept):
            self._tell(address, addresses[address])

    def _tell(self, address: str, services: list[Service]) -> None:
        log.info("answering for %s", address)
        message = f'announcing from node "{self._options.node_name}" with protocol "layer2"'
        for service in services:
            self._recorder.event(service, "Normal", "nodeAssigned", message, kind="Service", api_version="v1")

    # --- heartbeats

    def _listen(self, now: float) -> None:
        """Begin to listen; also anew when the link is back, since nothing is known of the others then."""
        self._stop_listening()
        opened = self._socket = PacketSocket(self._options.interface, heartbeat.ETHERTYPE)
        asyncio.get_running_loop().add_reader(opened.fileno(), self._hear, opened)
        self._peers = Peers(now)
        self._due = now

    def _stop_listening(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _beat(self, now: float, mac: bytes | None, able: bool) -> None:
        """Send a heartbeat when it is time to, and at once when what it says has changed."""
        if now < self._due and able == self._told_able:
            return
        self._due, self._told_able = now + heartbeat.INTERVAL, able
        if self._socket is None or mac is None:
            return
        beat = Heartbeat(self._options.node_name, self._sequence.next(), able)
        self._socket.send(heartbeat.encode(beat, self._options.key, mac))

    def _hear(self, opened: PacketSocket) -> None:
        frame = opened.receive()
        beat = heartbeat.decode(frame, self._options.key) if frame else None
        if frame is None or beat is None or beat.node == self._options.node_name:
            return
        self._announcer.speakers.add(heartbeat.sender(frame))
        if self._peers.hear(beat, self._now()):
            self._dirty.set()

    def _is_current(self) -> bool:
        """Whether elections go on: if this process was stopped, others answer by now."""
        return self._now() - self._turned <= PAUSE

    # --- endpoints

    def _follow_endpoints(self, addresses: dict[str, list[Service]], group: asyncio.TaskGroup) -> None:
        """Watch the endpoints of every Service under the Local policy, and of no other."""
        wanted = {
            service.metadata.key: service
            for services in addresses.values()
            for service in services
            if service.spec.external_traffic_policy == "Local"
        }
        for key in self._slices.keys() - wanted.keys():
            self._slices.pop(key).task.cancel()
        for key in wanted.keys() - self._slices.keys():
            meta = wanted[key].metadata
            selector = f"{SERVICE_NAME}={meta.name}"
            slices = Informer(self._client, ENDPOINT_SLICES, Slice, namespace=meta.namespace, label_selector=selector)
            slices.add_handler(self._changed)
            self._slices[key] = _Following(slices, group.create_task(self._watch(slices)))

    async def _watch(self, slices: Informer[Slice]) -> None:
        async def note_first() -> None:
            await slices.wait_synced()
            self._dirty.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(note_first())
            await slices.run()
