"""nftables: transactions on one table over netlink, and the `nft` command for what is loaded once.

Set elements are what changes all the time, so they are encoded here, straight to netlink (a hundred times faster than
through the command). The few rules that are made on the fly consist of nftexpressions.py's words. Readable rulesets go
through `load`.
Everything here names sets and chains as nft(8) does; numbers are those of linux/netfilter/nf_tables.h.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sampan.kernel import commands
from sampan.kernel.netlink import NLM_F_APPEND, NLM_F_CREATE, Attributes, attribute, attributes, nested, text
from sampan.kernel.nfnetlink import (
    GENERIC_BYTES,
    NFNL_SUBSYS_NFTABLES,
    Message,
    NetfilterSocket,
    be32,
    dump_request,
    elements,
    generic,
)

NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
GETGEN = 16

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
"""netfilter's NFPROTO_IPV4 and NFPROTO_IPV6 equal the address families."""

LIST_ELEM = 1
ELEM_KEY, ELEM_DATA, ELEM_FLAGS, ELEM_EXPRESSION, ELEM_KEY_END = 1, 2, 3, 7, 10
EXPRESSION_DATA = 2
COUNTER_BYTES, COUNTER_PACKETS = 1, 2
DATA_VALUE, DATA_VERDICT = 1, 2
VERDICT_CODE, VERDICT_CHAIN = 1, 2
JUMP = (1 << 32) - 3

MAP_FLAG = 8
DYNAMIC_FLAGS = 0x10 | 0x20
"""Elements have timeouts; rules add them."""
DATATYPES = {
    "ipv4_addr": (7, 4), "ipv6_addr": (8, 16), "inet_proto": (12, 4), "inet_service": (13, 4), "mark": (19, 4),
    "classid": (23, 4),
}  # fmt: skip
"""nft's number for a type, by which it prints elements, and the bytes such a field takes in a concatenation."""

MESSAGE_BYTES = 60_000
"""Elements of one message together: an attribute's length has 16 bits."""


_LENGTH = struct.Struct("=H")


class Counter(NamedTuple):
    """What an element has counted."""

    key: bytes
    packets: int
    bytes: int


class NftError(Exception):
    """The nft command refused a script; the message is what it said."""


# --- elements


def key_element(key: bytes) -> bytes:
    """An element of a set, without data."""
    value = attribute(DATA_VALUE, key)
    return nested(LIST_ELEM, nested(ELEM_KEY, value))


def range_element(low: bytes, high: bytes) -> bytes:
    """An element of a concatenated interval set: every field lies between `low` and `high`."""
    return nested(
        LIST_ELEM,
        nested(ELEM_KEY, attribute(DATA_VALUE, low)),
        nested(ELEM_KEY_END, attribute(DATA_VALUE, high)),
    )


def data_element(key: bytes, data: bytes) -> bytes:
    """An element of a map."""
    return nested(
        LIST_ELEM,
        nested(ELEM_KEY, attribute(DATA_VALUE, key)),
        nested(ELEM_DATA, attribute(DATA_VALUE, data)),
    )


def jump_element(key: bytes, chain: str) -> bytes:
    """An element of a verdict map that jumps to `chain`."""
    return nested(LIST_ELEM, nested(ELEM_KEY, attribute(DATA_VALUE, key)), nested(ELEM_DATA, _jump(chain)))


def _jump(chain: str) -> bytes:
    return nested(DATA_VERDICT, be32(VERDICT_CODE, JUMP), text(VERDICT_CHAIN, chain))


def data_element_frame(key_size: int, data_size: int) -> tuple[bytes, bytes]:
    """What stands before the key and between key and data in `data_element`, for writing many of one size.

    Sizes are multiples of four, so that nothing needs padding: element = before + key + between + data.
    """
    key_attribute, data_attribute = 4 + key_size, 4 + data_size
    whole = 4 + 4 + key_attribute + 4 + data_attribute
    before = struct.pack("=HHHHHH", whole, LIST_ELEM | 0x8000, 4 + key_attribute, ELEM_KEY | 0x8000, key_attribute, 1)
    between = struct.pack("=HHHH", 4 + data_attribute, ELEM_DATA | 0x8000, data_attribute, DATA_VALUE)
    return before, between


# --- transactions


class Transaction:
    """Changes to one table that will happen together. Build it, then `Nft.commit` it."""

    def __init__(self, family: int, table: str) -> None:
        self._family = FAMILIES[family]
        self._table = text(1, table)
        self._sets = 0
        self.messages: list[Message] = []

    def add_chain(self, name: str) -> None:
        self._append(NEWCHAIN, text(3, name), NLM_F_CREATE)

    def flush_chain(self, name: str) -> None:
        self._append(DELRULE, text(2, name))

    def delete_chain(self, name: str) -> None:
        """Delete a chain with its rules; nothing may go there any more."""
        self._append(DELCHAIN, text(3, name))

    def add_rule(self, chain: str, expressions: Sequence[bytes]) -> None:
        self._append(NEWRULE, text(2, chain) + nested(4, *expressions), NLM_F_CREATE | NLM_F_APPEND)

    def add_map(self, name: str, key: Sequence[str], data: Sequence[str], *, dynamic_size: int = 0) -> None:
        """Make a map between concatenations of types (names as in nft), unless it exists.

        With `dynamic_size` rules add elements, so many at most, which have timeouts.
        """
        (key_type, key_size), (data_type, data_size) = _concatenation(key), _concatenation(data)
        self._sets += 1
        self._append(
            NEWSET,
            text(2, name)
            + be32(3, MAP_FLAG | (DYNAMIC_FLAGS if dynamic_size else 0))
            + be32(4, key_type)
            + be32(5, key_size)
            + be32(6, data_type)
            + be32(7, data_size)
            + (nested(9, be32(1, dynamic_size)) if dynamic_size else b"")
            + be32(10, self._sets),
            NLM_F_CREATE,
        )

    def delete_set(self, name: str) -> None:
        """Delete a set or map; no rule may use it any more."""
        self._append(DELSET, text(2, name))

    def flush_set(self, name: str) -> None:
        self._append(DELSETELEM, text(2, name))

    def add_elements(self, name: str, encoded: Iterable[bytes]) -> None:
        """Add encoded elements, or runs of them; none may be longer than MESSAGE_BYTES."""
        self._elements(NEWSETELEM, name, encoded, NLM_F_CREATE)

    def delete_elements(self, name: str, encoded: Iterable[bytes]) -> None:
        self._elements(DELSETELEM, name, encoded, 0)

    def _elements(self, kind: int, name: str, encoded: Iterable[bytes], flags: int) -> None:
        head = text(2, name)
        pending: list[bytes] = []
        size = 0
        for element in encoded:
            if size + len(element) > MESSAGE_BYTES and pending:
                self._append(kind, head + nested(3, *pending), flags)
                pending, size = [], 0
            pending.append(element)
            size += len(element)
        if pending:
            self._append(kind, head + nested(3, *pending), flags)

    def _append(self, kind: int, payload: bytes, flags: int = 0) -> None:
        payload = generic(self._family, self._table + payload)
        self.messages.append(Message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, payload))


class Nft:
    """The nftables of the network namespace that the calling thread is in when this is made."""

    def __init__(self) -> None:
        self._socket = NetfilterSocket()

    def close(self) -> None:
        self._socket.close()

    def commit(self, transaction: Transaction) -> None:
        """Apply a transaction, whole or not at all. Raises OSError."""
        self._socket.batch(NFNL_SUBSYS_NFTABLES, transaction.messages, "nftables transaction")

    def chains(self, family: int, table: str) -> list[str]:
        """The names of a table's chains; none if there is no such table."""
        request = dump_request(NFNL_SUBSYS_NFTABLES, GETCHAIN, FAMILIES[family], b"", "listing chains")
        found = [attributes(answer, GENERIC_BYTES) for answer in self._socket.dump(request)]
        return [_word(chain[3]) for chain in found if _word(chain[1]) == table]

    def sets(self, family: int, table: str) -> list[str]:
        """The names of a table's sets and maps; none if there is no such table."""
        request = dump_request(NFNL_SUBSYS_NFTABLES, GETSET, FAMILIES[family], b"", "listing sets")
        found = [attributes(answer, GENERIC_BYTES) for answer in self._socket.dump(request)]
        return [_word(each[2]) for each in found if _word(each[1]) == table]

    def generation(self) -> int:
        """The number of the ruleset: it grows with every transaction of anybody in this network namespace."""
        answer = self._socket.ask(dump_request(NFNL_SUBSYS_NFTABLES, GETGEN, 0, b"", "generation"))
        return int.from_bytes(attributes(answer or b"", GENERIC_BYTES).get(1, b""), "big")

    def rules(self, family: int, table: str) -> dict[str, list[bytes]]:
        """The rules of a table's chains, as their encoded expressions; chains without rules are left out."""
        request = dump_request(NFNL_SUBSYS_NFTABLES, GETRULE, FAMILIES[family], text(1, table), "listing rules")
        found: dict[str, list[bytes]] = {}
        for answer in self._socket.dump(request):
            rule = attributes(answer, GENERIC_BYTES)
            if _word(rule[1]) == table:
                found.setdefault(_word(rule[2]), []).append(rule.get(4, b""))
        return found

    def count_elements(self, family: int, table: str, name: str) -> int:
        """How many elements a set has. Far faster than to read them."""
        wanted = text(1, table) + text(2, name)
        request = dump_request(NFNL_SUBSYS_NFTABLES, GETSETELEM, FAMILIES[family], wanted, f"listing {name}")
        total = 0
        for answer in self._socket.dump(request):
            listed = attributes(answer, GENERIC_BYTES).get(3, b"")
            at, end = 0, len(listed)
            while at < end:
                (length,) = _LENGTH.unpack_from(listed, at)
                at += (max(length, 4) + 3) & ~3
                total += 1
        return total

    def counters(self, family: int, table: str, name: str) -> Iterator[Counter]:
        """What every element of a set with counters has counted."""
        for fields in self._elements(family, table, name):
            counter = attributes(attributes(fields.get(ELEM_EXPRESSION, b"")).get(EXPRESSION_DATA, b""))
            packets, octets = (
                int.from_bytes(counter.get(kind, b""), "big") for kind in (COUNTER_PACKETS, COUNTER_BYTES)
            )
            yield Counter(_value(fields.get(ELEM_KEY, b"")), packets, octets)

    def elements(self, family: int, table: str, name: str) -> Iterator[tuple[bytes, bytes]]:
        """The (key, data) of every element of a map of values, or of a set, whose data are empty."""
        for fields in self._elements(family, table, name):
            yield _value(fields.get(ELEM_KEY, b"")), _value(fields.get(ELEM_DATA, b""))

    def _elements(self, family: int, table: str, name: str) -> Iterator[Attributes]:
        wanted = text(1, table) + text(2, name)
        request = dump_request(NFNL_SUBSYS_NFTABLES, GETSETELEM, FAMILIES[family], wanted, f"listing {name}")
        for answer in self._socket.dump(request):
            for element in elements(attributes(answer, GENERIC_BYTES).get(3, b"")):
                yield attributes(element)


def _concatenation(types: Sequence[str]) -> tuple[int, int]:
    """nft's number for a concatenated type, six bits a field, and its size."""
    number = 0
    for name in types:
        number = number << 6 | DATATYPES[name][0]
    return number, sum(DATATYPES[name][1] for name in types)


def _word(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def _value(data: bytes) -> bytes:
    return attributes(data).get(DATA_VALUE, b"")


async def load(script: str, *, check: bool = False) -> None:
    """Feed a ruleset to `nft -f -`, one transaction; with `check` it is only verified. Raises NftError."""
    flags = ["--check"] if check else []
    ended = await commands.run(["nft", *flags, "-f", "-"], script.encode())
    if ended.status:
        raise NftError(ended.errors or f"nft ended with status {ended.status}")


async def meaning(refusal: Exception, family: int) -> str:
    """A refusal in words: that the kernel has no nftables for a family, if this is why, or what nft said of the script.

    Kernels may be built without it, and nft only says that it found no such file or directory.
    """
    if isinstance(refusal, NftError):
        ip = "ip" if family == 4 else "ip6"
        try:
            await load(f"table {ip} sampan-trial {{ chain trial {{ type nat hook output priority 0; }}; }}", check=True)
        except NftError:
            return f"the kernel has no nftables for IPv{family}; modes that do without: iptables, ipvs"
    return str(refusal)
