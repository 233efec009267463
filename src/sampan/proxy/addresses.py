"""Canonical text of IP addresses and CIDRs in API objects, so that the rest of the proxy can compare text.

Values that current API servers reject are parsed as kube-proxy parses them (ParseIPSloppy, KEP-4858): IPv4 octets may
have leading zeros and are decimal; an IPv4-mapped IPv6 address is the IPv4 address. Invalid values are None.
"""

from __future__ import annotations

import ipaddress
import re
import socket

_SLOPPY_IPV4 = re.compile(r"\d{1,12}(?:\.\d{1,12}){3}", re.ASCII)


def canonical_ip(text: str) -> str | None:
    """An IP address in canonical form; None if the text is not one."""
    try:
        if ":" not in text:
            socket.inet_pton(socket.AF_INET, text)
            return text
        address = ipaddress.IPv6Address(text)
    except (OSError, ValueError):
        return _sloppy_ipv4(text)
    if address.scope_id:
        return None
    return str(address.ipv4_mapped or address)


def _sloppy_ipv4(text: str) -> str | None:
    if not _SLOPPY_IPV4.fullmatch(text):
        return None
    octets = [int(octet) for octet in text.split(".")]
    return ".".join(map(str, octets)) if max(octets) <= 255 else None


def canonical_network(text: str) -> str | None:
    """A CIDR range in canonical form, its host bits cleared; None if the text is not one (or has no length)."""
    ip, slash, length = text.strip().partition("/")
    address = canonical_ip(ip)
    if not slash or address is None or not length.isascii() or not length.isdigit() or len(length) > 3:
        return None
    bits = int(length) - (96 if ":" in ip and ":" not in address else 0)
    try:
        return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
    except ValueError:
        return None
