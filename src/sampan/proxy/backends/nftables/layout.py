"""Names of the table's objects and the bytes of their keys: one place that base.py, encode.py and text.py agree on.

Every field of a concatenated key takes whole 32-bit words (nft pads shorter ones); addresses and ports are in network
order, the index of an endpoint is a number generator's output and thus in the machine's own order (nft has no type of
its own for such a number; as a `mark` it is printed well).
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable
from functools import cache
from socket import inet_pton
from typing import NamedTuple

from sampan.proxy.backends.keys import ADDRESS_BYTES, PROTOCOLS
from sampan.proxy.state import Endpoint

TABLE = "sampan-proxy"

SERVICES = "services"
EXTERNAL_SERVICES = "external-services"
LOCAL_SERVICES = "local-services"
STICKY_SERVICES = "sticky-services"
AFFINITY = "affinity-"
"""One map per service port with affinity: client → number of its endpoint. Written by packets; a repair leaves it."""
NUMBERS = "numbers-"
"""Maps per service port with affinity: endpoint → its number."""
SLOTS = "slots-"
LOCAL_SLOTS = "local-slots-"
"""Maps per service port with affinity: number → endpoint that a remembered client may be sent to."""
CONNECTIONS = "connections"
TRAFFIC = "traffic"
COUNTED = (CONNECTIONS, TRAFFIC)
"""Sets of all keys, whose elements count: first packets of connections, and all packets of both directions."""

CLUSTER_IPS = "cluster-ips"
HAIRPINS = "hairpins"
ALLOWED_SOURCES = "allowed-sources"
FILLED = (SERVICES, EXTERNAL_SERVICES, LOCAL_SERVICES, STICKY_SERVICES, CLUSTER_IPS, HAIRPINS, ALLOWED_SOURCES)
"""The fixed sets and maps, whose whole content follows from the state."""

ENDPOINTS = "endpoints-"
"""One map per number of endpoints: `endpoints-3` holds those of all Services that have three."""

EXTERNAL = "external"
LOCAL = "external-local"
FIREWALLED = "firewalled-"
REFUSE = "refuse"
DISCARD = "discard"
REMEMBER = "remember"
ACCOUNT = "account"

LOCAL_OFFSET = 1 << 16
"""Where in the index the endpoints for the Local policy begin, beside those for everyone."""

PROTOCOL_NAMES = {number: name.lower() for name, number in PROTOCOLS.items()}

AFFINITY_CLIENTS = 65535
"""How many clients of one service port are remembered."""

ADDRESS_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_PORT = struct.Struct(">HH")


def slots(family: int, endpoints: Iterable[Endpoint]) -> bytes:
    """address . port of endpoints, one after the other: their data. Written out, since there may be very many."""
    code = socket.AF_INET if family == 4 else socket.AF_INET6
    return b"".join([inet_pton(code, each.ip) + _port(each.port) for each in endpoints])


@cache
def _port(port: int) -> bytes:
    return _PORT.pack(port, 0)


def endpoint_map(count: int) -> str:
    return f"{ENDPOINTS}{count}"


def slot_bytes(family: int) -> int:
    return ADDRESS_BYTES[family] + 4


class Parts(NamedTuple):
    """A service key taken apart."""

    ip: str
    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.ip} . {self.protocol} . {self.port}"


def service_parts(key: bytes) -> Parts:
    size = len(key) - 8
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    return Parts(socket.inet_ntop(family, key[:size]), PROTOCOL_NAMES[key[size]], _PORT.unpack_from(key, size + 4)[0])


def slot_text(data: bytes) -> str:
    size = len(data) - 4
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, data[:size])} . {_PORT.unpack_from(data, size)[0]}"


def address_text(data: bytes) -> str:
    return str(ipaddress.ip_address(data))
