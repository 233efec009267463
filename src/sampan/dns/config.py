"""From a Corefile's text to the servers it asks for: zones, ports, and for each plugin its options. Pure.

`main` makes listeners and chains from it. Errors name the line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sampan.dns.corefile import Directive, ServerBlock, parse, zones_of
from sampan.dns.imports import Files
from sampan.dns.lines import CorefileError
from sampan.dns.plugins.base import Kind
from sampan.dns.plugins.table import ELSEWHERE, PLUGINS, REPEATABLE, kind_of

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
    """All that a Corefile asks for."""

    servers: tuple[Server, ...]

    def options(self, name: str) -> list[Any]:
        """What every server block that has a plugin says about it."""
        found = (server.options(name) for server in self.servers)
        return [options for options in found if options is not None]

    def has(self, name: str) -> bool:
        return any(kind.name == name for server in self.servers for kind, _ in server.plugins)


def read(
    text: str,
    file: str = "Corefile",
    *,
    port: int = DEFAULT_PORT,
    environment: Mapping[str, str] | None = None,
    files: Files | None = None,
) -> Config:
    """What a Corefile says; `port` is that of server blocks that name none. Raises CorefileError.

    `files` finds what it imports, and remembers that.
    """
    servers: list[Server] = []
    seen: dict[tuple[str, int, str], str] = {}
    for block in parse(text, file, environment, files):
        by_port: dict[int, list[str]] = {}
        for key in block.keys:
            zones, number = _key(block, key, port)
            by_port.setdefault(number, []).extend(zones)
        for number, found in by_port.items():
            server = Server(tuple(dict.fromkeys(found)), number, _plugins(block, tuple(found)))
            for place in ((zone, number, host) for zone in server.zones for host in server.options("bind") or ("",)):
                if place in seen:
                    problem = f"{place[0]}.:{number} is already served from {seen[place]}"
                    raise CorefileError(block.file, block.line, problem)
                seen[place] = f"line {block.line}" if block.file == file else f"{block.file}:{block.line}"
            servers.append(server)
    return Config(tuple(servers))


@dataclass(frozen=True, slots=True)
class Reading:
    """A Corefile as it was at one moment: what it says, or what is wrong with it."""

    digest: str
    """Of its text and of all that it imports, as far as that was read."""
    config: Config | None
    problem: CorefileError | None = None

    def wanted(self) -> Config:
        """Raises CorefileError."""
        if self.config is None:
            raise self.problem or AssertionError("a reading without either")
        return self.config


def reading(text: str, file: str, folder: Path, port: int, environment: Mapping[str, str]) -> Reading:
    """`read`, remembering what was read; imports are relative to `folder`."""
    files = Files(folder)
    try:
        config = read(text, file, port=port, environment=environment, files=files)
    except CorefileError as problem:
        return Reading(files.digest(text), None, problem)
    return Reading(files.digest(text), config)


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
    roots = [each.expect(1)[0] for each in block.directives if each.name == "root"]
    for directive in block.directives:
        kind = _kind(directive)
        if kind.name in found and kind.name not in REPEATABLE:
            raise directive.error("stands here twice")
        rooted = _rooted(directive, roots[0]) if roots else directive
        found.setdefault(kind.name, []).append((kind, kind.parse(rooted, zones)))
    return tuple(pair for name in PLUGINS for pair in found.get(name, ()))


def _rooted(directive: Directive, root: str) -> Directive:
    return replace(directive, root=root, options=tuple(replace(option, root=root) for option in directive.options))


def _kind(directive: Directive) -> Kind:
    if directive.name in PLUGINS:
        return kind_of(directive.name)
    there_are = f"there are {', '.join(sorted(PLUGINS))}"
    if directive.name in ELSEWHERE:
        problem = f"CoreDNS has a plugin {directive.name!r}, this server does not; {there_are}"
    else:
        problem = f"unknown directive {directive.name!r}; {there_are}"
    raise CorefileError(directive.file, directive.line, problem)
