"""Heartbeats between speakers: small authenticated Ethernet frames on the LAN where addresses are announced.

A heartbeat takes the same path as ARP, so a node whose heartbeats arrive can also answer ARP; no IP address, port or
firewall rule is involved. A frame is

    destination broadcast, source, type 0x88b5 (local experiments, IEEE 802)
    "SLB1"  flags  sequence (8 bytes, big-endian)  length of the name  name  HMAC-SHA256, its first 16 bytes

The sequence number of a node only increases, also across restarts (it starts from the clock), so that replaying a
recorded frame has no effect while its sender is alive. `Peers` records which nodes are alive.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.kernel.packet import BROADCAST, MINIMUM_FRAME

ETHERTYPE = 0x88B5
HEALTHY = 0x01
"""Flag: the sender's node agent and link work, so that it may own addresses."""

INTERVAL = 0.5
DEAD_AFTER = 2.0
"""Seconds without a heartbeat after which a node counts as dead."""

_ETHERNET = struct.Struct("!6s6sH")
_BODY = struct.Struct("!4sBQB")
_MAGIC = b"SLB1"
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Heartbeat:
    node: str
    sequence: int
    is_healthy: bool


def encode(beat: Heartbeat, key: bytes, mac: bytes) -> bytes:
    """The frame, with the source address `mac`. Raises ValueError for a name of more than 255 bytes."""
    name = beat.node.encode()
    if len(name) > 255:
        raise ValueError(f"node name {beat.node!r} is too long")
    body = _BODY.pack(_MAGIC, HEALTHY if beat.is_healthy else 0, beat.sequence, len(name)) + name
    frame = _ETHERNET.pack(BROADCAST, mac, ETHERTYPE) + body + _sign(key, body)
    return frame.ljust(MINIMUM_FRAME, b"\0")


def decode(frame: bytes, key: bytes) -> Heartbeat | None:
    """The heartbeat in a frame; None if the frame is not a heartbeat signed with `key`."""
    if len(frame) < _ETHERNET.size + _BODY.size or frame[12:14] != ETHERTYPE.to_bytes(2, "big"):
        return None
    magic, flags, sequence, length = _BODY.unpack_from(frame, _ETHERNET.size)
    end = _ETHERNET.size + _BODY.size + length
    body, digest = frame[_ETHERNET.size : end], frame[end : end + _DIGEST]
    if magic != _MAGIC or not hmac.compare_digest(digest, _sign(key, body)):
        return None
    try:
        node = body[_BODY.size :].decode()
    except UnicodeDecodeError:
        return None
    return Heartbeat(node, sequence, bool(flags & HEALTHY))


def sender(frame: bytes) -> bytes:
    """The source address (MAC) of a frame."""
    return frame[6:12]


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_DIGEST]


class Sequence:
    """Increasing numbers, above those of any earlier process on the same machine."""

    def __init__(self) -> None:
        self._last = time.time_ns()

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns())
        return self._last


@dataclass(slots=True)
class _Peer:
    sequence: int
    heard: float
    is_healthy: bool


class Peers:
    """Which other nodes are alive. All times are seconds of one monotonic clock.

    Every node counts as alive for the first `DEAD_AFTER` seconds, because no heartbeat could arrive earlier.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._peers: dict[str, _Peer] = {}

    def hear(self, beat: Heartbeat, now: float) -> bool:
        """Record a heartbeat; return whether it changes which nodes are alive. A replayed one is ignored."""
        known = self._peers.get(beat.node)
        if known is None:
            self._peers[beat.node] = _Peer(beat.sequence, now, beat.is_healthy)
            return True
        if beat.sequence <= known.sequence:
            return False
        before = known.is_healthy and now - known.heard <= DEAD_AFTER
        known.sequence, known.heard, known.is_healthy = beat.sequence, now, beat.is_healthy
        return before != beat.is_healthy

    def alive(self, nodes: Iterable[str], now: float) -> frozenset[str]:
        """Those of the nodes that are alive and healthy."""
        return frozenset(node for node in nodes if self._is_alive(node, now))

    def _is_alive(self, node: str, now: float) -> bool:
        peer = self._peers.get(node)
        if peer is None:
            return now - self._began <= DEAD_AFTER
        return peer.is_healthy and now - peer.heard <= DEAD_AFTER

    def extend(self, seconds: float) -> None:
        """Extend all deadlines after a pause of this process (it was stopped, or had no CPU)."""
        self._began += seconds
        for peer in self._peers.values():
            peer.heard += seconds
