"""Published ports: ports of the machine that lead to a Service inside the box, or to a port of a node.

A Service is published on the machine's loopback while the cluster runs. It is looked up for every connection, so that
it stays published when it is deleted and created again. Connections go to its EXTERNAL-IP from the nodes' LAN, as those
of an outside client; without an EXTERNAL-IP, they go to its ClusterIP from a node. `extraPortMappings` of the
configuration lead to a node's address, whatever listens there. `relay.py` forwards the bytes; `supervisor.py` owns the
`Publisher`; publications survive a `stop`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from sampan.api.core_v1 import Service, ServicePort
from sampan.client.resources import SERVICES
from sampan.client.rest import Client
from sampan.cluster import hostports
from sampan.cluster.control import ControlError, Publication, Publish
from sampan.cluster.relay import DescriptorBudget, Relay, TCPRelay, UDPRelay, Unreachable
from sampan.machinery.errors import StatusError

CONNECT_SECONDS = 10.0
MAX_CONNECTING = 64
"""Concurrent connection attempts; others wait, because the box makes a socket for each of them."""
LAN = ""
"""In place of a node's name: the box's own network, where clients outside the nodes are."""

log = logging.getLogger(__name__)

Key = tuple[str, str, int]
"""Protocol, address and port on the machine."""


class MakeSocket(Protocol):
    """An unconnected socket in the network of a node, the first if None, or of the box itself without a name."""

    async def __call__(self, *, node: str | None = None, datagram: bool = False) -> socket.socket: ...


@dataclass(frozen=True, slots=True)
class Target:
    """An address and a port, and the network to connect from (`node`, as for MakeSocket)."""

    node: str | None
    address: str
    port: int


class Publisher:
    """All publications of a cluster; `nodes` gives the nodes' addresses by name. Used within one event loop."""

    def __init__(
        self,
        client: Client,
        make_socket: MakeSocket,
        record: Path,
        budget: DescriptorBudget,
        nodes: Mapping[str, str] = {},
    ) -> None:
        self._client = client
        self._make_socket = make_socket
        self._record = record
        self._budget = budget
        self._nodes = nodes
        self._relays: dict[Key, tuple[Publication, Relay]] = {}
        self._connecting = asyncio.Semaphore(MAX_CONNECTING)

    @property
    def publications(self) -> list[Publication]:
        return [publication for publication, _ in self._relays.values()]

    def map_ports(self, publications: Iterable[Publication], sockets: Sequence[socket.socket]) -> None:
        """Starts a relay on each socket for its publication, and takes ownership of the sockets."""
        for publication, sock in zip(publications, sockets, strict=True):
            self._start_relay(publication, sock)

    def restore(self) -> None:
        """Publishes again what was published before a stop; a port that is taken now is left out, and logged."""
        if not self._record.exists():
            return
        for publication in msgspec.json.decode(self._record.read_bytes(), type=list[Publication]):
            try:
                self._listen(publication)
            except OSError as error:
                log.warning("port %d is not published again: %s", publication.host_port, error)

    async def add(self, wanted: Publish) -> list[Publication]:
        """Publishes all requested ports, or none.

        Raises ControlError if there is no such Service or a port cannot be used.
        """
        try:
            service = await self._client.get(SERVICES, wanted.service, wanted.namespace, type=Service)
        except (StatusError, OSError) as error:
            raise ControlError(f"{wanted.namespace}/{wanted.service}: {error}") from error
        planned = plan(service, wanted)
        made: list[Publication] = []
        try:
            for publication in planned:
                made.append(self._listen_beside(publication, made))
        except OSError as error:
            for publication in made:
                self._close_relay(_key(publication))
            raise ControlError(f"port {publication.host_port} of {publication.address}: {error.strerror}") from error
        self._save()
        return made

    def remove(self, host_port: int, protocol: str = "") -> None:
        """Ends connections as well. Raises ControlError if nothing is published there."""
        found = [key for key in self._relays if key[2] == host_port and protocol in ("", key[0])]
        if not found:
            raise ControlError(f"nothing is published on port {host_port}")
        if any(self._relays[key][0].node for key in found):
            raise ControlError(f"port {host_port} is among the configuration's extraPortMappings")
        for key in found:
            self._close_relay(key)
        self._save()

    def close(self) -> None:
        for _, relay in self._relays.values():
            relay.close()

    def _close_relay(self, key: Key) -> None:
        _, relay = self._relays.pop(key)
        relay.close()

    def _save(self) -> None:
        kept = [publication for publication in self.publications if not publication.node]
        fresh = self._record.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(kept))
        fresh.replace(self._record)

    def _listen_beside(self, publication: Publication, others: Sequence[Publication]) -> Publication:
        """As `_listen`; if any host port will do, TCP and UDP of one port number get the same one if it is free."""
        if publication.host_port == 0:
            for other in others:
                if other.protocol != publication.protocol:
                    try:
                        return self._listen(msgspec.structs.replace(publication, host_port=other.host_port))
                    except OSError:
                        continue
        return self._listen(publication)

    def _listen(self, publication: Publication) -> Publication:
        sock = hostports.bind(publication.protocol, publication.address, publication.host_port)
        publication = msgspec.structs.replace(publication, host_port=sock.getsockname()[1])
        self._start_relay(publication, sock)
        return publication

    def _start_relay(self, publication: Publication, sock: socket.socket) -> None:
        async def dial() -> socket.socket:
            return await self._dial(publication)

        kind = UDPRelay if publication.protocol == "UDP" else TCPRelay
        self._relays[_key(publication)] = (publication, kind(sock, dial, self._budget, publication.target))

    async def _dial(self, publication: Publication) -> socket.socket:
        """Raises Unreachable, OSError."""
        try:
            async with self._connecting, asyncio.timeout(CONNECT_SECONDS):
                target = await self._target(publication)
                inside = await self._make_socket(node=target.node, datagram=publication.protocol == "UDP")
                return await _connect(inside, (target.address, target.port))
        except TimeoutError as error:
            raise Unreachable(f"no connection within {CONNECT_SECONDS:.0f} s") from error

    async def _target(self, publication: Publication) -> Target:
        if publication.node:
            return Target(LAN, self._nodes[publication.node], int(publication.port))
        try:
            service = await self._client.get(SERVICES, publication.service, publication.namespace, type=Service)
            return target(service, publication)
        except (ControlError, StatusError) as error:
            raise Unreachable(str(error)) from error


async def _connect(inside: socket.socket, address: tuple[str, int]) -> socket.socket:
    inside.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(inside, address)
    except BaseException:
        inside.close()
        raise
    return inside


def _key(publication: Publication) -> Key:
    return publication.protocol, publication.address, publication.host_port


def plan(service: Service, wanted: Publish) -> list[Publication]:
    """A publication for each requested port; host port 0 means any free one. Raises ControlError."""
    address_of(service)
    alone = len(service.spec.ports) == 1
    return [
        Publication(
            namespace=wanted.namespace,
            service=wanted.service,
            port=named.partition("/")[0] or ("" if alone else port.name or str(port.port)),
            host_port=host_port,
            protocol=port.protocol,
        )
        for named, host_port in wanted.ports.items()
        for port in _chosen(service, named, host_port)
    ]


def _chosen(service: Service, named: str, host_port: int) -> list[ServicePort]:
    """The ports that a name, a number or "" (all) selects. Raises ControlError, also if `host_port` is too few."""
    found = _matching(service, named)
    if not found:
        which = f"no port {named}" if named else "no port"
        raise ControlError(f"{service.metadata.name} has {which}; it has: {_offer(service.spec.ports)}")
    if unsupported := [one for one in found if one.protocol not in ("TCP", "UDP")]:
        raise ControlError(f"{unsupported[0].protocol} cannot be published; choose from: {_offer(service.spec.ports)}")
    if host_port and len({one.protocol for one in found}) < len(found):
        raise ControlError(f"one host port for several ports; choose from: {_offer(found)}")
    return found


def _matching(service: Service, named: str) -> list[ServicePort]:
    text, _, protocol = named.partition("/")
    return [
        one
        for one in service.spec.ports
        if text in ("", one.name, str(one.port)) and protocol.upper() in ("", one.protocol)
    ]


def _offer(ports: Iterable[ServicePort]) -> str:
    offered = [f"{one.port}/{one.protocol}" + (f" ({one.name})" if one.name else "") for one in ports]
    return ", ".join(offered) or "none"


def target(service: Service, publication: Publication) -> Target:
    """The current target of a published port. Raises ControlError."""
    found = _matching(service, f"{publication.port}/{publication.protocol}")
    if len(found) != 1:
        offer = _offer(service.spec.ports)
        raise ControlError(f"no single port {publication.port}/{publication.protocol}; there are: {offer}")
    node, address = address_of(service)
    return Target(node, address, found[0].port)


def address_of(service: Service) -> tuple[str | None, str]:
    """The node to connect from (as for MakeSocket) and the address of a Service. Raises ControlError."""
    if service.spec.type == "LoadBalancer":
        for ingress in service.status.load_balancer.ingress:
            if ingress.ip:
                return LAN, ingress.ip
    address = service.spec.cluster_ip
    if not address or address == "None":
        raise ControlError(f"{service.metadata.name} has no cluster IP to forward to")
    return None, address
