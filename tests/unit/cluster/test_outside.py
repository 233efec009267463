"""Names outside the cluster are answered as by the machine itself, and never waited for in vain."""

import asyncio
import contextlib
import functools
import inspect
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cluster import outside
from sampan.cluster.outside import MachineServers, Relay
from sampan.dns.server import DNSServer
from support.resolvers import HOST, Resolver, address, nothing, response

QUESTION = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\7example\3org\0\0\1\0\1"


@contextlib.asynccontextmanager
async def relay(*servers: tuple[str, int]) -> AsyncIterator[int]:
    """A relay to these servers; gives its port."""
    server = DNSServer(Relay(lambda: servers), outside.LIMITS)
    try:
        yield await server.start(HOST, 0)
    finally:
        await server.close()


async def ask(port: int, name: str = "example.org", kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    asked = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await asked(query, HOST, port=port, timeout=30)


def told(message: dns.message.Message) -> list[str]:
    return [str(data) for records in message.answer for data in records]


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that runs in an event loop, with a `stack` for what it starts."""

    @functools.wraps(test)
    def run(**given: object) -> None:
        async def all_of_it() -> None:
            async with contextlib.AsyncExitStack() as stack:
                await test(stack, **given)

        asyncio.run(all_of_it())

    signature = inspect.signature(test)
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
    return run


@pytest.mark.parametrize("tcp", [False, True])
@scenario
async def test_a_question_is_passed_on_over_its_own_protocol_and_the_answer_is_the_servers(stack, tcp):
    known = await Resolver(address).start(stack)
    async with relay((HOST, known.port)) as port:
        assert told(await ask(port, tcp=tcp)) == ["192.0.2.7"]
    assert (len(known.asked), len(known.asked_tcp)) == ((0, 1) if tcp else (1, 0))


@scenario
async def test_an_answer_comes_byte_for_byte_with_what_the_relay_does_not_know(stack):
    options = b"\0\0\x29\x10\0\0\0\x80\0\0\x08\xff\xfe\0\4abcd"
    known = await Resolver(lambda query: [query.to_wire()[:2] + b"\x81\x80" + QUESTION[4:] + b"anything"]).start(stack)
    seen = []
    known.datagram_received = (
        lambda data, addr: (  # what arrives there is looked at as bytes
            seen.append(data),
            known.transport.sendto(data[:2] + b"\x81\x80" + data[4:] + b"anything", addr),
        )
    )
    packet = QUESTION[:10] + b"\0\1" + QUESTION[12:] + options
    async with relay((HOST, known.port)) as port:
        answer = await exchange(port, packet)
    assert seen[0][2:] == packet[2:]
    assert answer == packet[:2] + b"\x81\x80" + packet[4:] + b"anything"


async def exchange(port: int, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((HOST, port))
        client.send(packet)
        async with asyncio.timeout(30):
            return await loop.sock_recv(client, 65535)


@scenario
async def test_a_truncated_answer_stays_truncated_so_that_the_client_asks_again_over_tcp(stack):
    cut = await Resolver(lambda query: [response(query, flags=dns.flags.TC)], address).start(stack)
    async with relay((HOST, cut.port)) as port:
        assert (await ask(port)).flags & dns.flags.TC
        assert told(await ask(port, tcp=True)) == ["192.0.2.7"]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
@scenario
async def test_the_next_server_is_asked_when_one_cannot_answer(stack, rcode):
    unable = await Resolver(lambda query: [response(query, rcode=rcode)]).start(stack)
    able = await Resolver(address).start(stack)
    async with relay((HOST, unable.port), (HOST, able.port)) as port:
        assert told(await ask(port)) == ["192.0.2.7"]
    async with relay((HOST, unable.port)) as port:
        assert (await ask(port)).rcode() == rcode


@scenario
async def test_a_denial_is_an_answer(stack):
    denies = await Resolver(lambda query: [response(query, rcode=dns.rcode.NXDOMAIN)]).start(stack)
    other = await Resolver(address).start(stack)
    async with relay((HOST, denies.port), (HOST, other.port)) as port:
        assert (await ask(port)).rcode() == dns.rcode.NXDOMAIN
    assert other.asked == []


@scenario
async def test_without_a_server_the_answer_is_servfail_at_once(stack):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        nobody = (HOST, taken.getsockname()[1])
    async with relay(nobody) as port:
        message = await ask(port)
        assert message.rcode() == dns.rcode.SERVFAIL
        assert message.question[0].name.to_text() == "example.org."
        assert (await ask(port, tcp=True)).rcode() == dns.rcode.SERVFAIL


@scenario
async def test_nobody_waits_for_a_server_that_is_down_until_it_answers_again(stack, monkeypatch):
    monkeypatch.setattr(outside, "SUSPICION_SECONDS", 0.05)
    monkeypatch.setattr(outside, "TOTAL_SECONDS", 1000)
    monkeypatch.setattr(outside, "CHECK_EVERY", 0.05)
    monkeypatch.setattr("sampan.dns.upstream.CHECK_SECONDS", 0.05)
    silent = await Resolver(nothing).start(stack)
    async with relay((HOST, silent.port)) as port:
        assert (await ask(port)).rcode() == dns.rcode.SERVFAIL
        for _ in range(20):
            assert (await ask(port)).rcode() == dns.rcode.SERVFAIL
        questions = [query for query in silent.asked if query.question[0].name.to_text() == "example.org."]
        assert len(questions) == 1
        silent.behave = address
        async with asyncio.timeout(30):
            while (await ask(port)).rcode() != dns.rcode.NOERROR:
                await asyncio.sleep(0.01)


@scenario
async def test_one_slow_name_does_not_make_a_server_that_answers_others_a_bad_one(stack, monkeypatch):
    monkeypatch.setattr(outside, "SUSPICION_SECONDS", 0.01)
    server = await Resolver(lambda query: [] if "slow" in str(query.question[0].name) else address(query)).start(stack)
    async with relay((HOST, server.port)) as port:
        waiting = asyncio.create_task(ask(port, "slow.example"))
        async with asyncio.timeout(30):
            while not any(query.question[0].name.to_text() == "." for query in server.asked):
                await asyncio.sleep(0.01)
        assert told(await ask(port)) == ["192.0.2.7"]
        assert not waiting.done()
        waiting.cancel()


@scenario
async def test_an_answer_that_was_forged_is_not_passed_on(stack):
    def forged(query):
        other = dns.message.make_query("evil.example", "A")
        other.id = query.id
        wrong_id = dns.message.from_wire(query.to_wire())
        wrong_id.id = query.id ^ 1
        return [response(other), *address(wrong_id, data="192.0.2.66"), *address(query)]

    liar = await Resolver(forged).start(stack)
    async with relay((HOST, liar.port)) as port:
        assert told(await ask(port)) == ["192.0.2.7"]


@scenario
async def test_every_question_has_a_port_and_an_id_of_its_own(stack):
    known = await Resolver(address).start(stack)
    async with relay((HOST, known.port)) as port:
        for _ in range(8):
            await exchange(port, QUESTION)
    assert len(known.clients) == 8
    assert len({query.id for query in known.asked}) > 4


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (QUESTION[:4] + b"\0\2" + QUESTION[6:], dns.rcode.FORMERR),
        (QUESTION[:20], dns.rcode.FORMERR),
        (QUESTION[:12] + b"\xc0\x0c\0\1\0\1", dns.rcode.FORMERR),
        (QUESTION[:2] + b"\x28\0" + QUESTION[4:], dns.rcode.NOTIMP),
        (QUESTION[:-4] + b"\0\xfc\0\1", dns.rcode.REFUSED),
    ],
    ids=["two questions", "cut off", "pointer to itself", "update", "zone transfer"],
)
@scenario
async def test_what_is_no_plain_question_is_refused_and_not_passed_on(stack, packet, expected):
    known = await Resolver(address).start(stack)
    async with relay((HOST, known.port)) as port:
        assert (await exchange(port, packet))[3] & 0xF == expected
    assert known.asked == []


@given(st.binary(max_size=600) | st.binary(max_size=60).map(lambda tail: QUESTION[:12] + tail))
def test_no_packet_whatever_disturbs_the_relay(packet):
    answer = Relay(list)._answer(packet, tcp=False)
    assert answer is None or (answer[:2] == packet[:2] and answer[2] & 0x80)


@scenario
async def test_a_server_with_an_ipv6_address_is_asked(stack):
    try:
        known = await Resolver(address).start(stack, "::1")
    except OSError:
        pytest.skip("this machine's loopback has no IPv6")
    async with relay(("::1", known.port)) as port:
        assert told(await ask(port)) == ["192.0.2.7"]
        assert told(await ask(port, tcp=True)) == ["192.0.2.7"]


@scenario
async def test_answers_and_fragments_are_dropped_and_later_questions_answered(stack):
    known = await Resolver(address).start(stack)
    async with relay((HOST, known.port)) as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for packet in (b"", b"\0", QUESTION[:11], QUESTION[:2] + b"\x81\x80" + QUESTION[4:], os.urandom(11)):
                client.sendto(packet, (HOST, port))
        assert told(await ask(port)) == ["192.0.2.7"]
    assert len(known.asked) == 1


@scenario
async def test_only_so_many_questions_are_under_way(stack, monkeypatch):
    monkeypatch.setattr(outside, "MAX_UNDER_WAY", 4)
    silent = await Resolver(nothing).start(stack)
    async with relay((HOST, silent.port)) as port:
        waiting = [asyncio.create_task(exchange(port, QUESTION)) for _ in range(4)]
        async with asyncio.timeout(30):
            while len(silent.asked) < 4:
                await asyncio.sleep(0.01)
        assert (await ask(port, "fifth.example")).rcode() == dns.rcode.SERVFAIL
        assert not any("fifth" in str(query.question[0].name) for query in silent.asked)
        for task in waiting:
            task.cancel()


def test_the_machines_resolv_conf_is_followed(tmp_path):
    file = tmp_path / "resolv.conf"
    servers = MachineServers(file)
    assert servers() == (("127.0.0.1", 53),)
    file.write_text("nameserver 127.0.0.53\nsearch example\n")
    assert servers() == (("127.0.0.53", 53),)
    other = tmp_path / "other"
    other.write_text("nameserver 10.0.0.1\nnameserver evil.example\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n")
    other.rename(file)
    assert servers() == (("10.0.0.1", 53), ("fe80::1%eth0", 53))
    file.write_text("".join(f"nameserver 10.0.0.{number}\n" for number in range(1, 6)))
    assert [address for address, _ in servers()] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


@scenario
async def test_a_server_that_is_no_longer_named_is_no_longer_asked(stack):
    first, second = await Resolver(address).start(stack), await Resolver(address).start(stack)
    named = [(HOST, first.port)]
    server = DNSServer(Relay(lambda: named))
    port = await server.start(HOST, 0)
    await ask(port)
    named[:] = [(HOST, second.port)]
    await ask(port)
    await server.close()
    assert (len(first.asked), len(second.asked)) == (1, 1)
