"""Connection tracking over ctnetlink: list flows and delete single ones.

Deleting matters for UDP, where a client that keeps sending never starts a new flow and so would stay with an endpoint
that is gone, or with the decision that there was none.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sampan.kernel.netlink import Attributes, Request, attribute, attributes, nested
from sampan.kernel.nfnetlink import (
    GENERIC_BYTES,
    NFNL_SUBSYS_CTNETLINK,
    NetfilterSocket,
    dump_request,
    generic,
)

_GET, _DELETE = 1, 2
_ORIGINAL, _REPLY, _ID = 1, 2, 12
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ADDRESSES = {4: (socket.AF_INET, 1, 2), 6: (socket.AF_INET6, 3, 4)}
_ENOENT = 2

PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}


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

    def close(self) -> None:
        self._socket.close()

    def flows(self, family: int, protocol: str) -> Iterator[Flow]:
        """All flows of one family and protocol."""
        code = _ADDRESSES[family][0]
        request = dump_request(NFNL_SUBSYS_CTNETLINK, _GET, code, b"", "listing tracked connections")
        for answer in self._socket.dump(request):
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
            self._socket.execute(*requests[start : start + 100], ignore=(_ENOENT,))


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
