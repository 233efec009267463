"""IP Virtual Server over its generic netlink family: virtual servers and the real servers behind them.

Commands are data (`Command`), so that what will be done can be looked at and tested without a kernel; `Ipvs` executes
them and lists what there is. The words are those of ipvsadm(8).
"""

import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from sampan.kernel.genetlink import HEADER_BYTES, GenericSocket
from sampan.kernel.netlink import Attributes, attribute, attributes, nested, text, u16, u32

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf")
FLAG_PERSISTENT = 0x01
FLAG_SCHEDULER_PORT = 0x10
"""`sh-port` and `mh-port` of ipvsadm: the client's port counts in the hash."""
_KEPT_FLAGS = FLAG_PERSISTENT | 0x08 | FLAG_SCHEDULER_PORT | 0x20

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
_CODES = {4: socket.AF_INET, 6: socket.AF_INET6}

_GET_SERVICE, _GET_DESTINATION, _SET_CONFIG, _GET_CONFIG = 4, 8, 12, 13
_SERVICE, _DESTINATION, _TIMEOUT_TCP, _TIMEOUT_FIN, _TIMEOUT_UDP = 1, 2, 4, 5, 6
_S_FAMILY, _S_PROTOCOL, _S_ADDRESS, _S_PORT, _S_MARK, _S_SCHEDULER, _S_FLAGS, _S_TIMEOUT, _S_NETMASK = range(1, 10)
_D_ADDRESS, _D_PORT, _D_METHOD, _D_WEIGHT, _D_UPPER, _D_LOWER, _D_ACTIVE, _D_INACTIVE = range(1, 9)
_D_FAMILY = 11
_S_STATS64, _CONNECTIONS, _BYTES_IN, _BYTES_OUT = 12, 1, 4, 5
_MASQUERADE = 0
_PROBE_MARK = 0x7FFF5A3B
"""A firewall mark for a virtual server that exists for an instant, to see whether the kernel has a scheduler."""

_LOADED = Path("/proc/thread-self/net/ip_vs")


class Key(NamedTuple):
    """What identifies a virtual server."""

    protocol: str
    ip: str
    port: int

    @property
    def family(self) -> int:
        return 6 if ":" in self.ip else 4


class Service(NamedTuple):
    """How a virtual server behaves; `timeout` counts, in seconds, if it is persistent."""

    scheduler: str
    flags: int = 0
    timeout: int = 0


class Real(NamedTuple):
    """What identifies a real server of a virtual server."""

    ip: str
    port: int


class RealState(NamedTuple):
    weight: int
    active: int = 0
    inactive: int = 0


class Traffic(NamedTuple):
    """What went through a virtual server; bytes are those of both directions."""

    connections: int
    bytes: int


class Verb(IntEnum):
    """What to do; the numbers are the kernel's."""

    ADD_SERVICE = 1
    EDIT_SERVICE = 2
    DELETE_SERVICE = 3
    ADD_REAL = 5
    EDIT_REAL = 6
    DELETE_REAL = 7


class Command(NamedTuple):
    verb: Verb
    key: Key
    service: Service | None = None
    real: Real | None = None
    weight: int = 1


def loaded() -> bool:
    """Whether the kernel has IPVS ready (it may still be able to load it)."""
    return _LOADED.exists()


class Ipvs:
    """The virtual servers of the network namespace that the calling thread is in when this is made.

    Raises FileNotFoundError if the kernel has no IPVS.
    """

    def __init__(self) -> None:
        self._socket = GenericSocket("IPVS")

    def close(self) -> None:
        self._socket.close()

    def services(self, family: int) -> dict[Key, Service]:
        """All virtual servers of a family that stand at an address; those of firewall marks are others' business."""
        return {key: _read_service(fields) for key, fields in self._listed(family)}

    def traffic(self, family: int) -> dict[Key, Traffic]:
        """What every virtual server of a family has had so far."""
        return {key: _read_traffic(fields) for key, fields in self._listed(family)}

    def reals(self, key: Key) -> dict[Real, RealState]:
        """The real servers of a virtual server; none if there is no such virtual server."""
        request = self._socket.request(_GET_DESTINATION, nested(_SERVICE, _key(key)), f"listing real servers of {key}")
        found = {}
        for answer in self._socket.dump(request):
            fields = attributes(attributes(answer, HEADER_BYTES)[_DESTINATION])
            found[_read_real(fields, key.family)] = RealState(
                _number(fields, _D_WEIGHT), _number(fields, _D_ACTIVE), _number(fields, _D_INACTIVE)
            )
        return found

    def _listed(self, family: int) -> Iterator[tuple[Key, Attributes]]:
        for answer in self._socket.dump(self._socket.request(_GET_SERVICE, b"", "listing virtual servers")):
            fields = attributes(attributes(answer, HEADER_BYTES)[_SERVICE])
            key = _read_key(fields, family)
            if key is not None:
                yield key, fields

    def execute(self, commands: Iterable[Command]) -> None:
        """Obey in order. All are tried; raises the OSError of the first that the kernel refused."""
        self._socket.bulk([self._socket.request(each.verb, _payload(each), _about(each)) for each in commands])

    def has_scheduler(self, name: str) -> bool:
        """Whether the kernel has a scheduler or can load it."""
        key = u16(_S_FAMILY, socket.AF_INET) + u32(_S_MARK, _PROBE_MARK)
        probe = nested(_SERVICE, key, _behaviour(Service(name), 4))
        try:
            self._socket.execute(self._socket.request(Verb.ADD_SERVICE, probe, f"trying scheduler {name}"))
        except FileNotFoundError:
            return False
        self._socket.execute(self._socket.request(Verb.DELETE_SERVICE, nested(_SERVICE, key), f"trying {name}"))
        return True

    def timeouts(self) -> tuple[int, int, int]:
        """Seconds after which idle connections are forgotten: TCP, TCP after FIN, UDP."""
        answer = self._socket.ask(self._socket.request(_GET_CONFIG, b"", "asking for timeouts"))
        fields = attributes(answer or b"", HEADER_BYTES)
        tcp, fin, udp = (_number(fields, kind) for kind in (_TIMEOUT_TCP, _TIMEOUT_FIN, _TIMEOUT_UDP))
        return tcp, fin, udp

    def set_timeouts(self, tcp: int, fin: int, udp: int) -> None:
        """Change timeouts; 0 keeps what is."""
        payload = u32(_TIMEOUT_TCP, tcp) + u32(_TIMEOUT_FIN, fin) + u32(_TIMEOUT_UDP, udp)
        self._socket.execute(self._socket.request(_SET_CONFIG, payload, "setting timeouts"))


# --- the wire


def _payload(command: Command) -> bytes:
    service = _behaviour(command.service, command.key.family) if command.service else b""
    payload = nested(_SERVICE, _key(command.key), service)
    if command.real is None:
        return payload
    settings = u32(_D_METHOD, _MASQUERADE) + u32(_D_WEIGHT, command.weight) + u32(_D_UPPER, 0) + u32(_D_LOWER, 0)
    return payload + nested(_DESTINATION, _real(command.real), settings)


def _about(command: Command) -> str:
    what = command.verb.name.lower().replace("_", " ")
    behind = f" {command.real.ip} port {command.real.port} of" if command.real else ""
    return f"{what}{behind} {command.key.protocol} {command.key.ip} port {command.key.port}"


def _key(key: Key) -> bytes:
    code = _CODES[key.family]
    return (
        u16(_S_FAMILY, code)
        + u16(_S_PROTOCOL, PROTOCOLS[key.protocol])
        + attribute(_S_ADDRESS, socket.inet_pton(code, key.ip).ljust(16, b"\0"))
        + attribute(_S_PORT, key.port.to_bytes(2, "big"))
    )


def _behaviour(service: Service, family: int) -> bytes:
    flags = attribute(_S_FLAGS, struct.pack("=II", service.flags, 0xFFFFFFFF))
    netmask = 0xFFFFFFFF if family == 4 else 128
    return text(_S_SCHEDULER, service.scheduler) + flags + u32(_S_TIMEOUT, service.timeout) + u32(_S_NETMASK, netmask)


def _real(real: Real) -> bytes:
    code = socket.AF_INET6 if ":" in real.ip else socket.AF_INET
    address = socket.inet_pton(code, real.ip).ljust(16, b"\0")
    return attribute(_D_ADDRESS, address) + attribute(_D_PORT, real.port.to_bytes(2, "big")) + u16(_D_FAMILY, code)


def _read_key(fields: Attributes, family: int) -> Key | None:
    code = struct.unpack("=H", fields[_S_FAMILY])[0]
    if code != _CODES[family] or _S_ADDRESS not in fields:
        return None
    protocol = _PROTOCOL_NAMES.get(struct.unpack("=H", fields[_S_PROTOCOL])[0])
    if protocol is None:
        return None
    return Key(protocol, _ip(fields[_S_ADDRESS], family), int.from_bytes(fields[_S_PORT], "big"))


def _read_service(fields: Attributes) -> Service:
    flags = struct.unpack_from("=I", fields[_S_FLAGS])[0] & _KEPT_FLAGS
    scheduler = fields[_S_SCHEDULER].rstrip(b"\0").decode(errors="replace")
    return Service(scheduler, flags, _number(fields, _S_TIMEOUT) if flags & FLAG_PERSISTENT else 0)


def _read_traffic(fields: Attributes) -> Traffic:
    stats = attributes(fields.get(_S_STATS64, b""))
    connections, into, out = (
        int.from_bytes(stats.get(kind, b""), sys.byteorder) for kind in (_CONNECTIONS, _BYTES_IN, _BYTES_OUT)
    )
    return Traffic(connections, into + out)


def _read_real(fields: Attributes, family: int) -> Real:
    return Real(_ip(fields[_D_ADDRESS], family), int.from_bytes(fields[_D_PORT], "big"))


def _ip(data: bytes, family: int) -> str:
    return socket.inet_ntop(_CODES[family], data[: 4 if family == 4 else 16])


def _number(fields: Attributes, kind: int) -> int:
    return int(struct.unpack("=I", fields[kind])[0])
