"""From a Corefile's text to the servers it asks for: zones, ports, and for each plugin its options. Pure.

`main` makes listeners and chains from it. Errors name the line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sampan.dns.corefile import CorefileError, Directive, ServerBlock, parse, zones_of
from sampan.dns.plugins.base import Kind
from sampan.dns.plugins.table import BY_NAME, PLUGINS, REPEATABLE

DEFAULT_PORT = 53


@dataclass(frozen=True, slots=True)
class Server:
    """A server block: what it serves, and its plugins with their options in the order of the chain."""

    zones: tuple[str, ...]
    port: int
    plugins: tuple[tuple[Kind, Any], ...]

    def options(self, name: str) -> Any:
        """The options of a plugin, the first if there are several; None without it."""
        return next((options for kind, options in self.plugins if kind.name == name), None)


@dataclass(frozen=True, slots=True)
class Config:
    servers: tuple[Server, ...]

    def options(self, name: str) -> list[Any]:
        """What every server block that has a plugin says about it."""
        found = (server.options(name) for server in self.servers)
        return [options for options in found if options is not None]

    def has(self, name: str) -> bool:
        return any(kind.name == name for server in self.servers for kind, _ in server.plugins)


def read(
    text: str, file: str = "Corefile", *, port: int = DEFAULT_PORT, environment: Mapping[str, str] | None = None
) -> Config:
    """What a Corefile says; `port` is that of server blocks that name none. Raises CorefileError."""
    servers: list[Server] = []
    seen: dict[tuple[str, int, tuple[str, ...]], int] = {}
    for block in parse(text, file, environment):
        by_port: dict[int, list[str]] = {}
        for key in block.keys:
            zones, number = _key(block, key, port)
            by_port.setdefault(number, []).extend(zones)
        for number, found in by_port.items():
            server = Server(tuple(dict.fromkeys(found)), number, _plugins(block, tuple(found)))
            for zone in server.zones:
                place = (zone, number, server.options("bind") or ())
                if place in seen:
                    raise CorefileError(file, block.line, f"{zone}.:{number} is already served from line {seen[place]}")
                seen[place] = block.line
            servers.append(server)
    return Config(tuple(servers))


def _key(block: ServerBlock, key: str, port: int) -> tuple[tuple[str, ...], int]:
    """A server block's key: `.:53`, `example.org`, `dns://example.org:1053`, `10.0.0.0/8`."""
    text = key.removeprefix("dns://")
    if "://" in text:
        raise CorefileError(block.file, block.line, f"{key!r}: only plain DNS is served")
    zone, colon, number = text.rpartition(":")
    if not colon:
        zone, number = text, str(port)
    if not number.isdecimal() or not 0 <= int(number) < 65536:
        raise CorefileError(block.file, block.line, f"{key!r} has no port number")
    zones = zones_of(zone or ".")
    if not zones:
        raise CorefileError(block.file, block.line, f"{key!r} is not a zone")
    return zones, int(number)


def _plugins(block: ServerBlock, zones: tuple[str, ...]) -> tuple[tuple[Kind, Any], ...]:
    """The plugins of a block, sorted as the table is."""
    found: dict[str, list[tuple[Kind, Any]]] = {}
    for directive in block.directives:
        kind = _kind(directive)
        if kind.name in found and kind.name not in REPEATABLE:
            raise directive.error("stands here twice")
        found.setdefault(kind.name, []).append((kind, kind.parse(directive, zones)))
    return tuple(pair for kind in PLUGINS for pair in found.get(kind.name, ()))


def _kind(directive: Directive) -> Kind:
    kind = BY_NAME.get(directive.name)
    if kind is None:
        raise CorefileError(directive.file, directive.line, f"unknown directive {directive.name!r}")
    return kind
