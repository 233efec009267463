"""The Corefile's grammar: server blocks, their directives, and the options in a directive's braces. Pure.

    .:53 {                        <- ServerBlock: keys (".:53",)
        forward . 10.0.0.1 {      <- Directive: name "forward", arguments (".", "10.0.0.1")
            max_fails 3           <- one of its options, itself a Directive
        }
    }

The words come from `lines`; what the directives mean is their plugins' business (`plugins.table`). Every error names
its file and line.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.dns.imports import Files
from sampan.dns.lines import CorefileError, Line, Lines

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


@dataclass(frozen=True, slots=True)
class Directive:
    """One line and the block behind it. The methods read its arguments; what they find wrong is a CorefileError."""

    name: str
    arguments: tuple[str, ...]
    line: int
    file: str = "Corefile"
    options: tuple["Directive", ...] = ()
    plugin: str = ""
    """For an option: the directive it belongs to."""
    root: str = ""
    """What the plugin `root` says: where relative paths begin."""

    def error(self, problem: str) -> CorefileError:
        of = self.plugin or self.name
        return CorefileError(self.file, self.line, f"{of}: {problem}")

    def unknown(self, known: Iterable[str] = ()) -> CorefileError:
        there_are = f"; there are {', '.join(sorted(known))}" if known else ""
        return self.error(f"unknown option {self.name!r}{there_are}")

    def expect(self, least: int, most: int | None = None) -> tuple[str, ...]:
        """The arguments, if there are as many as there may be (`most`: by default as many as `least`)."""
        most = least if most is None else most
        if not least <= len(self.arguments) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}" if most < 999 else f"at least {least}"
            where = f"{self.name!r} " if self.plugin else ""
            raise self.error(f"{where}takes {wanted} argument{'' if wanted == '1' else 's'}, not {len(self.arguments)}")
        return self.arguments

    def flag(self) -> bool:
        """True, for an option that stands alone."""
        self.expect(0)
        return True

    def number(self, at: int = 0, least: int = 0, most: int = 2**31) -> int:
        text = self.arguments[at]
        if not text.isdecimal() or not least <= int(text) <= most:
            raise self.error(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    def seconds(self, at: int = 0) -> float:
        """A duration as Go writes it (`1m30s`), or plain seconds."""
        text = self.arguments[at]
        parts = _DURATION.findall(text)
        if text.isdecimal():
            return float(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise self.error(f"{text!r} is not a duration such as 5s or 1m30s")
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)

    def path(self, at: int = 0) -> Path:
        """A file or folder; relative ones are below what `root` says."""
        return Path(self.root) / self.arguments[at]

    def zones(self, start: int = 0) -> tuple[str, ...]:
        """The arguments from `start` on as zones; CIDRs stand for their reverse zones."""
        found: list[str] = []
        for text in self.arguments[start:]:
            found += zones_of(text) or self._no_zone(text)
        return tuple(found)

    def _no_zone(self, text: str) -> tuple[str, ...]:
        raise self.error(f"{text!r} is not a zone")


@dataclass(frozen=True, slots=True)
class ServerBlock:
    keys: tuple[str, ...]
    directives: tuple[Directive, ...]
    line: int
    file: str = "Corefile"


def parse(
    text: str, file: str = "Corefile", environment: Mapping[str, str] | None = None, files: Files | None = None
) -> tuple[ServerBlock, ...]:
    """All server blocks of a file and of those that it imports. Raises CorefileError."""
    blocks: list[ServerBlock] = []
    lines = Lines(text, file, environment or {}, files or Files())
    reading = iter(lines)
    for line in reading:
        keys = _keys(line, reading)
        if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
            lines.define(keys[0][1:-1], line)
        elif keys:
            blocks.append(ServerBlock(keys, tuple(_directives(reading, line, "")), line.number, line.file))
        else:
            raise line.error("a server block without a zone")
    if not blocks:
        raise CorefileError(file, 1, "no server block")
    return tuple(blocks)


def _keys(line: Line, following: Iterator[Line]) -> tuple[str, ...]:
    """What stands before a server block's brace; behind a comma it goes on in the next line."""
    words = line.words
    while not line.opens and words[-1].endswith(","):
        line = next(following, Line((), True, line.number, line.file))
        words += line.words
    if not line.opens:
        raise line.error(f"expected '{{' behind {words[-1]!r}")
    return tuple(key for word in words for key in word.split(",") if key)


def _directives(lines: Iterator[Line], opened: Line, plugin: str) -> Iterator[Directive]:
    """What stands in a block, up to its closing brace. `plugin`: whose options these are, if anyone's."""
    for line in lines:
        if line.closes:
            return
        if "}" in line.words or not line.words:
            raise line.error("a brace must stand at the end of a line, or alone")
        name, *arguments = line.words
        options: tuple[Directive, ...] = ()
        if line.opens:
            if plugin:
                raise line.error(f"{plugin}: {name!r} has no block")
            options = tuple(_directives(lines, line, name))
        yield Directive(name, tuple(arguments), line.number, line.file, options, plugin)
    raise opened.error("a block that is not closed")


def zones_of(text: str) -> tuple[str, ...]:
    """The zones a word stands for, in lower case and without last dot (`""` is the root); none if it cannot be one."""
    if "/" in text:
        try:
            return _reverse_zones(ipaddress.ip_network(text, strict=False))
        except ValueError:
            return ()
    name = text.lower().rstrip(".")
    labels = name.split(".") if name else []
    if (not name and text != ".") or len(name) > 253 or any(not 0 < len(label) < 64 for label in labels):
        return ()
    return (name,)


def _reverse_zones(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[str, ...]:
    """The reverse zones that cover a network: one, or several if it ends inside a label."""
    bits = 8 if network.version == 4 else 4
    length = -(-network.prefixlen // bits) * bits
    suffix = 4 if network.version == 4 else 32
    found: list[str] = []
    for part in network.subnets(new_prefix=length):
        labels = part.network_address.reverse_pointer.split(".")
        found.append(".".join(labels[suffix - length // bits :]))
    return tuple(found)
