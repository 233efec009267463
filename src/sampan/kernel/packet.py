"""Packet sockets (packet(7)) for raw Ethernet frames with a classic BPF filter, and multicast group membership.

`arp.py` and `ndp.py` define the filters and the contents of the frames.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
BROADCAST = b"\xff" * 6
MINIMUM_FRAME = 60
"""Bytes of the shortest Ethernet frame, without its checksum."""
FRAME = 2048
"""Bytes that are read of a frame; ARP, NDP and heartbeat frames are much shorter."""

Instruction = tuple[int, int, int, int]
"""A classic BPF instruction: code, jump if true, jump if false, constant."""

LOAD_HALF, LOAD_BYTE, JUMP_IF_EQUAL, RETURN = 0x28, 0x30, 0x15, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")


def matching(*tests: tuple[int, int, int]) -> tuple[Instruction, ...]:
    """A BPF program that passes the frames for which all tests hold: (load instruction, offset, value)."""
    program: list[Instruction] = []
    for index, (load, offset, value) in enumerate(tests):
        to_the_end = 2 * (len(tests) - index) - 1
        program += [(load, 0, 0, offset), (JUMP_IF_EQUAL, 0, to_the_end, value)]
    return (*program, (RETURN, 0, 0, FRAME), (RETURN, 0, 0, 0))


class PacketSocket:
    """A socket for received frames of one EtherType on one interface, optionally filtered by a BPF program.

    It never blocks: `receive` returns None if there is no frame or the interface is down.
    """

    def __init__(self, interface: str, protocol: int, program: Sequence[Instruction] = ()) -> None:
        """Raises OSError (no such interface, not allowed)."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: receives nothing until it is bound
        try:
            if program:
                _attach(self._socket, program)
            with contextlib.suppress(OSError):  # Linux 4.20
                self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((interface, protocol))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bytes | None:
        try:
            frame, sender = self._socket.recvfrom(FRAME)
        except OSError:
            return None
        return None if sender[2] == socket.PACKET_OUTGOING else frame

    def send(self, frame: bytes) -> None:
        """Send a whole frame. Raises OSError (the interface is down or gone, its queue is full)."""
        self._socket.send(frame)

    def close(self) -> None:
        self._socket.close()


def _attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*one) for one in program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _PROGRAM.pack(len(program), ctypes.addressof(code)))


class MulticastGroups:
    """Membership of one interface in IPv6 multicast groups, until closed.

    The kernel sends the MLD reports that a snooping switch needs to forward packets of a group.
    """

    def __init__(self, interface: str) -> None:
        self._index = socket.if_nametoindex(interface)
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._joined: set[bytes] = set()

    def follow(self, groups: set[bytes]) -> None:
        """Be a member of exactly these groups (addresses of 16 bytes).

        Raises OSError after joining as many as possible; the kernel's limit is net.core.optmem_max.
        """
        for group in self._joined - groups:
            self._joined.discard(group)
            with contextlib.suppress(OSError):
                self._change(socket.IPV6_LEAVE_GROUP, group)
        failure: OSError | None = None
        for group in groups - self._joined:
            try:
                self._change(socket.IPV6_JOIN_GROUP, group)
                self._joined.add(group)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def _change(self, option: int, group: bytes) -> None:
        self._socket.setsockopt(socket.IPPROTO_IPV6, option, group + struct.pack("@I", self._index))

    def close(self) -> None:
        self._socket.close()
