"""Speakers on a real LAN of namespaces: exactly one node answers for an address, and another soon after it has died."""

import asyncio
import socket
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from sampan.client.resources import EVENTS, NODES, SERVICES
from sampan.kernel import arp, ndp
from sampan.kernel.packet import BROADCAST, PacketSocket
from sampan.loadbalancer import heartbeat
from support.isolated import isolated
from support.speakers import Lan, lan, sh

pytestmark = pytest.mark.kernel

NODES_OF_LAN = ("red", "green", "blue")
IP, IP6, OFTEN = "10.2.2.200", "fd00::200", "10.2.2.201"


@isolated
async def test_one_node_answers_and_another_when_it_has_died(tmp_path: Path) -> None:
    """Killed, stopped, its link cut, cordoned, no longer Ready: the address is somewhere else, and only there."""
    async with lan(tmp_path, *NODES_OF_LAN) as world:
        await world.serve("web", IP)
        first = await world.owner(IP)
        heard = PacketSocket("node0", arp.ETHERTYPE)

        world.signal(first, SIGKILL)
        second = await world.owner(IP, *set(NODES_OF_LAN) - {first})
        assert world.macs[second] in announced(heard, IP), "the new owner told everybody"
        heard.close()
        world.speak(first)
        await world.owner(IP, first)

        world.signal(first, SIGSTOP)
        await world.owner(IP, second)
        world.signal(first, SIGCONT)
        await world.owner(IP, first)

        sh(f"ip link set {first} down")
        await world.owner(IP, second)
        sh(f"ip link set {first} up")
        await world.owner(IP, first)

        await world.client.patch(NODES, first, {"spec": {"unschedulable": True}})
        await world.owner(IP, second)
        await world.client.patch(NODES, first, {"spec": {"unschedulable": None}})
        await world.owner(IP, first)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
        await world.client.patch(NODES, first, ready, subresource="status")
        await world.owner(IP, second)

        world.signal(first, SIGKILL)
        await world.client.patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "default")
        await world.nobody(IP)
        await told(world, first, second)


def announced(heard: PacketSocket, address: str) -> set[str]:
    """Who has announced an address, by ARP, since a socket was opened."""
    frames = iter(heard.receive, None)
    return {
        frame[6:12].hex(":")
        for frame in frames
        if frame[:6] == BROADCAST and frame[28:32] == frame[38:42] == socket.inet_aton(address)
    }


async def told(world: Lan, *nodes: str) -> None:
    wanted = {f'announcing from node "{node}" with protocol "layer2"' for node in nodes}
    async with asyncio.timeout(10):
        while True:
            events = (await world.client.list(EVENTS, "default")).items
            if {one["message"] for one in events if one["reason"] == "nodeAssigned"} >= wanted:
                return
            await asyncio.sleep(0.05)


@isolated
async def test_under_local_the_address_is_where_an_endpoint_is(tmp_path: Path) -> None:
    async with lan(tmp_path, *NODES_OF_LAN) as world:
        await world.serve("web", IP, nodes=("green",), externalTrafficPolicy="Local")
        await world.owner(IP, "green")
        await world.endpoints("web", "blue")
        await world.owner(IP, "blue")
        world.signal("blue", SIGKILL)
        await world.nobody(IP)
        await world.endpoints("web", "red", "blue")
        await world.owner(IP, "red")


@isolated
async def test_an_ipv6_address_is_answered_for_by_one_node(tmp_path: Path) -> None:
    async with lan(tmp_path, *NODES_OF_LAN) as world:
        await world.serve("web", IP6)
        first = await world.owner(IP6)
        assert await kernel_resolves(IP6, world.macs[first])
        world.signal(first, SIGKILL)
        second = await world.owner(IP6, *set(NODES_OF_LAN) - {first})
        assert await kernel_resolves(IP6, world.macs[second])


async def kernel_resolves(address: str, mac: str) -> bool:
    """Whether the neighbour's kernel finds an address, by itself, at `mac`."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        async with asyncio.timeout(10):
            while True:
                one.sendto(b"", (address, 9))
                await asyncio.sleep(0.05)
                if mac in sh(f"ip -6 neigh show {address}"):
                    return True


@isolated
async def test_nothing_that_comes_over_the_lan_stops_or_misleads_a_speaker(tmp_path: Path) -> None:
    """Malformed frames, forged heartbeats, statuses with addresses that are not load balancers' or that
    come a thousand times."""
    async with lan(tmp_path, "red", "green") as world:
        await world.serve("web", IP)
        await world.serve("dual", IP6)
        await world.serve("thief", "10.2.2.1")
        await world.serve("often", *[OFTEN] * 2000)
        await world.owner(OFTEN)
        first = await world.owner(IP)
        sender = {kind: PacketSocket("node0", kind) for kind in (arp.ETHERTYPE, ndp.ETHERTYPE, heartbeat.ETHERTYPE)}
        for kind, opened in sender.items():
            head = b"\xff" * 6 + b"\x02\0\0\0\0\x63" + kind.to_bytes(2, "big")
            for size in (0, 1, 8, 27, 28, 40, 60, 500, 1400):
                for filling in (b"\0", b"\x01", b"\xff"):
                    opened.send(head + filling * size)
        forged = heartbeat.encode(heartbeat.Heartbeat(first, 2**63, False), b"not the key of this LAN", b"\x02" * 6)
        sender[heartbeat.ETHERTYPE].send(forged)
        assert await world.owner(IP) == first
        await world.owner(IP6)
        assert await world.who_answers("10.2.2.1") == []
        assert all(process.poll() is None for process in world.speakers.values())
        assert "Traceback" not in world.logs()
        assert "too many events" not in world.logs(), "an address that a status names often is told of once"
        for opened in sender.values():
            opened.close()
