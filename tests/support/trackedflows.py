"""Connections that the kernel tracks without a packet of theirs: written into its table, as `conntrack -I` does."""

import socket
import struct
from collections.abc import Iterable

from sampan.kernel.conntrack import NUMBERS
from sampan.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, Socket, attribute, nested, u8
from sampan.kernel.nfnetlink import NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK, be32, generic

End = tuple[str, int]
AT_ONCE = 200


def track(flows: Iterable[tuple[str, End, End, End]]) -> None:
    """Let the kernel track flows, each (protocol, client, what it addressed, who answers). Raises OSError."""
    requests = [_request(*flow) for flow in flows]
    with Socket(NETLINK_NETFILTER) as kernel:
        for start in range(0, len(requests), AT_ONCE):
            kernel.execute(*requests[start : start + AT_ONCE])


def _request(protocol: str, client: End, addressed: End, answering: End) -> Request:
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    payload = b"".join(
        (
            nested(1, *_tuple(protocol, client, addressed)),
            nested(2, *_tuple(protocol, answering, client)),
            be32(3, 1 << 1 | 1 << 3),  # seen an answer, confirmed
            be32(7, 600),
        )
    )
    return Request(NFNL_SUBSYS_CTNETLINK << 8, NLM_F_CREATE | NLM_F_EXCL, generic(family, payload), "tracking")


def _tuple(protocol: str, source: End, destination: End) -> tuple[bytes, bytes]:
    family, kinds = (socket.AF_INET6, (3, 4)) if ":" in source[0] else (socket.AF_INET, (1, 2))
    ips = [
        attribute(kind, socket.inet_pton(family, ip))
        for kind, (ip, _) in zip(kinds, (source, destination), strict=True)
    ]
    ports = [attribute(kind, struct.pack(">H", port)) for kind, (_, port) in ((2, source), (3, destination))]
    return nested(1, *ips), nested(2, u8(1, NUMBERS[protocol]), *ports)
