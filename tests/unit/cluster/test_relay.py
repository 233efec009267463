"""Relays carry both directions to their own ends, hold a bounded amount for anybody, and let go of what they made."""

import asyncio
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from sampan.cluster import relay
from sampan.cluster.hostports import bind
from sampan.cluster.relay import DescriptorBudget, TCPRelay, UDPRelay, Unreachable

LOOPBACK = "127.0.0.1"
SECONDS = 20


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[None, None, None]], None]:
    """The supervisor has uvloop's loop; neither may leave a descriptor open."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(main: Coroutine[None, None, None]) -> None:
        async def limited() -> None:
            await asyncio.wait_for(main, SECONDS)

        with asyncio.Runner(loop_factory=factory) as first:
            first.run(asyncio.sleep(0))  # a library may keep something for all loops
        before = len(os.listdir("/proc/self/fd"))
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited())
        assert len(os.listdir("/proc/self/fd")) <= before  # what others have left may go meanwhile

    return run


async def eventually(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def dial(server: socket.socket) -> Callable[[], Awaitable[socket.socket]]:
    async def connect() -> socket.socket:
        inside = socket.socket(type=server.type)
        inside.setblocking(False)
        await asyncio.get_running_loop().sock_connect(inside, server.getsockname())
        return inside

    return connect


def client_of(server: socket.socket) -> socket.socket:
    client = socket.socket(type=server.type)
    client.connect(server.getsockname())
    client.setblocking(False)
    return client


async def joined(budget: DescriptorBudget) -> tuple[TCPRelay, socket.socket, socket.socket]:
    """A relay with one connection: its client's end, and the end inside."""
    listener, server = bind("TCP", LOOPBACK, 0), bind("TCP", LOOPBACK, 0)
    made = TCPRelay(listener, dial(server), budget, "web")
    client = client_of(listener)
    inside, _ = await asyncio.get_running_loop().sock_accept(server)
    server.close()
    return made, client, inside


def test_each_direction_ends_on_its_own(run: Callable[..., None]) -> None:
    async def main() -> None:
        loop, budget = asyncio.get_running_loop(), DescriptorBudget(2)
        made, client, inside = await joined(budget)
        with client, inside:
            await loop.sock_sendall(client, b"question")
            client.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(inside, 100) == b"question"
            assert await loop.sock_recv(inside, 100) == b""
            await loop.sock_sendall(inside, b"answer")
            assert await loop.sock_recv(client, 100) == b"answer"
            inside.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(client, 100) == b""
            await eventually(lambda: budget.left == 2)
        made.close()

    run(main())


def test_a_reset_on_either_side_is_a_reset_on_the_other(run: Callable[..., None]) -> None:
    async def main() -> None:
        loop, budget = asyncio.get_running_loop(), DescriptorBudget(2)
        for first in (0, 1):
            made, *ends = await joined(budget)
            await loop.sock_sendall(ends[0], b"hello")
            assert await loop.sock_recv(ends[1], 100) == b"hello"
            ends[first].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ends[first].close()
            with ends[1 - first] as other, pytest.raises(ConnectionResetError):
                await loop.sock_recv(other, 100)
            await eventually(lambda: budget.left == 2)
            made.close()

    run(main())


def test_a_client_that_vanishes_after_its_last_word_is_noticed(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing reads from a half-closed connection any more, so that its reset would never be seen."""
    monkeypatch.setattr(relay, "PROBE_SECONDS", 0.05)

    async def main() -> None:
        loop, budget = asyncio.get_running_loop(), DescriptorBudget(2)
        made, client, inside = await joined(budget)
        client.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(inside, 100) == b""
        await asyncio.sleep(0.2)
        assert budget.left == 0, "a half-closed connection is kept"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with inside:
            await eventually(lambda: inside.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        made.close()

    run(main())


def test_what_a_client_does_not_read_is_not_taken_from_the_server(run: Callable[..., None]) -> None:
    async def main() -> None:
        made, client, inside = await joined(DescriptorBudget(2))
        with client, inside:
            taken = 0

            async def send() -> None:
                nonlocal taken
                while True:
                    await asyncio.get_running_loop().sock_sendall(inside, bytes(1 << 16))
                    taken += 1 << 16

            sending = asyncio.create_task(send())
            before = -1
            while taken > before:
                before = taken
                await asyncio.sleep(0.2)
                assert taken < 64 << 20, "no more than the kernel's buffers and a little"
            sending.cancel()
            made.close()

    run(main())


def test_connections_beyond_the_room_are_reset_and_room_that_is_free_again_is_used(run: Callable[..., None]) -> None:
    async def main() -> None:
        loop, budget = asyncio.get_running_loop(), DescriptorBudget(4)
        listener, server = bind("TCP", LOOPBACK, 0), bind("TCP", LOOPBACK, 0)
        made = TCPRelay(listener, dial(server), budget, "web")
        clients, accepted = [], []
        for _ in range(2):
            clients.append(client_of(listener))
            accepted.append((await loop.sock_accept(server))[0])
        with client_of(listener) as third, pytest.raises(ConnectionResetError):
            await loop.sock_recv(third, 1)
        clients[0].close()
        accepted[0].close()
        await eventually(lambda: budget.left == 2)
        with client_of(listener) as fourth:
            inside, _ = await loop.sock_accept(server)
            with inside:
                await loop.sock_sendall(fourth, b"x")
                assert await loop.sock_recv(inside, 1) == b"x"
        made.close()
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(clients[1], 1)
        for one in (*clients, *accepted, server):
            one.close()
        await eventually(lambda: budget.left == 4)

    run(main())


async def udp_echo() -> tuple[asyncio.DatagramTransport, tuple[str, int], set[object]]:
    """Answers every packet with it; also gives who has asked."""
    askers: set[object] = set()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            askers.add(address)
            self.transport.sendto(b"echo " + data, address)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=(LOOPBACK, 0))
    return transport, transport.get_extra_info("sockname"), askers


def dial_udp(address: tuple[str, int]) -> Callable[[], Awaitable[socket.socket]]:
    async def connect() -> socket.socket:
        inside = socket.socket(type=socket.SOCK_DGRAM)
        inside.setblocking(False)
        inside.connect(address)
        return inside

    return connect


async def ask(client: socket.socket, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    client.send(packet)
    return await loop.sock_recv(client, 1 << 16)


def test_each_client_has_a_flow_of_its_own_that_is_kept_while_it_is_used(run: Callable[..., None]) -> None:
    async def main() -> None:
        server, address, askers = await udp_echo()
        budget, sock = DescriptorBudget(10), bind("UDP", LOOPBACK, 0)
        made = UDPRelay(sock, dial_udp(address), budget, "dns")
        with client_of(sock) as first, client_of(sock) as second:
            for number in range(3):
                assert await ask(first, b"first %d" % number) == b"echo first %d" % number
                assert await ask(second, b"") == b"echo "
            assert await ask(first, bytes(60000)) == b"echo " + bytes(60000)
        assert (len(askers), made.flows, budget.left) == (2, 2, 8)
        made.close()
        assert budget.left == 10
        server.close()

    run(main())


def test_of_too_many_flows_the_one_idle_longest_gives_way(run: Callable[..., None]) -> None:
    async def main() -> None:
        server, address, askers = await udp_echo()
        budget, sock = DescriptorBudget(10), bind("UDP", LOOPBACK, 0)
        made = UDPRelay(sock, dial_udp(address), budget, "dns", max_flows=3)
        clients = [client_of(sock) for _ in range(20)]
        for client in clients:
            assert await ask(client, b"x") == b"echo x"
            assert made.flows <= 3
        assert budget.left == 7
        assert await ask(clients[0], b"again") == b"echo again", "who was turned out comes in again"
        assert len(askers) == 21
        made.close()
        for one in clients:
            one.close()
        server.close()

    run(main())


def test_a_flow_that_is_idle_ends_and_begins_again_when_it_is_needed(run: Callable[..., None]) -> None:
    async def main() -> None:
        server, address, askers = await udp_echo()
        budget, sock = DescriptorBudget(10), bind("UDP", LOOPBACK, 0)
        made = UDPRelay(sock, dial_udp(address), budget, "dns", idle=0.1)
        with client_of(sock) as client:
            for packet in (b"1", b"2"):
                assert await ask(client, packet) == b"echo " + packet
                await eventually(lambda: made.flows == 0)
                assert budget.left == 10
        assert len(askers) == 2
        made.close()
        server.close()

    run(main())


def test_without_room_a_new_flow_takes_the_place_of_the_oldest_or_is_not_made(run: Callable[..., None]) -> None:
    async def main() -> None:
        server, address, _ = await udp_echo()
        budget, sock = DescriptorBudget(1), bind("UDP", LOOPBACK, 0)
        made = UDPRelay(sock, dial_udp(address), budget, "dns")
        with client_of(sock) as first, client_of(sock) as second:
            assert await ask(first, b"1") == b"echo 1"
            assert await ask(second, b"2") == b"echo 2"
            assert (made.flows, budget.left) == (1, 0)
            made.close()
        sock = bind("UDP", LOOPBACK, 0)
        none = DescriptorBudget(0)
        made = UDPRelay(sock, dial_udp(address), none, "dns")
        with client_of(sock) as third:
            third.send(b"x")
            await asyncio.sleep(0.1)
        assert (made.flows, none.left) == (0, 0)
        made.close()
        server.close()

    run(main())


def test_while_a_flow_is_made_only_some_packets_wait_and_a_failure_ends_it(run: Callable[..., None]) -> None:
    async def main() -> None:
        server, address, _ = await udp_echo()
        gate, budget, sock = asyncio.Event(), DescriptorBudget(10), bind("UDP", LOOPBACK, 0)
        working, refused = True, 0

        async def slow() -> socket.socket:
            nonlocal refused
            await gate.wait()
            if not working:
                refused += 1
                raise Unreachable("no such Service")
            return await dial_udp(address)()

        made = UDPRelay(sock, slow, budget, "dns")
        with client_of(sock) as client:
            for number in range(relay.MAX_WAITING + 5):
                client.send(b"%d" % number)
            await eventually(lambda: made.flows == 1)
            await asyncio.sleep(0.1)
            gate.set()
            loop = asyncio.get_running_loop()
            answers = [await loop.sock_recv(client, 100) for _ in range(relay.MAX_WAITING)]
            assert answers == [b"echo %d" % number for number in range(relay.MAX_WAITING)]
            assert await ask(client, b"next") == b"echo next", "those beyond were dropped"
        working = False
        with client_of(sock) as other:
            other.send(b"x")
            await eventually(lambda: refused == 1 and (made.flows, budget.left) == (1, 9))
        made.close()
        server.close()

    run(main())


def test_a_port_that_is_closed_inside_ends_the_flow_and_the_next_packet_looks_anew(run: Callable[..., None]) -> None:
    """A Service may have another address by then."""

    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind((LOOPBACK, 0))
            closed = taken.getsockname()
        server, address, _ = await udp_echo()
        targets = [closed, address]

        async def next_target() -> socket.socket:
            return await dial_udp(targets.pop(0))()

        sock = bind("UDP", LOOPBACK, 0)
        made = UDPRelay(sock, next_target, DescriptorBudget(10), "dns")
        with client_of(sock) as client:
            client.send(b"lost")
            await eventually(lambda: len(targets) == 1 and made.flows == 0)
            assert await ask(client, b"found") == b"echo found"
        made.close()
        server.close()

    run(main())


def test_answers_come_from_the_address_that_was_asked(run: Callable[..., None]) -> None:
    """A socket for all addresses would else answer 127.0.0.2's client from 127.0.0.1."""

    async def main() -> None:
        server, address, askers = await udp_echo()
        sock = bind("UDP", "0.0.0.0", 0)
        made = UDPRelay(sock, dial_udp(address), DescriptorBudget(10), "dns")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.bind((LOOPBACK, 0))
            client.setblocking(False)
            for asked in ("127.0.0.2", "127.0.0.3"):
                place = (asked, sock.getsockname()[1])
                client.sendto(b"x", place)
                await eventually(lambda: select.select([client], [], [], 0)[0])
                assert client.recvfrom(100) == (b"echo x", place)
        assert len(askers) == 2
        made.close()
        server.close()

    run(main())
