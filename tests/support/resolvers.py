"""A scripted resolver over UDP and TCP, for what real ones only do on bad days; and a client's question."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import dns.asyncquery
import dns.message
import dns.rrset

HOST = "127.0.0.1"
Behaviour = Callable[[dns.message.Message], Iterable[bytes] | float]


class Resolver(asyncio.DatagramProtocol):
    """`behave(query)` gives the packets that are sent back, over UDP; `over_tcp(query)` over TCP."""

    def __init__(self, behave: Behaviour, over_tcp: Behaviour | None = None) -> None:
        self.behave, self.over_tcp = behave, over_tcp or behave
        self.asked: list[dns.message.Message] = []
        self.asked_tcp: list[dns.message.Message] = []
        self.connections = 0
        self.clients: set[Any] = set()

    @property
    def to(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self, stack: contextlib.AsyncExitStack, host: str = HOST, port: int = 0) -> "Resolver":
        loop = asyncio.get_running_loop()
        while True:
            server = await asyncio.start_server(self._serve, host, port)
            self.port = server.sockets[0].getsockname()[1]
            try:
                transport, _ = await loop.create_datagram_endpoint(lambda: self, (host, self.port))
                break
            except OSError:  # a port that is free for TCP may be taken for UDP
                server.close()
                if port:
                    raise
        stack.callback(transport.close)
        stack.callback(server.close)
        return self

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        self.clients.add(addr)
        for packet in self.behave(query):
            self.transport.sendto(packet, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                query = dns.message.from_wire(await reader.readexactly(size))
                self.asked_tcp.append(query)
                for packet in self.over_tcp(query):
                    writer.write(len(packet).to_bytes(2, "big") + packet)
        writer.close()


def response(query: dns.message.Message, *records: tuple[Any, ...], rcode: int = 0, flags: int = 0) -> bytes:
    """An answer with records given as `(name, ttl, class, type, data)`."""
    message = dns.message.make_response(query, recursion_available=True)
    message.set_rcode(rcode)
    message.flags |= flags
    message.answer = [dns.rrset.from_text(*record) for record in records if record[3] != "SOA"]
    message.authority = [dns.rrset.from_text(*record) for record in records if record[3] == "SOA"]
    return message.to_wire(max_size=65535)


def address(query: dns.message.Message, ttl: int = 60, data: str = "192.0.2.7") -> list[bytes]:
    return [response(query, (query.question[0].name, ttl, "IN", "A", data))]


def nothing(query: dns.message.Message) -> list[bytes]:
    return []
