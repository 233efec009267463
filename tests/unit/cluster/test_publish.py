"""A published port leads to the Service's port that was meant, carries bytes both ways, and says why it cannot."""

import asyncio
import socket
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from sampan.api.core_v1 import Service
from sampan.client.rest import Client
from sampan.cluster.control import ControlError, Publish
from sampan.cluster.publish import Publisher, target
from sampan.machinery.errors import NotFound


def service(ip: str, *ports: tuple[str, int, str]) -> Service:
    listed = [{"name": name, "port": port, "protocol": protocol} for name, port, protocol in ports]
    document = {"metadata": {"name": "web"}, "spec": {"clusterIP": ip, "ports": listed}}
    return msgspec.convert(document, Service)


ONE = service("10.96.0.5", ("", 80, "TCP"))
MANY = service("10.96.0.5", ("http", 80, "TCP"), ("https", 443, "TCP"), ("dns", 53, "UDP"))


@pytest.mark.parametrize(
    ("given", "port", "expected"),
    [(ONE, "", 80), (ONE, "80", 80), (MANY, "http", 80), (MANY, "443", 443), (MANY, "https", 443)],
)
def test_the_port_is_found_by_name_by_number_or_alone(given: Service, port: str, expected: int) -> None:
    assert target(given, port) == ("10.96.0.5", expected)


@pytest.mark.parametrize(
    ("given", "port", "message"),
    [
        (MANY, "", "several TCP ports; it has: 80 \\(http\\), 443 \\(https\\)"),
        (MANY, "53", "no TCP port 53"),
        (ONE, "81", "no TCP port 81; it has: 80"),
        (service("10.96.0.5"), "", "no TCP port"),
        (service("None", ("", 80, "TCP")), "", "no cluster IP"),
        (service("", ("", 80, "TCP")), "", "no cluster IP"),
    ],
)
def test_what_cannot_be_meant_is_explained(given: Service, port: str, message: str) -> None:
    with pytest.raises(ControlError, match=message):
        target(given, port)


class FakeClient:
    """Knows Services by name; their cluster IP is this machine's loopback."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}

    async def get(self, _resource: object, name: str, _namespace: str, type: object) -> Service:
        if name not in self.services:
            raise NotFound(f'services "{name}" not found')
        return self.services[name]


async def make_socket() -> socket.socket:
    return socket.socket()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"echo " + await reader.read())
    await writer.drain()
    writer.close()


async def talk(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def test_a_published_service_is_reached_follows_changes_and_survives_a_stop(tmp_path: Path) -> None:
    async def main() -> None:
        first = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        client = FakeClient()
        client.services["web"] = service("127.0.0.1", ("", port, "TCP"))
        record = tmp_path / "published.json"
        publisher = Publisher(cast(Client, client), make_socket, record)
        published = await publisher.add(Publish(namespace="default", service="web"))
        assert await talk(published.host_port) == b"echo hello"

        second = await asyncio.start_server(echo, "127.0.0.1", 0)
        first.close()
        client.services["web"] = service("127.0.0.1", ("", second.sockets[0].getsockname()[1], "TCP"))
        assert await talk(published.host_port) == b"echo hello"

        publisher.close()
        resumed = Publisher(cast(Client, client), make_socket, record)
        await resumed.restore()
        assert resumed.publications == [published]
        assert await talk(published.host_port) == b"echo hello"
        await resumed.remove(published.host_port)
        assert resumed.publications == []
        with pytest.raises(ControlError, match="nothing is published"):
            await resumed.remove(published.host_port)
        second.close()

    asyncio.run(main())


def test_what_cannot_be_published_is_refused_and_a_dead_service_only_ends_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        client: Any = FakeClient()
        publisher = Publisher(client, make_socket, tmp_path / "published.json")
        with pytest.raises(ControlError, match='services "web" not found'):
            await publisher.add(Publish(namespace="default", service="web"))
        client.services["web"] = service("127.0.0.1", ("", 1, "TCP"))
        published = await publisher.add(Publish(namespace="default", service="web"))
        with pytest.raises(ControlError, match=f"port {published.host_port}"):
            await publisher.add(Publish(namespace="default", service="web", host_port=published.host_port))
        for _ in range(2):
            with pytest.raises(ConnectionError):
                assert await talk(published.host_port) == b"never"
        publisher.close()

    asyncio.run(main())
