"""Connections to image registries: selects the network namespace by the address, and words errors as Go's `net.Dial`.

Addresses of the cluster are reached only inside it. All other addresses, and all names, are reached or resolved on the
machine: a socket keeps the network namespace it was made in, so a node can pull images without outbound access. Nodes
may not reach the machine's loopback and cloud metadata addresses. The check applies to the resolved address, so that
neither a name nor a registry's redirect can bypass it.
"""

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from sampan.http.client import Dial
from sampan.kernel import netns

CONNECT_SECONDS = 10.0

Place = Literal["inside", "outside"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """From which network namespace to connect. `MACHINE` is for no cluster: always the caller's own namespace."""

    cluster: tuple[str, ...] = ()
    """Networks of the cluster."""
    inside: Path | None = None
    """The network namespace for addresses of the cluster; None: the caller's own."""
    outside: Path | None = None
    """The network namespace for all other addresses; None: the caller's own."""
    never: tuple[str, ...] = ()
    """Networks to which no connection is made."""
    loopback: tuple[Place, ...] = ("outside",)
    """In which namespaces a loopback address is tried, in this order."""


MACHINE = Ways()


def places(address: str, ways: Ways) -> tuple[Place, ...]:
    """The places from which to try an address; empty if it must not be reached."""
    ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if _is_in(ip, ways.cluster):
        return ("inside",)
    if ip.is_loopback or ip.is_unspecified:
        return ways.loopback
    return () if _is_in(ip, ways.never) else ("outside",)


def _plain(ip: Address) -> Address:
    """The IPv4 address of an IPv4-mapped IPv6 address, since the kernel connects to that."""
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def _is_in(ip: Address, networks: Sequence[str]) -> bool:
    return any(ip in ipaddress.ip_network(one) for one in networks)


def through(ways: Ways) -> Dial:
    """A dial function for `ways`. It raises OSError worded as in Go: `dial tcp 10.0.0.1:80: connect: …`."""
    namespaces = {"inside": ways.inside, "outside": ways.outside}

    async def dial(host: str, port: int) -> socket.socket:
        addresses = await asyncio.to_thread(_in, ways.outside, lambda: _resolve(host, port))
        failure: OSError = OSError(f"dial tcp: lookup {host}: no such host")
        for address in addresses:
            chosen = places(address, ways)
            if not chosen:
                failure = _failed(address, port, OSError(errno.EACCES, "not reached from a cluster"))
            for place in chosen:
                try:
                    return await asyncio.to_thread(_in, namespaces[place], lambda at=address: _connect(at, port))
                except OSError as error:
                    failure = _failed(address, port, error)
        raise failure

    return dial


def _in(network: Path | None, function: Callable[[], T]) -> T:
    return function() if network is None else netns.run_in(network, function)


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        missing = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        reason = "no such host" if missing else (error.strerror or "server misbehaving").lower()
        raise OSError(f"dial tcp: lookup {host}: {reason}") from error
    except UnicodeError as error:
        raise OSError(f"dial tcp: lookup {host}: no such host") from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _connect(address: str, port: int) -> socket.socket:
    connected = socket.create_connection((address, port), CONNECT_SECONDS)
    connected.setblocking(False)
    return connected


def _failed(address: str, port: int, error: OSError) -> OSError:
    at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if isinstance(error, TimeoutError) and error.errno is None:
        return OSError(f"dial tcp {at}: i/o timeout")
    return OSError(f"dial tcp {at}: connect: {reason(error)}")


def reason(error: OSError) -> str:
    """An error of the kernel in Go's words; others keep theirs."""
    if error.errno is None or error.errno not in errno.errorcode:
        return str(error)
    return os.strerror(error.errno).lower()
