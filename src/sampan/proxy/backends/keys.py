"""The bytes of keys in sets of nftables, as several modes use them.

Every field of a concatenated key takes whole 32-bit words (nft pads shorter ones); addresses and ports are in network
order.
"""

import socket
import struct

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
ADDRESS_BYTES = {4: 4, 6: 16}

_PORT = struct.Struct(">HH")


def address(ip: str) -> bytes:
    """An address's bytes. Raises OSError if it is none."""
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def service_key(ip: str, protocol: str, port: int) -> bytes:
    """address . protocol . port"""
    return address(ip) + port_key(protocol, port)


def port_key(protocol: str, port: int) -> bytes:
    """protocol . port"""
    return bytes((PROTOCOLS[protocol], 0, 0, 0)) + _PORT.pack(port, 0)
