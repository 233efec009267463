"""UDP sockets that answer from the address that was asked.

A socket bound to all addresses sends from whichever the kernel would choose; a client that asked another takes such an
answer for a stranger's (RFC 2181, section 4.1). So the address that a packet came to is kept with its sender. Where
there is only one besides loopback's, as in a pod, nothing can be wrong, and the plain calls are faster by a tenth.
"""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

RECEIVE_BUFFER = 4 << 20
_IP_PKTINFO = 8  # which the socket module does not name in Python 3.11
_PROC = Path("/proc/net")
_SPACE = 64
_WILDCARDS = ("0.0.0.0", "::")

Client = tuple[Any, ...]
"""An address as sockets give it: at least a host and a port."""


@dataclass(frozen=True, slots=True)
class UDP:
    """A socket, and the calls with which packets come in and answers go out. Both raise OSError."""

    socket: socket.socket
    receive: Callable[[int], tuple[bytes, Client]]
    send: Callable[[bytes, Client], int]


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not block. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket, *, addresses_change: bool = False) -> UDP:
    """Let a bound socket answer as it should, also if addresses are added later. Raises OSError."""
    if sock.getsockname()[0] not in _WILDCARDS or not (addresses_change or several_addresses(sock.family)):
        return UDP(sock, sock.recvfrom, sock.sendto)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def receive(size: int) -> tuple[bytes, Client]:
        packet, ancillary, _, client = sock.recvmsg(size, _SPACE)
        found = _Asker(client)
        found.asked = _source(ancillary)
        return packet, found

    def send(answer: bytes, client: Client) -> int:
        return sock.sendmsg((answer,), getattr(client, "asked", ()), 0, client)

    return UDP(sock, receive, send)


class _Asker(tuple[Any, ...]):
    """A client's address, that knows which of ours was asked; two that ask different ones are equal all the same."""

    asked: list[tuple[int, int, bytes]]


def _source(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """What makes an answer leave from where a packet came in; by any interface, unless the address is of one link."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, local, _ = struct.unpack("@i4s4s", data[:12])
            return [(level, kind, struct.pack("@i4s4s", 0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            link_local = data[0] == 0xFE and data[1] & 0xC0 == 0x80
            return [(level, kind, data if link_local else data[:16] + bytes(4))]
    return []


def several_addresses(family: int) -> bool:
    """Whether there is more than one address, loopback's aside, now; if that cannot be seen, yes."""
    try:
        return len(_addresses_6() if family == socket.AF_INET6 else _addresses_4()) > 1
    except (OSError, IndexError):
        return True


def _addresses_4() -> set[str]:
    """From the kernel's routes: an address, and below it that it is local."""
    lines = (_PROC / "fib_trie").read_text().splitlines()
    found = {line.split()[1] for line, below in pairwise(lines) if below.strip() == "/32 host LOCAL"}
    return {address for address in found if not address.startswith("127.")}


def _addresses_6() -> set[str]:
    lines = (_PROC / "if_inet6").read_text().splitlines()
    return {line.split()[0] for line in lines if line.split()[-1] != "lo"}
