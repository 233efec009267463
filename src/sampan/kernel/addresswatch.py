"""When local addresses come and go, as rtnetlink tells it: a hint to look again, without what has changed."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

_NETLINK_ROUTE = 0
_GROUPS = 0x10 | 0x100
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""

_RECEIVE = 1 << 16


class AddressWatch:
    """Watches the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._socket.setblocking(False)
        self._socket.bind((0, _GROUPS))

    def close(self) -> None:
        self._socket.close()

    async def changes(self) -> AsyncIterator[None]:
        """Something each time that addresses have changed; what was missed in between counts as one change."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.sock_recv(self._socket, _RECEIVE)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            yield
