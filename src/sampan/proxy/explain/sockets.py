"""Who listens in a pod: /proc/net of its network namespace, decoded."""

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from sampan.kernel import netns
from sampan.proxy.explain.facts import Listening

FILES = {"tcp": "TCP", "tcp6": "TCP", "udp": "UDP", "udp6": "UDP"}
_LISTENING = {"TCP": "0A", "UDP": "07"}


def listening(network: str) -> tuple[Listening, ...]:
    """The sockets that listen in a network namespace. Raises OSError."""

    def read() -> dict[str, str]:
        return {name: Path("/proc/thread-self/net", name).read_text() for name in FILES if _exists(name)}

    files = netns.run_in(network, read)
    return tuple(dict.fromkeys(each for name, text in files.items() for each in parse(text, FILES[name])))


def _exists(name: str) -> bool:
    return Path("/proc/thread-self/net", name).exists()


def parse(text: str, protocol: str) -> Iterator[Listening]:
    """The listening sockets of a file such as /proc/net/tcp."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENING[protocol]:
            address, _, port = fields[1].partition(":")
            yield Listening(protocol=protocol, ip=_ip(address), port=int(port, 16))


def _ip(text: str) -> str:
    """32-bit words in the machine's order; an IPv4 address in an IPv6 socket is shown as such."""
    data = b"".join(int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    if len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    mapped = ipaddress.IPv6Address(data).ipv4_mapped
    return str(mapped) if mapped else socket.inet_ntop(socket.AF_INET6, data)
