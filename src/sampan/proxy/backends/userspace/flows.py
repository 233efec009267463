"""What would outlive the mode: UDP flows that are still led to a listener after the rules have gone.

TCP connections stay with the listener that accepted them. A UDP client that goes on sending must get a new flow, by the
rules that hold then.
"""

import socket
from contextlib import closing

from sampan.kernel.conntrack import Conntrack
from sampan.kernel.nft import Nft
from sampan.proxy.backends.userspace.rules import LISTENERS, OUTSIDE_LISTENERS
from sampan.proxy.backends.userspace.text import TABLE

Address = tuple[str, int]


def listener_addresses(family: int) -> set[Address]:
    """Where the table sends connections, be it this process or an earlier one that wrote it. Raises OSError."""
    with closing(Nft()) as nft:
        present = set(nft.sets(family, TABLE)) & {LISTENERS, OUTSIDE_LISTENERS}
        return {_address(data, family) for name in present for _, data in nft.elements(family, TABLE, name)}


def forget(family: int, answered_by: set[Address]) -> None:
    """Forget the UDP flows that are answered at these addresses. Raises OSError."""
    if not answered_by:
        return
    with closing(Conntrack()) as tracking:
        found = [flow for flow in tracking.flows(family, "UDP") if (flow.backend, flow.backend_port) in answered_by]
        tracking.delete(family, found)


def _address(data: bytes, family: int) -> Address:
    code, size = (socket.AF_INET, 4) if family == 4 else (socket.AF_INET6, 16)
    return socket.inet_ntop(code, data[:size]), int.from_bytes(data[size : size + 2], "big")
