"""nftables' expressions, as netlink takes them: the words of the few rules that are made on the fly.

A rule is a list of these, each made by one function; registers carry values from one to the next. nft.py sends rules;
numbers are those of linux/netfilter/nf_tables.h.
"""

import sys

from sampan.kernel.netlink import attribute, nested, text, u8
from sampan.kernel.nfnetlink import be32, be64
from sampan.kernel.nft import FAMILIES, LIST_ELEM

FIRST_REGISTER = 8
"""NFT_REG32_00; registers of 32 bits follow each other."""

META_PRIORITY = 2
GOTO = (1 << 32) - 4
RETURN = (1 << 32) - 5


def payload(register: int, base: int, offset: int, size: int) -> bytes:
    """Load packet bytes; base 1 is the network header, 2 the transport header."""
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, size))


def meta_l4proto(register: int) -> bytes:
    return _expression("meta", be32(1, register), be32(2, 16))


def meta_priority(register: int) -> bytes:
    """Load skb->priority, 32 bits in the machine's own order."""
    return _expression("meta", be32(1, register), be32(2, META_PRIORITY))


def set_meta_priority(register: int) -> bytes:
    """Set skb->priority to what a register has."""
    return _expression("meta", be32(2, META_PRIORITY), be32(3, register))


def equals(register: int, value: bytes) -> bytes:
    """Go on with the rule only if a register begins with these bytes."""
    return _expression("cmp", be32(1, register), be32(2, 0), nested(3, attribute(1, value)))


def immediate(register: int, number: int) -> bytes:
    """Load a number of 32 bits, in the machine's own order."""
    value = attribute(1, number.to_bytes(4, sys.byteorder))
    return _expression("immediate", be32(1, register), nested(2, value))


def numgen_random(register: int, modulus: int, offset: int = 0) -> bytes:
    return _expression("numgen", be32(1, register), be32(2, modulus), be32(3, 1), be32(4, offset))


def ct_original(register: int, key: str, family: int) -> bytes:
    """Load what the client addressed, before any translation: `daddr` or `proto-dst`."""
    number = {"daddr": {4: 20, 6: 22}[family], "proto-dst": 12}[key]
    return _expression("ct", be32(1, register), be32(2, number), u8(3, 0))


def original_service(register: int, family: int) -> list[bytes]:
    """Load what the client addressed, as address . protocol . port: one word more than two beside the address."""
    words = 1 if family == 4 else 4
    return [ct_original(register, "daddr", family), *original_port(register + words, family)]


def original_port(register: int, family: int) -> list[bytes]:
    """Load the protocol and the port that the client addressed."""
    return [meta_l4proto(register), ct_original(register + 1, "proto-dst", family)]


def end_of_chain() -> bytes:
    """Go back to where this chain was jumped to."""
    return _expression("immediate", be32(1, 0), nested(2, nested(2, be32(1, RETURN))))


def goto(chain: str) -> bytes:
    """Go on in another chain and do not come back."""
    return _expression("immediate", be32(1, 0), nested(2, nested(2, be32(1, GOTO), text(2, chain))))


def verdict_lookup(name: str, key: int) -> bytes:
    """Do what a verdict map says about register `key`."""
    return _expression("lookup", text(1, name), be32(2, key), be32(3, 0))


def map_lookup(name: str, key: int, data: int) -> bytes:
    """Find the value in register `key`; without a match the rule ends here."""
    return _expression("lookup", text(1, name), be32(2, key), be32(3, data))


def set_lookup(name: str, key: int) -> bytes:
    """Look for register `key` in a set, whose element counts the packet; without a match the rule ends here."""
    return _expression("lookup", text(1, name), be32(2, key))


def dynset_update(name: str, key: int, data: int, timeout_seconds: int) -> bytes:
    """Add key and data, or, if the key is there, keep its data and start its timeout again."""
    return _expression(
        "dynset", text(1, name), be32(3, 1), be32(4, key), be32(5, data), be64(6, timeout_seconds * 1000)
    )


def dynset_delete(name: str, key: int, data: int) -> bytes:
    """Delete the element of a map that has the key in register `key`, if there is one; `data` has to be loaded, too."""
    return _expression("dynset", text(1, name), be32(3, 2), be32(4, key), be32(5, data))


def dnat(family: int, address: int, port: int) -> bytes:
    return _expression("nat", be32(1, 1), be32(2, FAMILIES[family]), be32(3, address), be32(5, port))


def _expression(name: str, *data: bytes) -> bytes:
    return nested(LIST_ELEM, text(1, name), nested(2, *data))
