"""Pods on one node: who reaches whom, with which source address; what a restart finds and what removal leaves."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.kernel import mounts, netns
from sampan.kernel.nft import NftError
from sampan.kernel.rtnetlink import RouteSocket
from sampan.node.network import NodeNetwork, PodNetwork, PodSandbox, interface_name
from sampan.node.node_rules import HostPort
from support.isolated import NODE_IP, isolated

pytestmark = pytest.mark.kernel

POD_CIDR = "10.244.1.0/24"


@pytest.fixture(params=["nft", "iptables"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the node's own rules; with iptables, as if the kernel had no nftables for IPv4."""

    async def refuse(script: str) -> None:
        raise NftError("No such file or directory")

    if request.param == "iptables":
        monkeypatch.setattr("sampan.node.node_firewall.load", refuse)


async def node(directory: Path) -> PodNetwork:
    network = PodNetwork(NodeNetwork(node_ip=NODE_IP, pod_cidr=POD_CIDR, state=directory))
    await network.setup_node()
    return network


def inside(pod: PodSandbox | None, function: Callable[[], socket.socket]) -> socket.socket:
    """A socket of a pod, or of the node."""
    if pod is None or pod.network is None:
        return function()
    return netns.run_in(pod.network, function)


def connect(client: PodSandbox | None, server: PodSandbox | None, address: str, port: int, listening: int = 80) -> str:
    """Connect, and give the source address that the server saw."""
    with (
        inside(server, lambda: socket.create_server(("0.0.0.0", listening))) as listener,
        inside(client, lambda: socket.create_connection((address, port), timeout=5)),
    ):
        accepted, (source, _) = listener.accept()
        accepted.close()
        return str(source)


@isolated
async def test_pods_and_node_reach_each_other_by_their_own_addresses(tmp_path: Path) -> None:
    network = await node(tmp_path)
    one, two = await network.add("one", hostname="one"), await network.add("two", hostname="two")
    cases = (
        ("pod to pod", one, two, two.ips[0], one.ips[0]),
        ("node to pod", None, two, two.ips[0], NODE_IP),
        ("pod to node", one, None, NODE_IP, one.ips[0]),
        ("pod to itself", one, one, one.ips[0], one.ips[0]),
        ("pod to its loopback", one, one, "127.0.0.1", "127.0.0.1"),
    )
    for name, client, server, address, source in cases:
        assert connect(client, server, address, 80) == source, name


@pytest.mark.usefixtures("tool")
@isolated
async def test_pods_leave_the_cluster_with_the_nodes_address(tmp_path: Path) -> None:
    """Only destinations outside of the cluster's own ranges see the node instead of the pod."""
    network = await node(tmp_path)
    one = await network.add("one", hostname="one")
    world = tmp_path / "world"
    netns.create_network(world)
    for line in (
        "ip link add w0 type veth peer name w1",
        f"ip link set w1 netns {world}",
        "ip address add 192.0.2.1/24 dev w0",
        "ip link set w0 up",
        f"nsenter --net={world} ip address add 192.0.2.2/24 dev w1",
        f"nsenter --net={world} ip link set w1 up",
    ):
        subprocess.run(line.split(), check=True)
    outside = PodSandbox(pod_uid="", network=world, ipc=None, uts=None, ips=())
    assert connect(one, outside, "192.0.2.2", 80) == "192.0.2.1"
    netns.delete(world)


@pytest.mark.usefixtures("tool")
@isolated
async def test_host_ports_lead_to_the_pod_from_everywhere(tmp_path: Path) -> None:
    network = await node(tmp_path)
    one = await network.add("one", hostname="one", host_ports=[HostPort(8080, 80)])
    two = await network.add("two", hostname="two")
    await network.setup_node()
    assert connect(None, one, NODE_IP, 8080) == NODE_IP
    assert connect(None, one, "127.0.0.1", 8080) == NODE_IP
    assert connect(two, one, NODE_IP, 8080) == two.ips[0]
    assert connect(one, one, NODE_IP, 8080) == NODE_IP
    await network.remove("one")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((NODE_IP, 8080), timeout=5)


@pytest.mark.usefixtures("tool")
@isolated
async def test_a_host_port_is_no_port_of_services(tmp_path: Path) -> None:
    """In the ipvs mode a cluster IP is an address of the node, too: what answers there is the Service."""
    network = await node(tmp_path)
    await network.add("one", hostname="one", host_ports=[HostPort(8080, 80)])
    two = await network.add("two", hostname="two")
    for line in ("ip link add kube-ipvs0 type bridge", "ip address add 10.96.0.50/32 dev kube-ipvs0"):
        subprocess.run(line.split(), check=True)
    for client, source in ((two, two.ips[0]), (None, "10.96.0.50")):
        assert connect(client, None, "10.96.0.50", 8080, listening=8080) == source


@isolated
async def test_a_host_network_pod_shares_the_nodes_network(tmp_path: Path) -> None:
    network = await node(tmp_path)
    pod = await network.add("one", hostname="one", host_network=True)
    assert (pod.network, pod.uts, pod.ips) == (None, None, (NODE_IP,))
    assert pod.ipc is not None
    await network.remove("one")


@isolated
async def test_a_pods_sysctls_are_its_own(tmp_path: Path) -> None:
    network = await node(tmp_path)
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "80"}
    pod = await network.add("one", hostname="one", sysctls=sysctls)
    assert pod.network is not None
    file = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert netns.run_in(pod.network, Path(file).read_text) == "80\n"
    with open(file) as own:
        assert own.read() != "80\n"


@isolated
async def test_a_restarted_agent_finds_the_sandboxes_and_no_address_twice(tmp_path: Path) -> None:
    network = await node(tmp_path)
    pods = await asyncio.gather(*(network.add(f"pod-{n}", hostname="x") for n in range(10)))
    assert len({pod.ips for pod in pods}) == 10
    successor = await node(tmp_path)
    assert [successor.find(f"pod-{n}") for n in range(10)] == list(pods)
    assert await successor.add("pod-3", hostname="x") == pods[3]
    fresh = await successor.add("fresh", hostname="x")
    assert fresh.ips not in {pod.ips for pod in pods}


@isolated
async def test_a_sandbox_half_made_is_made_anew(tmp_path: Path) -> None:
    """As after a kill in the middle: the namespaces are there, the record is not."""
    network = await node(tmp_path)
    await network.add("one", hostname="one")
    os.unlink(tmp_path / "sandboxes" / "one" / "sandbox.json")
    assert network.find("one") is None
    assert network.pods() == ["one"]
    again = await network.add("one", hostname="one")
    assert connect(None, again, again.ips[0], 80) == NODE_IP


@isolated
async def test_removal_leaves_nothing(tmp_path: Path) -> None:
    network = await node(tmp_path)
    pod = await network.add("one", hostname="one")
    await network.remove("one")
    await network.remove("one")
    assert network.pods() == []
    assert mounts.below(tmp_path) == []
    with RouteSocket() as here:
        assert all(not one.destination.startswith(pod.ips[0]) for one in here.routes())
        async with asyncio.timeout(10):
            while here.link(interface_name(pod.ips[0])) is not None:
                await asyncio.sleep(0.01)


@isolated
async def test_routes_to_other_nodes_follow_the_list(tmp_path: Path) -> None:
    network = await node(tmp_path)

    def routes() -> dict[str, str]:
        with RouteSocket() as here:
            return {one.destination: one.via for one in here.routes() if one.via}

    await network.sync_routes([("10.244.2.0/24", "10.2.2.11"), ("10.244.3.0/24", "10.2.2.12")])
    assert routes() == {"10.244.2.0/24": "10.2.2.11", "10.244.3.0/24": "10.2.2.12"}
    await network.sync_routes([("10.244.2.0/24", "10.2.2.13")])
    assert routes() == {"10.244.2.0/24": "10.2.2.13"}
