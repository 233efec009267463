"""What `forward` may be told, and how it is read."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sampan.dns import resolvconf, wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Address

POLICIES = ("random", "round_robin", "sequential")


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    zone: str = ""
    servers: tuple[Address, ...] = ()
    excepted: tuple[str, ...] = ()
    policy: str = "random"
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    """How long a TCP connection is kept, in seconds."""
    max_fails: int = 2
    """After how many failed checks a resolver is down; 0: never."""
    check_every: float = 0.5
    check_name: str = ""
    check_recursive: bool = True
    max_concurrent: int = 0
    """How many queries may be under way; 0: any number."""
    fail_fast: bool = False
    """Answer SERVFAIL at once while all resolvers are down."""
    failover: tuple[int, ...] = ()
    """Codes after which the next resolver is asked."""


def parse(directive: Directive, zones: tuple[str, ...]) -> ForwardOptions:
    directive.expect(2, 999)
    zone = replace(directive, arguments=directive.arguments[:1]).zones()[0]
    servers = tuple(server for text in directive.arguments[1:] for server in _servers(directive, text))
    options = ForwardOptions(zone, tuple(dict.fromkeys(servers)))
    for option in directive.options:
        read = _READERS.get(option.name)
        if read is None:
            raise option.unknown()
        options = replace(options, **read(option))
    return options


def _servers(directive: Directive, text: str) -> list[Address]:
    """What one TO stands for: an address, or the name servers of a file."""
    if text.startswith(("tls://", "grpc://", "https://")):
        raise directive.error(f"{text!r}: only plain DNS is supported")
    if (address := address_of(text.removeprefix("dns://"))) is not None:
        return [address]
    if not text.startswith(("/", "./")):
        raise directive.error(f"{text!r} is neither an address nor a file")
    if not Path(text).exists():
        raise directive.error(f"{text}: no such file")
    return [(server, 53) for server in resolvconf.name_servers(text)]


def address_of(text: str) -> Address | None:
    """`10.0.0.1`, `10.0.0.1:5353`, `fd00::1` or `[fd00::1]:5353`."""
    for host, port in ((text, "53"), text.rpartition(":")[::2]):
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            continue
        if port.isdecimal() and 0 < int(port) < 65536:
            return str(address), int(port)
    return None


def _policy(option: Directive) -> dict[str, Any]:
    (policy,) = option.expect(1)
    if policy not in POLICIES:
        raise option.error(f"unknown policy {policy!r}; there are {', '.join(POLICIES)}")
    return {"policy": policy}


def _health_check(option: Directive) -> dict[str, Any]:
    option.expect(1, 4)
    found: dict[str, Any] = {"check_every": option.seconds(0)}
    more = list(option.arguments[1:])
    while more:
        word = more.pop(0)
        if word == "no_rec":
            found["check_recursive"] = False
        elif word == "domain" and more:
            found["check_name"] = replace(option, arguments=(more.pop(0),)).zones()[0]
        else:
            raise option.error(f"unknown health_check option {word!r}")
    return found


def _failover(option: Directive) -> dict[str, Any]:
    codes = {name: code for code, name in wire.RCODE_NAMES.items()}
    for name in option.expect(1, 999):
        if name.upper() not in codes:
            raise option.error(f"{name!r} is not a response code")
    return {"failover": tuple(codes[name.upper()] for name in option.arguments)}


def _one(name: str, read: Callable[[Directive], Any]) -> Callable[[Directive], dict[str, Any]]:
    def reader(option: Directive) -> dict[str, Any]:
        option.expect(1)
        return {name: read(option)}

    return reader


_READERS: dict[str, Callable[[Directive], dict[str, Any]]] = {
    "except": lambda option: {"excepted": replace(option, arguments=option.expect(1, 999)).zones()},
    "force_tcp": lambda option: {"force_tcp": option.flag()},
    "prefer_udp": lambda option: {"prefer_udp": option.flag()},
    "expire": _one("expire", Directive.seconds),
    "max_fails": _one("max_fails", Directive.number),
    "policy": _policy,
    "health_check": _health_check,
    "max_concurrent": _one("max_concurrent", Directive.number),
    "failfast_all_unhealthy_upstreams": lambda option: {"fail_fast": option.flag()},
    "failover": _failover,
}
