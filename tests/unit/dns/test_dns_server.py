"""The sockets: UDP and TCP, pipelining, many clients, and what must not be answered."""

import asyncio
import contextlib
import socket
import struct

import dns.message
import dns.rcode
import pytest

from sampan.dns import server
from support.resolvers import HOST, Resolver, address, nothing

WEB = "web.default.svc.cluster.local"


@pytest.mark.parametrize("tcp", [False, True])
def test_a_cluster_name_is_answered(world, run, texts, tcp):
    async def scenario():
        await world.start()
        assert texts((await world.ask(WEB, tcp=tcp)).answer) == [f"{WEB} A 10.96.0.5"]

    run(scenario)


def test_queries_on_one_connection_are_answered_while_others_wait(world, run):
    """A slow name first, then a cluster name: the second is answered first."""

    async def scenario():
        await world.start(Resolver(nothing), attempt=1)
        reader, writer = await asyncio.open_connection(HOST, world.port)
        for identity, name in ((1, "example.com"), (2, WEB), (3, WEB)):
            packet = dns.message.make_query(name, "A", id=identity).to_wire()
            writer.write(struct.pack("!H", len(packet)) + packet)
        identities = []
        for _ in range(3):
            size = int.from_bytes(await reader.readexactly(2), "big")
            identities.append(dns.message.from_wire(await reader.readexactly(size)).id)
        assert identities == [2, 3, 1]
        writer.close()

    run(scenario)


def test_a_client_that_asks_much_at_once_does_not_keep_others_waiting(world, run):
    """Hundreds of queries on one connection; who asks after them is answered long before the last of those."""

    async def scenario():
        await world.start()
        _, writer = await asyncio.open_connection(HOST, world.port)
        packet = dns.message.make_query(WEB, "A").to_wire()
        writer.write(1000 * (struct.pack("!H", len(packet)) + packet))
        await world.ask(WEB)
        world.generation.settle()
        assert world.metrics.value("coredns_dns_requests_total", proto="tcp") < 500
        writer.close()

    run(scenario)


def test_a_client_that_has_said_all_still_gets_its_answers(world, run):
    async def scenario():
        await world.start(Resolver(nothing), Resolver(address), attempt=0.1)
        reader, writer = await asyncio.open_connection(HOST, world.port)
        packet = dns.message.make_query("example.com", "A", id=9).to_wire()
        writer.write(struct.pack("!H", len(packet)) + packet)
        writer.write_eof()
        answer = await reader.read()
        assert dns.message.from_wire(answer[2:]).id == 9
        writer.close()

    run(scenario)


def test_a_client_that_sends_rubbish_over_tcp_is_let_go(world, run, caplog):
    async def scenario():
        await world.start()
        reader, writer = await asyncio.open_connection(HOST, world.port)
        writer.write(b"\0\x04rubb")
        assert await reader.read() == b""
        writer.close()
        assert (await world.ask(WEB)).answer

    run(scenario)
    assert caplog.text == ""


def test_rubbish_over_udp_is_neither_answered_nor_harmful(world, run):
    async def scenario():
        await world.start()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            for size in range(60):
                client.sendto(b"\xff" * size, (HOST, world.port))
            assert (await world.ask(WEB)).answer
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(512)

    run(scenario)


def test_many_clients_at_once_all_get_their_own_answer(world, run):
    async def scenario():
        await world.start(Resolver(address))
        names = [WEB, "dual.default.svc.cluster.local", "example.com", "none.default.svc.cluster.local"] * 40
        answers = await asyncio.gather(*(world.ask(name) for name in names))
        assert [answer.question[0].name.to_text(True) for answer in answers] == names

    run(scenario)


def test_a_connection_on_which_nothing_is_said_is_closed(world, run, monkeypatch):
    async def scenario():
        monkeypatch.setattr(server, "IDLE_SECONDS", 0.05)
        await world.start()
        reader, writer = await asyncio.open_connection(HOST, world.port)
        assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_answers_that_take_time_are_not_piled_up_without_end(world, run):
    async def scenario():
        await world.start(Resolver(nothing), attempt=2, total=2)
        world.server._limits = server.Limits(pending=1)
        tasks = [asyncio.create_task(world.ask(f"{number}.example.com")) for number in range(3)]
        assert (await world.ask(WEB)).rcode() == dns.rcode.NOERROR
        assert len(world.server._tasks) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scenario)


def test_one_client_has_only_its_share_of_connections(world, run):
    """A pod that opens connections without end does not keep others from asking over TCP."""

    async def scenario():
        await world.start()
        world.server._limits = server.Limits(connections=10, connections_of_one=2)
        kept = [await asyncio.open_connection(HOST, world.port) for _ in range(2)]
        reader, writer = await asyncio.open_connection(HOST, world.port)
        assert await reader.read() == b""
        for each in (writer, *(writer for _, writer in kept)):
            each.close()

    run(scenario)


def test_where_all_connections_are_taken_the_longest_idle_one_goes(world, run):
    async def scenario():
        await world.start()
        world.server._limits = server.Limits(connections=2)
        (first, first_writer), (second, second_writer) = [
            await asyncio.open_connection(HOST, world.port) for _ in range(2)
        ]
        await world.ask(WEB)
        third, third_writer = await asyncio.open_connection(HOST, world.port)
        with contextlib.suppress(ConnectionError):
            assert await first.read() == b""
        assert not second.at_eof()
        assert not third.at_eof()
        for each in (first_writer, second_writer, third_writer):
            each.close()

    run(scenario)
