"""Flows with a story: ports that differ per pod, two families, Services that change kind, packets out of place."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sampan.api.core_v1 import ClientIPConfig, SessionAffinityConfig
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.objects import Slice
from support.proxyatwork import Proxy, at_work
from support.proxycases import CLUSTER_IP, EVERYWHERE, LOAD_BALANCER_IP, LOCAL, NODE_PORT, Case, service, slice_
from support.proxyworld import ADDRESSES, NODE, OTHER_PORT, PORT, World, world

pytestmark = pytest.mark.kernel

FAR_AWAY = 1 << 30
"""A distance of sequence numbers that no window spans."""

AWAY_SECONDS = 1

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
    proxy.forget_attempts()


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


def test_affinity_ends_when_a_client_has_been_away_for_its_timeout(proxy: Proxy) -> None:
    """Before that, it stays; each connection begins the time anew; afterwards any endpoint may be next."""
    config = SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=AWAY_SECONDS))
    sticky = {"session_affinity": "ClientIP", "session_affinity_config": config}
    proxy.show(Case("sticky", "pod", "cluster-ip", spec=sticky))
    target, deadline = (CLUSTER_IP[4], 80), time.monotonic() + 60
    seen = {proxy.world.ask("pod", target)[0] for _ in range(10)}
    assert len(seen) == 1
    while len(seen) == 1 and time.monotonic() < deadline:
        time.sleep(AWAY_SECONDS + 0.1)
        seen.add(proxy.world.ask("pod", target)[0])
    assert len(seen) > 1


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.0.0.2"])
def test_node_ports_answer_the_node_at_its_loopback_addresses_in_iptables_mode_only(proxy: Proxy, ip: str) -> None:
    """As upstream's; in the other modes nothing is there. Whom the policy lets through makes no difference."""
    for policy in ("Cluster", "Local"):
        proxy.show(Case("here", "node", "node-port", spec={"external_traffic_policy": policy}))
        if proxy.mode == "iptables":
            assert proxy.world.ask("node", (ip, NODE_PORT))[0] in EVERYWHERE
        else:
            with pytest.raises(ConnectionRefusedError):
                proxy.world.ask("node", (ip, NODE_PORT))


def test_others_do_not_reach_what_listens_at_the_nodes_loopback_address(proxy: Proxy) -> None:
    """Although the kernel routes such addresses, for the sake of node ports there."""
    proxy.show(Case("here", "node", "node-port"))
    mac = bytes.fromhex(proxy.world.sh("node", "cat /sys/class/net/eth0/address").strip().replace(":", ""))
    with proxy.world.inside("node", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as hearing:
        hearing.bind(("", 0))
        port = hearing.getsockname()[1]
        for ip in ("127.0.0.1", NODE[4]):
            proxy.world.inside("outside", lambda ip=ip: inject(mac, ip, port))  # type: ignore[misc]
        hearing.settimeout(5)
        assert hearing.recv(100) == NODE[4].encode(), "of the two datagrams, only the one to the node's own address"


def inject(mac: bytes, ip: str, port: int) -> None:
    """Send a datagram that says where it goes to a neighbour, whatever routing says of such an address."""
    said = ip.encode()
    ends = socket.inet_aton(ADDRESSES["outside"][4]) + socket.inet_aton(ip)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(said), 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as raw:
        datagram = struct.pack("!HHHH", 6000, port, 8 + len(said), 0) + said
        raw.sendto(header + datagram, ("eth0", 0x0800, 0, 0, mac))


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
