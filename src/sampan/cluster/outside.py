"""DNS for names outside the cluster: queries from the nodes' LAN are forwarded to the machine's own name servers.

The box may have no outbound access (`outbound.py`), and none to the machine's loopback. But a socket keeps the network
namespace it was made in: a socket of the box listens at the LAN's gateway, which the nodes' resolv.conf names, and the
supervisor, which runs outside, forwards every query to the servers of the machine's resolv.conf (also to a stub on the
loopback) and returns the answer unchanged.

    pod or cluster DNS ──► 10.2.2.1:53 in the box ══ supervisor ══► 127.0.0.53, 192.168.1.1 … outside

Servers are asked in order, as in resolv.conf(5): the next one if one times out or cannot answer. A server that keeps
timing out is health-checked and skipped until it answers again: on a machine without a resolver, SERVFAIL is immediate.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from sampan.dns import resolvconf, wire
from sampan.dns.answering import Later
from sampan.dns.server import DNSServer, Limits
from sampan.dns.upstream import Address, Upstream
from sampan.dns.wire import Query, Reply

PORT = 53
MAX_SERVERS = 3
"""As many as resolv.conf(5) lets a resolver use."""
SUSPICION_SECONDS = 1.0
"""A server that has not answered for so long is asked whether it is well."""
ATTEMPT_SECONDS = 1.5
"""How long a server is waited for while there is another."""
TOTAL_SECONDS = 4.5
"""Resolvers give up after five seconds."""
CHECK_EVERY = 1.0
IDLE_SECONDS = 10.0
MAX_UNDER_WAY = 256
LIMITS = Limits(pending=MAX_UNDER_WAY, connections=64)
"""A pod that asks without end must leave the supervisor descriptors for its other work."""

_CHECK = struct.pack("!6HBHH", 0, wire.RECURSION_DESIRED, 1, 0, 0, 0, 0, wire.NS, wire.IN)
_PASS_OVER = (wire.SERVFAIL, wire.NOTIMP, wire.REFUSED)


class MakeSocket(Protocol):
    """An unbound socket in the network of a node, or of the box itself without a name."""

    def __call__(self, *, node: str, datagram: bool) -> Awaitable[socket.socket]: ...


async def answer(make_socket: MakeSocket, gateway: str) -> None:
    """Answer at the gateway's port 53 until cancelled. Raises OSError."""
    udp = await make_socket(node="", datagram=True)
    tcp = await make_socket(node="", datagram=False)
    for one in (udp, tcp):
        one.setblocking(False)
        one.bind((gateway, PORT))
    server = DNSServer(Relay(MachineServers()), LIMITS)
    try:
        await server.serve(udp, tcp)
        await asyncio.Event().wait()
    finally:
        await server.close()


class MachineServers:
    """The name servers that a resolv.conf has at the moment; without any, as for glibc, the loopback's."""

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._servers: tuple[Address, ...] = ()

    def __call__(self) -> Sequence[Address]:
        state = self._state()
        if state != self._seen or not self._servers:
            self._seen, self._servers = state, self._read()
        return self._servers

    def _state(self) -> tuple[int, ...]:
        """What differs if the file does."""
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> tuple[Address, ...]:
        try:
            text = self._path.read_text(errors="replace")
        except OSError:
            text = ""
        named = [address for address in resolvconf.nameservers_in(text) if _is_address(address)][:MAX_SERVERS]
        return tuple((address, PORT) for address in dict.fromkeys(named or ["127.0.0.1"]))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _Server:
    """One of the machine's name servers; whoever waits for it stops as soon as it is known to be down."""

    def __init__(self, address: Address) -> None:
        self.upstream = Upstream(address, expire=IDLE_SECONDS, check_every=CHECK_EVERY, check=_CHECK)
        self.upstream.failed = self._give_up
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def is_down(self) -> bool:
        return self.upstream.fails > 0

    async def ask(self, packet: bytes, *, tcp: bool, seconds: float) -> bytes:
        """The answer as it came. Raises OSError, which TimeoutError is."""
        suspicion = asyncio.get_running_loop().call_later(SUSPICION_SECONDS, self.upstream.suspect)
        try:
            async with asyncio.timeout(seconds) as limit:
                self._waiting.add(limit)
                try:
                    return await self.upstream.ask(packet, tcp=tcp)
                finally:
                    self._waiting.discard(limit)
        finally:
            suspicion.cancel()

    def _give_up(self) -> None:
        now = asyncio.get_running_loop().time()
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(now)


class Relay:
    """Turns packets into others' answers; `servers` tells whom to ask, each time anew."""

    def __init__(self, servers: Callable[[], Sequence[Address]]) -> None:
        self._addresses = servers
        self._servers: dict[Address, _Server] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._under_way = 0

    def answer_udp(self, packet: bytes, client: object, /) -> bytes | Later | None:
        return self._answer(packet, tcp=False)

    def answer_tcp(self, packet: bytes, client: object, /) -> bytes | Later | None:
        return self._answer(packet, tcp=True)

    def observe(self, seconds: float, times: int, /) -> None:
        """Nobody asks for these figures."""

    def _answer(self, packet: bytes, *, tcp: bool) -> bytes | Later | None:
        try:
            query = wire.parse_query(packet)
        except wire.NotAnswerable:
            return None
        except wire.Malformed as wrong:
            return wire.error(packet, wrong.rcode & 0xF)
        if query.type in (wire.AXFR, wire.IXFR):
            return _denied(packet, query, wire.REFUSED)
        servers = [server for server in self._current() if not server.is_down]
        if not servers or self._under_way >= MAX_UNDER_WAY:
            return _denied(packet, query, wire.SERVFAIL)
        return self._relay(packet, query, servers, tcp=tcp)

    def _current(self) -> list[_Server]:
        """The machine's servers now. Of those that were there before, what is known about them is kept."""
        addresses = self._addresses()
        if self._servers.keys() != set(addresses):
            before, self._servers = self._servers, {}
            for address in addresses:
                self._servers[address] = before.pop(address) if address in before else _Server(address)
            for gone in before.values():
                task = asyncio.get_running_loop().create_task(gone.upstream.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        return [self._servers[address] for address in addresses]

    async def _relay(self, packet: bytes, query: Query, servers: Sequence[_Server], *, tcp: bool) -> bytes:
        self._under_way += 1
        try:
            answer = await _ask(packet, servers, tcp=tcp)
        finally:
            self._under_way -= 1
        return packet[:2] + answer[2:] if answer else _denied(packet, query, wire.SERVFAIL)


async def _ask(packet: bytes, servers: Sequence[_Server], *, tcp: bool) -> bytes:
    """The first good answer, or else the last one, or else none."""
    deadline = asyncio.get_running_loop().time() + TOTAL_SECONDS
    answer = b""
    for others_left, server in zip(range(len(servers) - 1, -1, -1), servers, strict=True):
        left = deadline - asyncio.get_running_loop().time()
        try:
            answer = await server.ask(packet, tcp=tcp, seconds=min(left, ATTEMPT_SECONDS) if others_left else left)
        except OSError:
            continue
        if answer[3] & 0xF not in _PASS_OVER:
            break
    return answer


def _denied(packet: bytes, query: Query, rcode: int) -> bytes:
    return packet[:2] + wire.build(query, Reply(rcode, authoritative=False), query.udp_size)
