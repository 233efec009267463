"""IP sets over nfnetlink: make and remove them, add and delete members in bulk, list what they hold.

The words are those of ipset(8). A set that a rule refers to cannot be destroyed.
"""

import errno
import socket
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from sampan.kernel.netlink import NLM_F_CREATE, NLM_F_EXCL, Attributes, Request, attribute, attributes, nested, text, u8
from sampan.kernel.nfnetlink import GENERIC_BYTES, NetfilterSocket, elements, generic

NFNL_SUBSYS_IPSET = 6
_CREATE, _DESTROY, _LIST, _ADD, _DELETE = 2, 3, 7, 9, 10
_PROTOCOL, _NAME, _TYPE, _REVISION, _FAMILY, _FLAGS, _DATA, _MEMBERS, _LINE = range(1, 10)
_IP, _PORT, _PORT_TO, _PROTO, _HASH_SIZE, _MAX_MEMBERS, _IP2, _CIDR2 = 1, 4, 5, 7, 18, 19, 20, 21
_IPV4, _IPV6 = 1, 2
_NET_BYTE_ORDER = 0x4000
_VERSION = 6
_MANY = 1 << 20
_NAMES_ONLY = 2
_PER_MESSAGE = 500
BUSY = 4100
"""The errno of destroying a set that a rule still refers to."""

_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_CODES = {4: socket.AF_INET, 6: socket.AF_INET6}
_WORDS = {
    4097: "protocol error",
    4098: "the kernel has no such type of set",
    4099: "too many sets",
    BUSY: "the set is in use",
    4103: "the member is there already, or is not there",
    4352: "the set is full",
}


class SetType(Enum):
    """Kinds of sets: name, and the revision whose features are needed (SCTP among them)."""

    HASH_IP = ("hash:ip", 0)
    HASH_IP_PORT = ("hash:ip,port", 1)
    HASH_IP_PORT_IP = ("hash:ip,port,ip", 1)
    HASH_IP_PORT_NET = ("hash:ip,port,net", 2)
    BITMAP_PORT = ("bitmap:port", 0)


class Member(NamedTuple):
    """A member of a set of any kind; `other` is the second address or the network."""

    ip: str = ""
    protocol: str = ""
    port: int = 0
    other: str = ""

    def __str__(self) -> str:
        port = f"{self.protocol}:{self.port}" if self.protocol else str(self.port or "")
        return ",".join(part for part in (self.ip, port, self.other) if part)


class Ipset:
    """The sets of the network namespace that the calling thread is in when this is made."""

    def __init__(self) -> None:
        self._socket = NetfilterSocket()

    def close(self) -> None:
        self._socket.close()

    def names(self) -> set[str]:
        """All sets there are. Raises OSError if the kernel has no sets at all."""
        request = _request(_LIST, 0, _number(_FLAGS, _NAMES_ONLY, 4), "listing sets")
        found = (attributes(answer, GENERIC_BYTES).get(_NAME, b"") for answer in self._dump(request))
        return {name.rstrip(b"\0").decode(errors="replace") for name in found}

    def members(self, name: str) -> set[Member]:
        """What a set holds. Raises FileNotFoundError."""
        found: set[Member] = set()
        for answer in self._dump(_request(_LIST, 0, text(_NAME, name), f"listing set {name}")):
            listed = attributes(answer, GENERIC_BYTES).get(_MEMBERS, b"")
            found.update(_read(attributes(member)) for member in elements(listed))
        return found

    def create(self, name: str, kind: SetType, family: int) -> None:
        """Make an empty set. Raises FileExistsError."""
        if kind is SetType.BITMAP_PORT:
            code, data = 0, _number(_PORT, 0, 2) + _number(_PORT_TO, 65535, 2)
        else:
            code, data = _CODES[family], _number(_HASH_SIZE, 1024, 4) + _number(_MAX_MEMBERS, _MANY, 4)
        type_name, revision = kind.value
        payload = text(_NAME, name) + text(_TYPE, type_name) + u8(_REVISION, revision) + u8(_FAMILY, code)
        self._execute(_request(_CREATE, NLM_F_CREATE | NLM_F_EXCL, payload + nested(_DATA, data), f"make set {name}"))

    def destroy(self, name: str) -> None:
        """Remove a set. Raises FileNotFoundError; OSError with errno BUSY while a rule refers to it."""
        self._execute(_request(_DESTROY, NLM_F_EXCL, text(_NAME, name), f"destroy set {name}"))

    def add(self, name: str, members: Iterable[Member]) -> None:
        """Put members in; those that are there already are no error."""
        self._change(_ADD, name, list(members))

    def delete(self, name: str, members: Iterable[Member]) -> None:
        """Take members out; those that are not there are no error."""
        self._change(_DELETE, name, list(members))

    def _change(self, command: int, name: str, members: Sequence[Member]) -> None:
        for start in range(0, len(members), _PER_MESSAGE):
            data = b"".join(
                nested(_DATA, _write(member), _number(_LINE, line, 4))
                for line, member in enumerate(members[start : start + _PER_MESSAGE], 1)
            )
            payload = text(_NAME, name) + _number(_LINE, 0, 4) + nested(_MEMBERS, data)
            self._execute(_request(command, 0, payload, f"{'add to' if command == _ADD else 'delete from'} set {name}"))

    def _execute(self, request: Request) -> None:
        try:
            self._socket.execute(request)
        except OSError as error:
            raise _explained(error) from error

    def _dump(self, request: Request) -> list[bytes]:
        try:
            return self._socket.dump(request)
        except OSError as error:
            raise _explained(error) from error


def _explained(error: OSError) -> OSError:
    if error.errno == errno.EEXIST or error.errno not in _WORDS:
        return error
    return OSError(error.errno, _WORDS[error.errno], error.filename)


# --- the wire


def _request(command: int, flags: int, payload: bytes, about: str) -> Request:
    return Request(NFNL_SUBSYS_IPSET << 8 | command, flags, generic(0, u8(_PROTOCOL, _VERSION) + payload), about)


def _number(kind: int, value: int, size: int) -> bytes:
    return attribute(kind | _NET_BYTE_ORDER, value.to_bytes(size, "big"))


def _address(kind: int, ip: str) -> bytes:
    code, inner = (socket.AF_INET6, _IPV6) if ":" in ip else (socket.AF_INET, _IPV4)
    return nested(kind, attribute(inner | _NET_BYTE_ORDER, socket.inet_pton(code, ip)))


def _write(member: Member) -> bytes:
    parts = []
    if member.ip:
        parts.append(_address(_IP, member.ip))
    if member.port:
        parts.append(_number(_PORT, member.port, 2))
    if member.protocol:
        parts.append(u8(_PROTO, _NUMBERS[member.protocol]))
    if member.other:
        ip, _, bits = member.other.partition("/")
        parts.append(_address(_IP2, ip))
        if bits:
            parts.append(u8(_CIDR2, int(bits)))
    return b"".join(parts)


def _read(fields: Attributes) -> Member:
    other = _read_address(fields.get(_IP2))
    if _CIDR2 in fields:
        other += f"/{fields[_CIDR2][0]}"
    protocol = _NAMES.get(fields[_PROTO][0], str(fields[_PROTO][0])) if _PROTO in fields else ""
    return Member(_read_address(fields.get(_IP)), protocol, int.from_bytes(fields.get(_PORT, b""), "big"), other)


def _read_address(data: bytes | None) -> str:
    if data is None:
        return ""
    ((kind, packed),) = attributes(data).items()
    return socket.inet_ntop(socket.AF_INET6 if kind == _IPV6 else socket.AF_INET, packed)
