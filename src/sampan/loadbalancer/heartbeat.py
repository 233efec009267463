"""Heartbeats between speakers: small authenticated Ethernet frames on the LAN that the addresses are announced on.

They go where ARP goes, so that who is heard can also answer; no address, port or firewall rule is involved. A frame is

    destination broadcast, source, type 0x88b5 (local experiments, IEEE 802)
    "SLB1"  flags  sequence (8 bytes, big-endian)  length of the name  name  HMAC-SHA256, its first 16 bytes

The sequence of a node only rises, also over restarts (it begins at the time), so that a recorded frame is no use while
its sender lives. `Peers` keeps what has been heard.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

ETHERTYPE = 0x88B5
BROADCAST = b"\xff" * 6
ABLE = 0x01
"""The sender may be given addresses: its agent and its link work."""

INTERVAL = 0.5
SILENCE = 2.0
"""Seconds without a heartbeat after which a node counts as dead."""

_ETHERNET = struct.Struct("!6s6sH")
_BODY = struct.Struct("!4sBQB")
_MAGIC = b"SLB1"
_DIGEST = 16
MINIMUM_FRAME = 60


@dataclass(frozen=True, slots=True)
class Heartbeat:
    node: str
    sequence: int
    is_able: bool


def encode(beat: Heartbeat, key: bytes, mac: bytes) -> bytes:
    """The frame, from the hardware address `mac`. Raises ValueError for a name of more than 255 bytes."""
    name = beat.node.encode()
    if len(name) > 255:
        raise ValueError(f"node name {beat.node!r} is too long")
    body = _BODY.pack(_MAGIC, ABLE if beat.is_able else 0, beat.sequence, len(name)) + name
    frame = _ETHERNET.pack(BROADCAST, mac, ETHERTYPE) + body + _sign(key, body)
    return frame.ljust(MINIMUM_FRAME, b"\0")


def decode(frame: bytes, key: bytes) -> Heartbeat | None:
    """What a frame says; None if it is anything else than a heartbeat signed with `key`."""
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
    return Heartbeat(node, sequence, bool(flags & ABLE))


def sender(frame: bytes) -> bytes:
    """The hardware address that a frame comes from."""
    return frame[6:12]


def _sign(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_DIGEST]


class Sequence:
    """Rising numbers, above those of any earlier process on the same machine."""

    def __init__(self) -> None:
        self._last = time.time_ns()

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns())
        return self._last


@dataclass(slots=True)
class _Peer:
    sequence: int
    heard: float
    is_able: bool


class Peers:
    """Which other nodes are alive. All times are seconds of one monotonic clock.

    Everybody counts as alive for the first `SILENCE` seconds: who has just begun to listen knows nothing.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._peers: dict[str, _Peer] = {}

    def hear(self, beat: Heartbeat, now: float) -> bool:
        """Take a heartbeat; whether who is alive has changed by it. One that is repeated counts for nothing."""
        known = self._peers.get(beat.node)
        if known is None:
            self._peers[beat.node] = _Peer(beat.sequence, now, beat.is_able)
            return True
        if beat.sequence <= known.sequence:
            return False
        before = known.is_able and now - known.heard <= SILENCE
        known.sequence, known.heard, known.is_able = beat.sequence, now, beat.is_able
        return before != beat.is_able

    def alive(self, nodes: Iterable[str], now: float) -> frozenset[str]:
        """Those of the nodes that are heard and able."""
        return frozenset(node for node in nodes if self._is_alive(node, now))

    def _is_alive(self, node: str, now: float) -> bool:
        peer = self._peers.get(node)
        if peer is None:
            return now - self._began <= SILENCE
        return peer.is_able and now - peer.heard <= SILENCE

    def excuse(self, seconds: float) -> None:
        """Do not hold a pause of this process itself (it was stopped, or had no CPU) against the others."""
        self._began += seconds
        for peer in self._peers.values():
            peer.heard += seconds
