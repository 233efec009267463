"""The announcer: answers ARP and NDP for addresses on one interface, and announces addresses that are new there.

    announcer ── kernel/arp.py, kernel/ndp.py ── kernel/packet.py ── LAN

Sockets are open only while there are addresses. Everything runs on the event loop and never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from sampan.kernel import arp, ndp
from sampan.kernel.packet import MulticastGroups, PacketSocket

log = logging.getLogger(__name__)

ANNOUNCE_AFTER = (0.0, 0.3, 1.0, 2.0, 4.0)
"""Seconds after taking over an address at which it is announced; repeated, because a neighbour may miss one."""


class Announcer:
    """Answers for the addresses of the last `set_addresses`, with the interface's own hardware address `mac`."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._mac = b""
        self._addresses: frozenset[str] = frozenset()
        self._sockets: dict[int, PacketSocket] = {}
        self._groups: MulticastGroups | None = None
        self._warned_of: set[bytes] = set()
        self._timers: dict[str, list[asyncio.TimerHandle]] = {}
        self.is_current: Callable[[], bool] = lambda: True
        """Whether the addresses are up to date: after a pause of this process another node may own them."""
        self.speakers: set[bytes] = set()
        """MACs of other speakers, whose announcements of an address are a takeover and no conflict."""

    @property
    def addresses(self) -> frozenset[str]:
        return self._addresses

    def set_addresses(self, addresses: frozenset[str], mac: bytes) -> None:
        """Answer for exactly these addresses from now on, and announce those that are new. Raises OSError."""
        new = addresses if mac != self._mac else addresses - self._addresses
        for address in self._addresses - addresses:
            self._cancel(address)
        self._addresses, self._mac = addresses, mac
        self._open(ndp.ETHERTYPE, {address for address in addresses if ":" in address})
        self._open(arp.ETHERTYPE, {address for address in addresses if ":" not in address})
        for address in sorted(new):
            self.announce(address)

    def announce(self, address: str) -> None:
        """Broadcast several times which MAC an address has now."""
        self._cancel(address)
        loop = asyncio.get_running_loop()
        self._timers[address] = [loop.call_later(delay, self._announce, address) for delay in ANNOUNCE_AFTER]

    def close(self) -> None:
        """Stop answering and close the sockets."""
        for address in self._addresses:
            self._cancel(address)
        self._addresses = frozenset()
        for kind in list(self._sockets):
            self._close(kind)

    # --- sockets

    def _open(self, kind: int, addresses: set[str]) -> None:
        """Open the socket for an EtherType if there are addresses of its family, else close it."""
        if not addresses:
            self._close(kind)
            return
        if kind not in self._sockets:
            program = arp.REQUESTS if kind == arp.ETHERTYPE else ndp.SOLICITATIONS
            opened = self._sockets[kind] = PacketSocket(self._interface, kind, program)
            asyncio.get_running_loop().add_reader(opened.fileno(), self._answer, kind, opened)
        if kind == ndp.ETHERTYPE:
            self._groups = self._groups or MulticastGroups(self._interface)
            self._join({ndp.solicited_node(address) for address in addresses})

    def _join(self, groups: set[bytes]) -> None:
        """Join the groups that solicitations are sent to. Failing to matters only behind a switch that snoops MLD."""
        assert self._groups is not None
        try:
            self._groups.follow(groups)
        except OSError as error:
            if groups != self._warned_of:
                log.warning("joining %d multicast groups on %s: %s", len(groups), self._interface, error)
            self._warned_of = groups

    def _close(self, kind: int) -> None:
        closing = self._sockets.pop(kind, None)
        if closing is not None:
            asyncio.get_running_loop().remove_reader(closing.fileno())
            closing.close()
        if kind == ndp.ETHERTYPE and self._groups is not None:
            self._groups.close()
            self._groups = None

    # --- packets

    def _answer(self, kind: int, opened: PacketSocket) -> None:
        frame = opened.receive()
        if frame is None or not self.is_current():
            return
        if kind == arp.ETHERTYPE:
            question = arp.read_request(frame)
            if question is None or question.target not in self._addresses:
                return
            if question.sender == question.target:
                if question.sender_mac not in self.speakers:
                    log.warning("%s is announced by %s too", question.target, question.sender_mac.hex(":"))
                return
            self._send(kind, arp.reply(question, self._mac))
            return
        solicited = ndp.read_solicitation(frame)
        if solicited is not None and solicited.target in self._addresses:
            self._send(kind, ndp.advertisement(solicited, self._mac))

    def _announce(self, address: str) -> None:
        if address not in self._addresses or not self.is_current():
            return
        if ":" in address:
            self._send(ndp.ETHERTYPE, ndp.announcement(address, self._mac))
            return
        for frame in arp.announcements(address, self._mac):
            self._send(arp.ETHERTYPE, frame)

    def _send(self, kind: int, frame: bytes) -> None:
        """Send if possible. A lost frame does no harm: neighbours ask again, and announcements are repeated."""
        if kind in self._sockets:
            with contextlib.suppress(OSError):
                self._sockets[kind].send(frame)

    def _cancel(self, address: str) -> None:
        for timer in self._timers.pop(address, ()):
            timer.cancel()
