"""Published Services: ports of the host's loopback that lead to Services inside the box.

A connection to such a port is joined to one made inside a node's network, to the Service's ClusterIP; from there on
it is an ordinary connection of a client in the cluster. The Service is looked up afresh for every connection, so that
one that is deleted and made again stays published. `supervisor.py` owns this; publications outlive a `stop`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from sampan.api.core_v1 import Service
from sampan.client.resources import SERVICES
from sampan.client.rest import Client
from sampan.cluster.control import ControlError, Publication, Publish
from sampan.cluster.preflight import LOOPBACK
from sampan.machinery.errors import StatusError

CHUNK = 1 << 16
CONNECT_SECONDS = 10.0
_NO_LINGER = struct.pack("ii", 1, 0)

log = logging.getLogger(__name__)

MakeSocket = Callable[[], Awaitable[socket.socket]]


class Publisher:
    """All publications of a cluster. `make_socket` gives an unconnected TCP socket inside the box."""

    def __init__(self, client: Client, make_socket: MakeSocket, record: Path) -> None:
        self._client = client
        self._make_socket = make_socket
        self._record = record
        self._servers: dict[int, tuple[Publication, asyncio.Server]] = {}

    @property
    def publications(self) -> list[Publication]:
        return [publication for publication, _ in self._servers.values()]

    async def restore(self) -> None:
        """Publishes again what was published before a stop; a port that is taken now is left out, and logged."""
        if not self._record.exists():
            return
        for publication in msgspec.json.decode(self._record.read_bytes(), type=list[Publication]):
            try:
                await self._listen(publication)
            except OSError as error:
                log.warning("port %d is not published again: %s", publication.host_port, error)

    async def add(self, wanted: Publish) -> Publication:
        """Raises ControlError if there is no such Service or the port cannot be used."""
        name = f"{wanted.namespace}/{wanted.service}"
        try:
            await self._address(wanted.namespace, wanted.service, wanted.port)
        except (StatusError, OSError) as error:
            raise ControlError(f"{name}: {error}") from error
        publication = Publication(
            namespace=wanted.namespace, service=wanted.service, port=wanted.port, host_port=wanted.host_port
        )
        try:
            publication = await self._listen(publication)
        except OSError as error:
            raise ControlError(f"port {wanted.host_port} of {LOOPBACK}: {error.strerror}") from error
        self._save()
        return publication

    async def remove(self, host_port: int) -> None:
        """Raises ControlError if nothing is published there."""
        if host_port not in self._servers:
            raise ControlError(f"nothing is published on port {host_port}")
        _, server = self._servers.pop(host_port)
        server.close()
        self._save()

    def close(self) -> None:
        for _, server in self._servers.values():
            server.close()

    def _save(self) -> None:
        self._record.write_bytes(msgspec.json.encode(self.publications))

    async def _listen(self, publication: Publication) -> Publication:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._join(publication, reader, writer)

        server = await asyncio.start_server(connected, LOOPBACK, publication.host_port)
        port: int = server.sockets[0].getsockname()[1]
        publication = msgspec.structs.replace(publication, host_port=port)
        self._servers[port] = (publication, server)
        return publication

    async def _address(self, namespace: str, name: str, port: str) -> tuple[str, int]:
        service = await self._client.get(SERVICES, name, namespace, type=Service)
        return target(service, port)

    async def _join(self, publication: Publication, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries one connection until both directions have ended."""
        try:
            address = await self._address(publication.namespace, publication.service, publication.port)
            inside_reader, inside_writer = await self._connect(address)
        except (ControlError, StatusError, OSError, TimeoutError) as error:
            log.warning("%s/%s: %s", publication.namespace, publication.service, error)
            _reset(writer)
            return
        await asyncio.gather(_carry(reader, inside_writer), _carry(inside_reader, writer))

    async def _connect(self, address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        inside = await self._make_socket()
        inside.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(inside, address)
        except BaseException:
            inside.close()
            raise
        return await asyncio.open_connection(sock=inside)


def target(service: Service, port: str) -> tuple[str, int]:
    """Where in the cluster a Service's port is: by name, by number, or its only one. Raises ControlError."""
    address = service.spec.cluster_ip
    if not address or address == "None":
        raise ControlError(f"{service.metadata.name} has no cluster IP to forward to")
    ports = [one for one in service.spec.ports if one.protocol == "TCP"]
    wanted = [one for one in ports if port in ("", one.name, str(one.port))]
    if not wanted or (not port and len(wanted) > 1):
        offered = ", ".join(f"{one.port} ({one.name})" if one.name else str(one.port) for one in ports) or "none"
        which = f"no TCP port {port}" if port else "several TCP ports" if ports else "no TCP port"
        raise ControlError(f"{service.metadata.name} has {which}; it has: {offered}")
    return address, wanted[0].port


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection so that the other side sees a failure, not an end."""
    connected = writer.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies one direction; its end is passed on, an error ends both."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        _reset(writer)
