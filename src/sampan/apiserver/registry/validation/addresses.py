"""Checks of IP addresses and ranges that several kinds share."""

from ipaddress import ip_address, ip_network

from sampan.apiserver.registry.validation.rules import Errors
from sampan.machinery.errors import FieldError

VALID_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
VALID_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def address_errors(text: str, path: str) -> Errors:
    return [] if is_address(text) else [FieldError.invalid(path, text, VALID_IP)]


def canonical_address(name: str) -> list[str]:
    """The name of an IPAddress: an address written the one way that is canonical."""
    if not is_address(name):
        return [VALID_IP]
    return [] if str(ip_address(name)) == name else ["must be a canonical format IP address"]


def is_network(cidr: str) -> bool:
    try:
        return "/" in cidr and bool(ip_network(cidr, strict=False))
    except ValueError:
        return False


def special_address_errors(address: str, path: str) -> Errors:
    """Addresses that no endpoint can have."""
    found = ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    checks = (
        (found.is_unspecified, f"may not be unspecified ({address})"),
        (found.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (found.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (found.is_multicast, "may not be in the multicast range (224.0.0.0/4, ff00::/8)"),
    )
    return [FieldError.invalid(path, address, message) for holds, message in checks if holds]
