"""Flows with a story: ports that differ per pod, two families, Services that change kind, packets out of place."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.objects import Slice
from support.proxyatwork import Proxy, at_work
from support.proxycases import CLUSTER_IP, LOAD_BALANCER_IP, LOCAL, NODE_PORT, Case, service, slice_
from support.proxyworld import ADDRESSES, NODE, OTHER_PORT, PORT, World, world

pytestmark = pytest.mark.kernel

FAR_AWAY = 1 << 30
"""A distance of sequence numbers that no window spans."""

EVERYTHING = socket.htons(3)


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        made.serve("local-2", 4, "TCP", OTHER_PORT)
        yield made


@pytest.fixture(scope="module", params=list(BACKENDS))
def proxy(request: pytest.FixtureRequest, the_world: World) -> Iterator[Proxy]:
    with at_work(request.param, the_world) as made:
        yield made


def test_named_target_port_may_differ_from_pod_to_pod(proxy: Proxy) -> None:
    """`targetPort: web` is 8080 in one pod and 9090 in the next: a slice for each, and both are reached."""
    second = slice_(Case("", "pod", "cluster-ip", endpoints=("local-2",)), 4)
    (port,) = second.ports
    other = Slice(
        metadata=type(second.metadata)(name="web-2", namespace="default", labels=second.metadata.labels),
        address_type=second.address_type,
        ports=(type(port)(name=port.name, protocol=port.protocol, port=OTHER_PORT),),
        endpoints=second.endpoints,
    )
    proxy.tracker.slice_changed(None, other)
    proxy.show(Case("", "pod", "cluster-ip", endpoints=("local-1",)))
    seen = {proxy.world.ask("pod", (CLUSTER_IP[4], 80))[0] for _ in range(40)}
    proxy.tracker.slice_changed(other, None)
    assert seen == set(LOCAL)


def test_one_service_serves_both_families(proxy: Proxy) -> None:
    """A dual-stack Service is reached by either of its cluster IPs and at the node's port in either family."""
    both = {"cluster_ips": (CLUSTER_IP[4], CLUSTER_IP[6])}
    proxy.tracker.slice_changed(None, named(slice_(Case("", "pod", "cluster-ip"), 6), "web-6"))
    proxy.show(Case("", "pod", "cluster-ip", spec=both))
    for family in (4, 6):
        for target in ((CLUSTER_IP[family], 80), (NODE[family], NODE_PORT)):
            assert proxy.world.ask("pod", target)[0] in ADDRESSES
    proxy.tracker.slice_changed(named(slice_(Case("", "pod", "cluster-ip"), 6), "web-6"), None)


def named(given: Slice, name: str) -> Slice:
    meta = type(given.metadata)(name=name, namespace="default", labels=given.metadata.labels)
    return Slice(metadata=meta, address_type=given.address_type, ports=given.ports, endpoints=given.endpoints)


def test_an_address_whose_load_balancer_is_a_proxy_is_left_to_it(proxy: Proxy) -> None:
    """`ipMode: Proxy`: packets to the address leave the node for the load balancer; `VIP`: the node serves it."""
    target = (LOAD_BALANCER_IP[4], 80)
    proxy.show(Case("", "pod", "load-balancer", spec={"ip_mode": "VIP"}))
    assert proxy.world.ask("pod", target)
    proxy.show(Case("", "pod", "load-balancer", spec={"ip_mode": "Proxy"}))
    before = proxy.world.count_leaving(target[0])
    with pytest.raises(OSError):
        proxy.world.ask("pod", target, timeout=0.3)
    assert proxy.world.count_leaving(target[0]) > before


@pytest.mark.parametrize("kind", ["ExternalName", "headless"])
def test_services_without_a_cluster_ip_leave_nothing(proxy: Proxy, kind: str) -> None:
    """A Service that becomes ExternalName or headless gives its addresses up."""
    proxy.show(Case("", "pod", "cluster-ip"))
    assert proxy.world.ask("pod", (CLUSTER_IP[4], 80))
    spec = {"type": kind} if kind == "ExternalName" else {"type": "ClusterIP", "cluster_ip": "None"}
    proxy.tracker.service_changed(None, service(Case("", "pod", "cluster-ip", spec=spec), 4))
    assert proxy.world.on_node(proxy.syncer.sync)
    with pytest.raises(OSError):
        proxy.world.ask("pod", (CLUSTER_IP[4], 80), timeout=0.3)


def test_packet_out_of_place_does_not_reset_a_connection(proxy: Proxy) -> None:
    """An answer far outside the window is not translated back; passed on, it would make the client reset the pod's
    connection, so it is dropped."""
    if proxy.mode == "userspace":
        pytest.skip("the client's connection is with the proxy; no packet of the pod's goes on to the client")
    proxy.show(Case("", "pod", "cluster-ip", endpoints=("local-1",)))
    listening = proxy.world.inside("local-1", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, EVERYTHING))
    with listening, proxy.world.connect("pod", (CLUSTER_IP[4], 80)) as sock:
        assert proxy.world.ask_again(sock)[0] == "local-1"
        client = (ADDRESSES["pod"][4], sock.getsockname()[1])
        sequence, acknowledged = last_answer(listening, client[1])
        proxy.world.inside("local-1", lambda: send(ADDRESSES["local-1"][4], client, sequence + FAR_AWAY, acknowledged))
        assert proxy.world.ask_again(sock)[0] == "local-1"


def last_answer(listening: socket.socket, port: int) -> tuple[int, int]:
    """Sequence and acknowledgement number of the last packet that the server sent to that port."""
    listening.setblocking(False)
    found = (0, 0)
    with suppress(BlockingIOError):
        while True:
            segment = listening.recv(2000)[20:]
            if len(segment) >= 20 and struct.unpack_from("!HH", segment) == (PORT, port):
                found = struct.unpack_from("!II", segment, 4)
    assert found != (0, 0)
    return found


def send(source: str, client: tuple[str, int], sequence: int, acknowledged: int) -> None:
    """One TCP segment from the server's port that only acknowledges."""
    ends = socket.inet_aton(source) + socket.inet_aton(client[0])
    segment = struct.pack("!HHIIBBHHH", PORT, client[1], sequence % (1 << 32), acknowledged, 5 << 4, 0x10, 1024, 0, 0)
    pseudo = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(segment, (client[0], 0))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
