"""Reaching registries from a node that has no way out of its cluster: connections are made in another network.

The nodes of a box are cut off from the world, but a socket keeps the network it was made in. What the machine itself
reaches, its own loopback included, comes first; a registry inside the cluster is found by the second attempt.
"""

import asyncio
import socket
from pathlib import Path

from sampan.http.client import Dial
from sampan.kernel import netns

CONNECT_SECONDS = 10.0


def through(network: Path) -> Dial:
    """Connects from the network namespace kept at a path, or from the caller's own if that fails. Raises OSError."""

    async def dial(host: str, port: int) -> socket.socket:
        def connect() -> socket.socket:
            return socket.create_connection((host, port), CONNECT_SECONDS)

        try:
            connected = await asyncio.to_thread(netns.run_in, network, connect)
        except OSError:
            connected = await asyncio.to_thread(connect)
        connected.setblocking(False)
        return connected

    return dial
