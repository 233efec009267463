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
PORT, TLS_PORT = 53, 853


@dataclass(frozen=True, slots=True)
class Target:
    """A resolver: where it is, whether it is asked over TLS, and the name in its certificate if it has its own."""

    address: Address
    tls: bool = False
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class TLS:
    """Files: our own certificate and its key, and the authorities to trust. Empty: none, and the system's."""

    certificate: str = ""
    key: str = ""
    authorities: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    zone: str = ""
    servers: tuple[Target, ...] = ()
    excepted: tuple[str, ...] = ()
    policy: str = "random"
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    """How long a TCP connection is kept, in seconds."""
    most_idle: int = 0
    """How many of them are kept for one resolver; 0: as many as are needed."""
    max_fails: int = 2
    """After how many failed checks a resolver is down; 0: never."""
    check_every: float = 0.5
    check_name: str = ""
    check_recursive: bool = True
    max_concurrent: int = 0
    """How many queries may be under way; 0: any number."""
    max_attempts: int = 0
    """How many resolvers are asked for one query; 0: any number."""
    fail_fast: bool = False
    """Answer SERVFAIL at once while all resolvers are down."""
    failover: tuple[int, ...] = ()
    """Codes after which the next resolver is asked."""
    next: tuple[int, ...] = ()
    """Codes after which the next `forward` is asked, if there is one."""
    next_on_nodata: bool = False
    tls: TLS = TLS()


def parse(directive: Directive, zones: tuple[str, ...]) -> ForwardOptions:
    directive.expect(2, 999)
    zone = replace(directive, arguments=directive.arguments[:1]).zones()[0]
    servers = tuple(server for at in range(1, len(directive.arguments)) for server in _servers(directive, at))
    options = ForwardOptions(zone, tuple(dict.fromkeys(servers)))
    for option in directive.options:
        read = _READERS.get(option.name)
        if read is None:
            raise option.unknown(_READERS)
        options = replace(options, **read(option, options))
    if options.tls.server_name and any(server.server_name for server in servers):
        raise directive.error("tls_servername and a name behind % contradict each other")
    return options


def _servers(directive: Directive, at: int) -> list[Target]:
    """What one TO stands for: an address, or the name servers of a file."""
    text = directive.arguments[at]
    scheme, separator, _ = text.partition("://")
    if separator and scheme not in ("dns", "tls"):
        raise directive.error(f"{text!r}: resolvers are asked over dns:// or tls://")
    if (target := target_of(text)) is not None:
        return [target]
    if separator or not text.startswith(("/", "./")):
        raise directive.error(f"{text!r} is neither an address nor a file")
    if not Path(text).exists():
        raise directive.error(f"{text}: no such file")
    return [Target((server, PORT)) for server in resolvconf.name_servers(text)]


def target_of(text: str) -> Target | None:
    """An address with or without a port, or `tls://ADDRESS[%NAME][:PORT]`."""
    tls = text.startswith("tls://")
    place, percent, rest = text.removeprefix("tls://").removeprefix("dns://").partition("%")
    name, colon, port = rest.partition(":") if tls else ("", "", "")
    if percent and not tls:
        place = f"{place}%{rest}"
    default = TLS_PORT if tls else PORT
    address = address_of(f"[{place.strip('[]')}]:{port}" if colon else place, default)
    return Target(address, tls, name) if address is not None else None


def address_of(text: str, default: int = PORT) -> Address | None:
    """`10.0.0.1`, `10.0.0.1:5353`, `fd00::1` or `[fd00::1]:5353`."""
    for host, port in ((text, str(default)), text.rpartition(":")[::2]):
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            continue
        if port.isdecimal() and 0 < int(port) < 65536:
            return str(address), int(port)
    return None


Reader = Callable[[Directive, ForwardOptions], dict[str, Any]]


def _policy(option: Directive, options: ForwardOptions) -> dict[str, Any]:
    (policy,) = option.expect(1)
    if policy not in POLICIES:
        raise option.error(f"unknown policy {policy!r}; there are {', '.join(POLICIES)}")
    return {"policy": policy}


def _health_check(option: Directive, options: ForwardOptions) -> dict[str, Any]:
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
            raise option.error(f"unknown health_check option {word!r}; there are no_rec, domain NAME")
    return found


def _tls(option: Directive, options: ForwardOptions) -> dict[str, Any]:
    """Nothing, or authorities; or a certificate and its key, and perhaps authorities."""
    given = option.expect(0, 3)
    for at in range(len(given)):
        if not option.path(at).is_file():
            raise option.error(f"{option.path(at)}: no such file")
    files = [str(option.path(at)) for at in range(len(given))]
    certificate, key, *more = files if len(files) > 1 else ("", "", *files)
    return {"tls": TLS(certificate, key, more[0] if more else "", options.tls.server_name)}


def _server_name(option: Directive, options: ForwardOptions) -> dict[str, Any]:
    return {"tls": replace(options.tls, server_name=option.expect(1)[0])}


def _codes(name: str) -> Reader:
    known = {text: code for code, text in wire.RCODE_NAMES.items()}

    def reader(option: Directive, options: ForwardOptions) -> dict[str, Any]:
        for text in option.expect(1, 999):
            if text.upper() not in known:
                raise option.error(f"{text!r} is not a response code")
        return {name: tuple(known[text.upper()] for text in option.arguments)}

    return reader


def _one(name: str, read: Callable[[Directive], Any]) -> Reader:
    def reader(option: Directive, options: ForwardOptions) -> dict[str, Any]:
        option.expect(1)
        return {name: read(option)}

    return reader


def _flag(name: str) -> Reader:
    return lambda option, options: {name: option.flag()}


_READERS: dict[str, Reader] = {
    "except": lambda option, options: {"excepted": replace(option, arguments=option.expect(1, 999)).zones()},
    "force_tcp": _flag("force_tcp"),
    "prefer_udp": _flag("prefer_udp"),
    "expire": _one("expire", Directive.seconds),
    "max_idle_conns": _one("most_idle", Directive.number),
    "max_fails": _one("max_fails", Directive.number),
    "max_connect_attempts": _one("max_attempts", Directive.number),
    "tls": _tls,
    "tls_servername": _server_name,
    "policy": _policy,
    "health_check": _health_check,
    "max_concurrent": _one("max_concurrent", Directive.number),
    "next": _codes("next"),
    "next_on_nodata": _flag("next_on_nodata"),
    "failfast_all_unhealthy_upstreams": _flag("fail_fast"),
    "failover": _codes("failover"),
}
