"""The userspace mode without a kernel's rules: what is claimed, who is next, and that bytes go through."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from hypothesis import given

from sampan.client.config import Config
from sampan.proxy.backends.userspace import balancer as balancer_module
from sampan.proxy.backends.userspace import pump, tcp, udp
from sampan.proxy.backends.userspace.backend import UserspaceBackend
from sampan.proxy.backends.userspace.balancer import Balancer
from sampan.proxy.backends.userspace.claims import Claims
from sampan.proxy.backends.userspace.limits import Limit, Tally
from sampan.proxy.backends.userspace.rules import VERDICTS, Place, Slot, entries, listeners
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import Endpoint, ServicePort, ServicePortName
from support.proxyobjects import EVENTS, Event, feed, tracker

A, B, C = (Endpoint(f"10.244.0.{number}", 8080) for number in (1, 2, 3))
PLACE = Place("10.2.2.10", ("10.2.2.10",))
WEB = ServicePortName("default", "web", "http")


@given(EVENTS)
def test_incremental_equals_full_render(events: list[Event]) -> None:
    """After any events, one change at a time, claims and content equal those of a fresh start."""
    steady, known = tracker(), {}
    claims, content = Claims(), {}
    for event in events:
        feed(steady, known, event)
        for name, (_, after) in steady.take()[4].changes.items():
            made = entries(name, after, _numbers(name, after), PLACE) if after else {}
            for slot, (old, new) in claims.replace(name, made).items():
                assert content.get(slot) == old, "only what is there is deleted"
                if new is None:
                    del content[slot]
                else:
                    content[slot] = new
    fresh = Claims()
    for name, port in steady.take()[4].state.ports.items():
        fresh.replace(name, entries(name, port, _numbers(name, port), PLACE))
    assert content == claims.effective() == fresh.effective()


def _numbers(name: ServicePortName, port: ServicePort) -> dict:
    return {each: 1000 + hash(each) % 1000 for each in listeners(name, port)}


@given(EVENTS)
def test_the_order_of_events_does_not_matter(events: list[Event]) -> None:
    """What is rendered depends on what there is in the end."""
    options = ProxyOptions(node_name="node-1", node_ips=("10.2.2.10",), config=Config(server="https://unused"))
    one, other = tracker(), tracker()
    known_to_one, known_to_other = {}, {}
    for event in events:
        feed(one, known_to_one, event)
        one.take()
    for event in reversed(list(_last_of_each(events))):
        feed(other, known_to_other, event)
    backend = UserspaceBackend(options, 4)
    assert backend.render(one.take()[4].state) == backend.render(other.take()[4].state)


def _last_of_each(events: list[Event]) -> Iterator[Event]:
    last = {(kind, item.metadata.name): (kind, item) for kind, item in events}
    yield from last.values()


def test_two_services_at_one_address_end_in_one_entry() -> None:
    """The first by name has it; when it goes, the other gets it."""
    claims = Claims()
    slot = Slot(VERDICTS, "198.51.100.1 . tcp . 80")
    other = ServicePortName("default", "zebra", "http")
    assert claims.replace(other, {slot: "jump refuse"}) == {slot: (None, "jump refuse")}
    assert claims.replace(WEB, {slot: "jump discard"}) == {slot: ("jump refuse", "jump discard")}
    assert claims.replace(WEB, {}) == {slot: ("jump discard", "jump refuse")}
    assert claims.replace(other, {}) == {slot: ("jump refuse", None)}
    assert claims.effective() == {}


def test_sctp_is_refused_not_relayed() -> None:
    port = ServicePort(protocol="SCTP", port=80, cluster_ip="10.96.0.1", has_endpoints=True, endpoints=(A,))
    assert listeners(WEB, port) == {}
    assert entries(WEB, port, {}, PLACE)[Slot(VERDICTS, "10.96.0.1 . sctp . 80")] == "jump refuse"


# --- who is next


def test_endpoints_are_chosen_in_turn() -> None:
    balancer = Balancer()
    balancer.update((A, B, C), 0)
    assert [balancer.pick("client") for _ in range(6)] == [A, B, C, A, B, C]


def test_endpoints_that_were_tried_are_passed_over() -> None:
    balancer = Balancer()
    balancer.update((A, B), 60)
    assert balancer.pick("client") == A
    assert balancer.pick("client", [A]) == B
    assert balancer.pick("client") == B, "the client stays with the one that answered"
    assert balancer.pick("client", [A, B]) is None


def test_affinity_ends_with_time_and_with_the_endpoint() -> None:
    now = 0.0
    balancer = Balancer(lambda: now)
    balancer.update((A, B, C), 100)
    assert [balancer.pick("one") for _ in range(3)] == [A, A, A]
    assert balancer.pick("two") == B
    now = 99
    assert balancer.pick("one") == A
    now = 198
    assert balancer.pick("one") == A, "each connection makes the time start again"
    balancer.update((B, C), 100)
    first = balancer.pick("one")
    assert first in (B, C)
    balancer.update((A, B, C), 100)
    assert balancer.pick("one") == first
    now = 400
    assert {balancer.pick(str(number)) for number in range(3)} == {A, B, C}


def test_remembered_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer_module, "MAX_CLIENTS", 2)
    balancer = Balancer()
    balancer.update((A, B, C), 100)
    assert [balancer.pick(client) for client in ("one", "two", "three")] == [A, B, C]
    assert balancer.pick("three") == C
    assert balancer.pick("one") == A, "forgotten, and next in turn by chance"


# --- relaying

TALLY = Tally()
"""Of all listeners in these tests."""


@contextmanager
def server(kind: int = socket.SOCK_STREAM) -> Iterator[tuple[socket.socket, Endpoint]]:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen(8)
        sock.settimeout(5)
        yield sock, Endpoint("127.0.0.1", sock.getsockname()[1])


@asynccontextmanager
async def relaying(*endpoints: Endpoint, limit: int = 100) -> AsyncIterator[tuple[str, int]]:
    balancer = Balancer()
    balancer.update(endpoints, 0)
    listener = tcp.TCPListener(asyncio.get_running_loop(), "127.0.0.1", balancer, TALLY, Limit(limit))
    try:
        yield "127.0.0.1", listener.port
    finally:
        listener.close()


@pytest.fixture(params=["spliced", "copied"])
def buffers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of moving bytes."""
    assert pump.can_splice()
    if request.param == "copied":
        monkeypatch.setattr(pump, "can_splice", lambda: False)


@pytest.mark.usefixtures("buffers")
def test_a_half_closed_connection_goes_on_in_the_other_direction() -> None:
    """The server reads all of ten megabytes, sees the end, and only then answers."""
    sent = bytes(range(256)) * 40_000
    before = TALLY.connections, TALLY.bytes

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data[::-1])
        writer.write_eof()

    async def scenario() -> None:
        backend = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with relaying(Endpoint(*backend.sockets[0].getsockname()[:2])) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent[::-1]
            assert (TALLY.connections - before[0], TALLY.bytes - before[1]) == (1, 2 * len(sent))
            writer.close()
        backend.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.usefixtures("buffers")
def test_a_slow_receiver_slows_its_sender() -> None:
    """What is under way is bounded: a sender whose data nobody reads is stopped by the kernel's buffers."""

    async def scenario() -> None:
        with server() as (listening, endpoint):
            async with relaying(endpoint) as address:
                client = socket.create_connection(address)
                accepted = (await asyncio.to_thread(listening.accept))[0]
                client.setblocking(False)
                sent = await send_until_stopped(client)
                assert sent < 64 << 20
                accepted.settimeout(5)
                client.shutdown(socket.SHUT_WR)
                assert await asyncio.to_thread(read_all, accepted) == sent
                client.close()
                accepted.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


async def send_until_stopped(client: socket.socket) -> int:
    sent, stopped = 0, 0
    while stopped < 20:
        try:
            sent += client.send(bytes(1 << 16))
            stopped = 0
        except BlockingIOError:
            stopped += 1
        await asyncio.sleep(0.005)
    return sent


def read_all(sock: socket.socket) -> int:
    total = 0
    while data := sock.recv(1 << 16):
        total += len(data)
    return total


def test_an_endpoint_that_refuses_is_passed_over() -> None:
    async def scenario() -> None:
        with server() as (closed, dead):
            closed.close()
            with server() as (listening, alive):
                async with relaying(dead, alive) as address:
                    client = socket.create_connection(address)
                    accepted = (await asyncio.to_thread(listening.accept))[0]
                    client.close()
                    accepted.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_client_is_reset_when_no_endpoint_answers_and_when_its_server_resets() -> None:
    async def scenario() -> None:
        with server() as (listening, endpoint):
            async with relaying(endpoint) as address:
                client = socket.create_connection(address)
                accepted = (await asyncio.to_thread(listening.accept))[0]
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, tcp.RESET)
                accepted.close()
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(client.recv, 1)
                client.close()
                listening.close()
                client = socket.create_connection(address)
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(client.recv, 1)
                client.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_connections_beyond_the_limit_wait_for_a_place() -> None:
    """With one place, the second client is served when the first has gone."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def scenario() -> None:
        backend = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with relaying(Endpoint(*backend.sockets[0].getsockname()[:2]), limit=1) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"first")
            assert await reader.read(100) == b"first"
            other_reader, other_writer = await asyncio.open_connection(*address)
            other_writer.write(b"second")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other_reader.read(100), 0.3)
            writer.close()
            assert await asyncio.wait_for(other_reader.read(100), 5) == b"second"
            other_writer.close()
        backend.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_udp_sessions_end_when_idle_and_with_their_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client keeps its endpoint while it speaks; after silence, or without it, it gets the next one."""
    monkeypatch.setattr(udp, "IDLE_SECONDS", 0.2)

    async def scenario() -> None:
        with server(socket.SOCK_DGRAM) as (one, first), server(socket.SOCK_DGRAM) as (two, second):
            balancer = Balancer()
            balancer.update((first, second), 0)
            listener = udp.UDPListener(asyncio.get_running_loop(), "127.0.0.1", balancer, Tally())
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.connect(("127.0.0.1", listener.port))
            client.settimeout(5)
            for text in (b"a", b"b"):
                assert await asyncio.to_thread(exchange, client, one, text) == text
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(exchange, client, two, b"c") == b"c"
            balancer.update((first,), 0)
            listener.endpoints_changed()
            assert await asyncio.to_thread(exchange, client, one, b"d") == b"d"
            listener.close()
            client.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def exchange(client: socket.socket, answering: socket.socket, text: bytes) -> bytes:
    client.send(text)
    data, source = answering.recvfrom(100)
    answering.sendto(data, source)
    return client.recv(100)
