"""UDP listeners: a session for each client address, with a socket of its own to its endpoint, until nobody speaks."""

import asyncio
import logging
import socket
from collections import OrderedDict
from typing import Any

from sampan.proxy.backends.userspace.balancer import Balancer
from sampan.proxy.backends.userspace.limits import Tally
from sampan.proxy.state import Endpoint

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
MAX_SESSIONS = 4096
"""Of one listener; beyond that, the session that has been silent for longest ends."""

BURST = 64
MAX_DATAGRAM = 1 << 16

Address = tuple[Any, ...]


class Session:
    """One client's datagrams: a socket connected to the endpoint chosen for it."""

    def __init__(self, listener: "UDPListener", client: Address, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.last_used = 0.0
        self._listener = listener
        self._client = client
        self._socket = socket.socket(socket.AF_INET6 if ":" in endpoint.ip else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect((endpoint.ip, endpoint.port))
        except OSError:
            self._socket.close()
            raise
        listener.loop.add_reader(self._socket, self._answered)

    def send(self, data: bytes) -> None:
        """Raises OSError: ConnectionRefusedError if nobody listens at the endpoint."""
        try:
            self._socket.send(data)
        except BlockingIOError:
            return  # datagrams may be lost where there is no room

    def close(self) -> None:
        self._listener.loop.remove_reader(self._socket)
        self._socket.close()

    def _answered(self) -> None:
        for _ in range(BURST):
            try:
                data = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._listener.end(self._client)
                return
            self._listener.answer(self._client, data)


class UDPListener:
    """One socket. Use it in the loop's thread only; `close` ends its sessions."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, balancer: Balancer, tally: Tally) -> None:
        self.loop = loop
        self._tally = tally
        self._balancer = balancer
        self._sessions: OrderedDict[Address, Session] = OrderedDict()
        self._socket = _bound(address)
        self.port: int = self._socket.getsockname()[1]
        self._sweep: asyncio.TimerHandle | None = None
        loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        self.loop.remove_reader(self._socket)
        for client in list(self._sessions):
            self.end(client)
        if self._sweep is not None:
            self._sweep.cancel()
        self._socket.close()

    def endpoints_changed(self) -> None:
        """End the sessions whose endpoint has gone: their clients get another with their next datagram."""
        for client, session in list(self._sessions.items()):
            if not self._balancer.serves(session.endpoint):
                self.end(client)

    def answer(self, client: Address, data: bytes) -> None:
        """Send an endpoint's datagram back to the client."""
        self._tally.bytes += len(data)
        self._touch(client)
        try:
            self._socket.sendto(data, client)
        except OSError as error:
            log.debug("answering %s: %s", client[0], error)

    def end(self, client: Address) -> None:
        session = self._sessions.pop(client, None)
        if session is not None:
            session.close()

    def _readable(self) -> None:
        for _ in range(BURST):
            try:
                data, client = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("receiving: %s", error)
                return
            self._forward(client, data)

    def _forward(self, client: Address, data: bytes) -> None:
        try:
            session = self._sessions.get(client) or self._begin(client)
            if session is not None:
                self._touch(client)
                self._tally.bytes += len(data)
                session.send(data)
        except OSError as error:
            log.debug("a datagram of %s: %s", client[0], error)
            self.end(client)

    def _begin(self, client: Address) -> Session | None:
        endpoint = self._balancer.pick(client[0])
        if endpoint is None:
            return None
        if len(self._sessions) >= MAX_SESSIONS:
            self.end(next(iter(self._sessions)))
        session = self._sessions[client] = Session(self, client, endpoint)
        self._tally.connections += 1
        if self._sweep is None:
            self._sweep = self.loop.call_later(IDLE_SECONDS, self._end_idle)
        return session

    def _touch(self, client: Address) -> None:
        session = self._sessions.get(client)
        if session is not None:
            session.last_used = self.loop.time()
            self._sessions.move_to_end(client)

    def _end_idle(self) -> None:
        """End what has been silent for long, and come again when the next may have been."""
        self._sweep = None
        now = self.loop.time()
        while self._sessions:
            client, session = next(iter(self._sessions.items()))
            left = session.last_used + IDLE_SECONDS - now
            if left > 0:
                self._sweep = self.loop.call_later(left, self._end_idle)
                return
            self.end(client)


def _bound(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock
