"""Connection tracking over ctnetlink: list flows and delete single ones.

Deleting matters for UDP, where a client that keeps sending never starts a new flow and so would stay with an endpoint
that is gone, or with the decision that there was none.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from sampan.kernel.netlink import Attributes, Request, attribute, attributes, nested, u8, u32
from sampan.kernel.nfnetlink import (
    GENERIC_BYTES,
    NFNL_SUBSYS_CTNETLINK,
    NetfilterSocket,
    dump_request,
    generic,
)

_GET, _DELETE = 1, 2
_ORIGINAL, _REPLY, _ID, _FILTER = 1, 2, 12, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ADDRESSES = {4: (socket.AF_INET, 1, 2), 6: (socket.AF_INET6, 3, 4)}
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_DESTINATION, _BY_PROTOCOL, _BY_PORT = 1 << 1, 1 << 3, 1 << 5
"""What of a tuple a filter looks at."""

PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}
NUMBERS = {name: number for number, name in PROTOCOLS.items()}

FILTERED_LISTINGS = 8
"""For more addresses than this, one listing of a whole protocol takes less time than one for each."""

ANY = ""
"""Instead of an address: every one."""

Address = tuple[str, int]


class Flow(NamedTuple):
    """A tracked flow: whom the client addressed and who answers. `identity` is what the kernel needs to delete it."""

    protocol: str
    client: str
    destination: str
    destination_port: int
    backend: str
    backend_port: int
    identity: tuple[bytes, bytes]


class Conntrack:
    """The flows of the network namespace that the calling thread is in when this is made."""

    def __init__(self) -> None:
        self._socket = NetfilterSocket()
        self._filters: bool | None = None  # False: this kernel has shown that it lists everything

    def close(self) -> None:
        self._socket.close()

    def flows(self, family: int, protocol: str) -> Iterator[Flow]:
        """All flows of one family and protocol."""
        yield from self._listed(family, protocol, None)

    def flows_to(self, family: int, protocol: str, addresses: Collection[Address]) -> Iterator[Flow]:
        """The flows whose client addressed one of these; an address may be ANY. A flow may come twice.

        The kernel picks them out, unless it is older than Linux 5.8: then it lists everything, once.
        """
        apart = [each for each in addresses if each[0] == ANY or (ANY, each[1]) not in addresses]
        several = len(apart) > FILTERED_LISTINGS
        for address in [None] if several or self._filters is False else apart:
            for flow in self._listed(family, protocol, address):
                if _is_to(flow, addresses):
                    yield flow
                elif address is not None and flow.destination_port != address[1]:
                    self._filters = False
            if self._filters is False:
                return

    def _listed(self, family: int, protocol: str, address: Address | None) -> Iterator[Flow]:
        code = _ADDRESSES[family][0]
        wanted = _filter(family, protocol, address) if self._filters is not False else b""
        request = dump_request(NFNL_SUBSYS_CTNETLINK, _GET, code, wanted, "listing tracked connections")
        try:
            answers = self._socket.dump(request)
        except OSError as error:
            if not wanted or error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._filters = False
            answers = self._socket.dump(dump_request(NFNL_SUBSYS_CTNETLINK, _GET, code, b"", request.about))
        for answer in answers:
            flow = _flow(attributes(answer, GENERIC_BYTES), family)
            if flow is not None and flow.protocol == protocol:
                yield flow

    def delete(self, family: int, flows: Iterable[Flow]) -> None:
        """Delete flows; those that have ended meanwhile are not an error. Raises OSError."""
        code = _ADDRESSES[family][0]
        requests = [
            Request(
                NFNL_SUBSYS_CTNETLINK << 8 | _DELETE,
                0,
                generic(code, nested(_ORIGINAL, flow.identity[0]) + attribute(_ID, flow.identity[1])),
                "deleting a tracked connection",
            )
            for flow in flows
        ]
        for start in range(0, len(requests), 100):
            self._socket.execute(*requests[start : start + 100], ignore=(errno.ENOENT,))


def _is_to(flow: Flow, addresses: Collection[Address]) -> bool:
    return (flow.destination, flow.destination_port) in addresses or (ANY, flow.destination_port) in addresses


def _filter(family: int, protocol: str, address: Address | None) -> bytes:
    """What asks the kernel for flows of a protocol, or those that were addressed to one address; nothing for others.

    A kernel that does not know filters passes over it. Of IPv6 addresses only the port is filtered: Linux takes a
    destination there for the one to leave out (up to 6.18 at least).
    """
    if protocol not in NUMBERS:
        return b""
    code, _, destination = _ADDRESSES[family]
    ip, port = address or (ANY, 0)
    ip = ANY if family == 6 else ip
    flags = _BY_PROTOCOL | (_BY_PORT if address else 0) | (_BY_DESTINATION if ip else 0)
    ips = nested(_TUPLE_IP, attribute(destination, socket.inet_pton(code, ip))) if ip else b""
    ports = attribute(_DESTINATION_PORT, struct.pack(">H", port)) if address else b""
    number = u8(_PROTO_NUMBER, NUMBERS[protocol])
    looked_at = nested(_FILTER, u32(_FILTER_ORIGINAL, flags), u32(_FILTER_REPLY, 0))
    return nested(_ORIGINAL, ips, nested(_TUPLE_PROTO, number, ports)) + looked_at


def _flow(found: Attributes, family: int) -> Flow | None:
    original, reply = found.get(_ORIGINAL), found.get(_REPLY)
    if original is None or reply is None:
        return None
    source, destination, number, port = _ends(original, family)
    backend, _, _, _ = _ends(reply, family)
    return Flow(
        PROTOCOLS.get(number, str(number)),
        source,
        destination,
        port,
        backend,
        _port(reply, _SOURCE_PORT),
        (original, found.get(_ID, b"")),
    )


def _ends(data: bytes, family: int) -> tuple[str, str, int, int]:
    code, source, destination = _ADDRESSES[family]
    fields = attributes(data)
    ips, proto = attributes(fields.get(_TUPLE_IP, b"")), attributes(fields.get(_TUPLE_PROTO, b""))
    number = proto.get(_PROTO_NUMBER, b"\0")[0]
    return (
        socket.inet_ntop(code, ips[source]),
        socket.inet_ntop(code, ips[destination]),
        number,
        _port(data, _DESTINATION_PORT),
    )


def _port(data: bytes, which: int) -> int:
    """A port of a tuple; 0 for protocols without ports."""
    value = attributes(attributes(data).get(_TUPLE_PROTO, b"")).get(which)
    return struct.unpack(">H", value)[0] if value else 0
