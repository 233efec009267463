"""A published port leads to the Service's port that was meant, carries bytes both ways, and says why it cannot."""

import asyncio
import socket
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from sampan.api.core_v1 import Service
from sampan.client.rest import Client
from sampan.cluster.control import ControlError, Publication, Publish
from sampan.cluster.hostports import bind
from sampan.cluster.publish import LAN, Publisher, Target, plan, target
from sampan.cluster.relay import DescriptorBudget
from sampan.machinery.errors import NotFound


def service(ip: str, *ports: tuple[str, int, str], external: str = "", kind: str = "ClusterIP") -> Service:
    listed = [{"name": name, "port": port, "protocol": protocol} for name, port, protocol in ports]
    status = {"loadBalancer": {"ingress": [{"ip": external}]}} if external else {}
    spec = {"clusterIP": ip, "ports": listed, "type": kind}
    return msgspec.convert({"metadata": {"name": "web"}, "spec": spec, "status": status}, Service)


ONE = service("10.96.0.5", ("", 80, "TCP"))
MANY = service("10.96.0.5", ("http", 80, "TCP"), ("https", 443, "TCP"), ("dns", 53, "UDP"), ("dns-tcp", 53, "TCP"))
ODD = service("10.96.0.5", ("m3ua", 2905, "SCTP"))


def wanted(**ports: int) -> Publish:
    """Keyword arguments cannot be empty: `any` stands for no port."""
    return Publish(
        namespace="default", service="web", ports={"" if one == "any" else one: to for one, to in ports.items()}
    )


@pytest.mark.parametrize(
    ("given", "port", "host_port", "expected"),
    [
        (ONE, "any", 8080, [("", "TCP", 8080)]),
        (ONE, "80", 0, [("80", "TCP", 0)]),
        (MANY, "http", 8080, [("http", "TCP", 8080)]),
        (MANY, "443", 0, [("443", "TCP", 0)]),
        (MANY, "53", 5353, [("53", "UDP", 5353), ("53", "TCP", 5353)]),
        (MANY, "53/udp", 0, [("53", "UDP", 0)]),
        (MANY, "any", 0, [("http", "TCP", 0), ("https", "TCP", 0), ("dns", "UDP", 0), ("dns-tcp", "TCP", 0)]),
    ],
)
def test_ports_are_meant_by_name_by_number_by_protocol_or_all(
    given: Service, port: str, host_port: int, expected: list[tuple[str, str, int]]
) -> None:
    made = plan(given, wanted(**{port: host_port}))
    assert [(one.port, one.protocol, one.host_port) for one in made] == expected
    for one in made:
        found = target(given, one)
        assert one.port in ("", str(found.port)) or one.port in [port.name for port in given.spec.ports]


@pytest.mark.parametrize(
    ("given", "port", "host_port", "message"),
    [
        (MANY, "any", 8080, "one host port for several ports; choose from: 80/TCP \\(http\\), 443/TCP"),
        (MANY, "443/udp", 0, "no port 443/udp"),
        (ONE, "81", 0, "no port 81; it has: 80/TCP"),
        (ODD, "any", 0, "SCTP cannot be published"),
        (service("10.96.0.5"), "any", 0, "has no port; it has: none"),
        (service("None", ("", 80, "TCP")), "any", 0, "no cluster IP"),
        (service("", ("", 80, "TCP"), kind="ExternalName"), "any", 0, "no cluster IP"),
    ],
)
def test_what_cannot_be_meant_is_explained(given: Service, port: str, host_port: int, message: str) -> None:
    with pytest.raises(ControlError, match=message):
        plan(given, wanted(**{port: host_port}))


def test_a_load_balancer_is_asked_at_its_external_address_from_outside_the_nodes_once_it_has_one() -> None:
    publication = Publication(namespace="default", service="web", port="80", host_port=1)
    pending = service("10.96.0.5", ("", 80, "TCP"), kind="LoadBalancer")
    assert target(pending, publication) == Target(None, "10.96.0.5", 80)
    ready = service("10.96.0.5", ("", 80, "TCP"), kind="LoadBalancer", external="10.2.2.200")
    assert target(ready, publication) == Target(LAN, "10.2.2.200", 80)


class FakeClient:
    """Knows Services by name; their cluster IP is this machine's loopback."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}

    async def get(self, _resource: object, name: str, _namespace: str, type: object) -> Service:
        if name not in self.services:
            raise NotFound(f'services "{name}" not found')
        return self.services[name]


async def make_socket(*, node: str | None = None, datagram: bool = False) -> socket.socket:
    return socket.socket(type=socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)


def publisher(client: FakeClient, directory: Path) -> Publisher:
    record = directory / "published.json"
    return Publisher(cast(Client, client), make_socket, record, DescriptorBudget(100), {"node-1": "127.0.0.1"})


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
        before = publisher(client, tmp_path)
        (published,) = await before.add(wanted(any=0))
        assert await talk(published.host_port) == b"echo hello"

        second = await asyncio.start_server(echo, "127.0.0.1", 0)
        first.close()
        client.services["web"] = service("127.0.0.1", ("", second.sockets[0].getsockname()[1], "TCP"))
        assert await talk(published.host_port) == b"echo hello"

        before.close()
        resumed = publisher(client, tmp_path)
        resumed.restore()
        assert resumed.publications == [published]
        assert await talk(published.host_port) == b"echo hello"
        resumed.remove(published.host_port)
        assert resumed.publications == []
        with pytest.raises(ControlError, match="nothing is published"):
            resumed.remove(published.host_port)
        second.close()

    asyncio.run(main())


def test_what_an_earlier_release_has_recorded_is_published_again(tmp_path: Path) -> None:
    async def main() -> None:
        with bind("TCP", "127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        old = [{"namespace": "default", "service": "web", "port": "", "host_port": port}]
        (tmp_path / "published.json").write_bytes(msgspec.json.encode(old))
        resumed = publisher(FakeClient(), tmp_path)
        resumed.restore()
        assert [(one.place, one.protocol) for one in resumed.publications] == [(f"127.0.0.1:{port}", "TCP")]
        resumed.close()

    asyncio.run(main())


def test_what_cannot_be_published_is_refused_and_a_dead_service_only_ends_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        client: Any = FakeClient()
        made = publisher(client, tmp_path)
        with pytest.raises(ControlError, match='services "web" not found'):
            await made.add(wanted(any=0))
        client.services["web"] = service("127.0.0.1", ("", 1, "TCP"))
        (published,) = await made.add(wanted(any=0))
        with pytest.raises(ControlError, match=f"port {published.host_port}"):
            await made.add(wanted(any=published.host_port))
        for _ in range(2):
            with pytest.raises(ConnectionError):
                assert await talk(published.host_port) == b"never"
        made.close()

    asyncio.run(main())


def test_of_several_ports_all_are_published_or_none(tmp_path: Path) -> None:
    async def main() -> None:
        client: Any = FakeClient()
        client.services["web"] = MANY
        made = publisher(client, tmp_path)
        with bind("TCP", "127.0.0.1", 0) as taken, pytest.raises(ControlError, match="Address already in use"):
            await made.add(wanted(http=0, https=taken.getsockname()[1]))
        assert made.publications == []
        both = await made.add(wanted(**{"53": 0}))
        assert {one.protocol for one in both} == {"TCP", "UDP"}
        assert len({one.host_port for one in both}) == 1, "both answer on one port, as resolvers expect"
        made.remove(both[0].host_port, "UDP")
        assert [one.protocol for one in made.publications] == ["TCP"]
        made.close()

    asyncio.run(main())


def test_a_mapped_port_leads_to_its_node_and_stays_for_as_long_as_the_cluster(tmp_path: Path) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        sock = bind("TCP", "127.0.0.1", 0)
        port = sock.getsockname()[1]
        mapping = Publication(node="node-1", port=str(server.sockets[0].getsockname()[1]), host_port=port)
        made = publisher(FakeClient(), tmp_path)
        made.map_ports([mapping], [sock])
        assert await talk(port) == b"echo hello"
        with pytest.raises(ControlError, match="extraPortMappings"):
            made.remove(port)
        assert made.publications == [mapping]
        made.close()
        server.close()

    asyncio.run(main())
