"""The Corefile's grammar: server blocks, their directives, and the options in a directive's braces. Pure.

    .:53 {                        <- ServerBlock: keys (".:53",)
        forward . 10.0.0.1 {      <- Directive: name "forward", arguments (".", "10.0.0.1")
            max_fails 3           <- one of its options, itself a Directive
        }
    }

What the directives mean is their plugins' business (`plugins.table`); this module knows words, braces, quotes,
comments, `{$VARIABLES}`, `(snippets)` and `import`. Every error names its line.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(`[^`]*`)|(#.*)|([^\s"`#][^\s]*)|([\s]+)|(["`])')
_VARIABLE = re.compile(r"\{\$(\w+)\}|\{%(\w+)%\}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


class CorefileError(Exception):
    """What is wrong with a Corefile, and where: `Corefile:7: unknown directive 'forwrd'`."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.line = line


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

    def error(self, problem: str) -> CorefileError:
        of = self.plugin or self.name
        return CorefileError(self.file, self.line, f"{of}: {problem}")

    def unknown(self) -> CorefileError:
        return self.error(f"unknown option {self.name!r}")

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


def parse(text: str, file: str = "Corefile", environment: Mapping[str, str] | None = None) -> tuple[ServerBlock, ...]:
    """All server blocks of a file. Raises CorefileError."""
    snippets: dict[str, tuple[Directive, ...]] = {}
    blocks: list[ServerBlock] = []
    lines = _Lines(text, file, environment or {})
    for words, line, opens in lines:
        if not opens:
            raise CorefileError(file, line, f"expected '{{' behind {words[-1]!r}")
        keys = tuple(key for word in words for key in word.split(",") if key)
        directives = tuple(_directives(lines, line, snippets, ""))
        if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
            snippets[keys[0][1:-1]] = directives
        elif keys:
            blocks.append(ServerBlock(keys, directives, line, file))
        else:
            raise CorefileError(file, line, "a server block without a zone")
    if not blocks:
        raise CorefileError(file, 1, "no server block")
    return tuple(blocks)


class _Lines:
    """The lines that say something: their words, their number, and whether they open a block."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        self.file = file
        self._lines = iter(enumerate(text.splitlines(), 1))
        self._environment = environment

    def __iter__(self) -> Iterator[tuple[list[str], int, bool]]:
        for number, text in self._lines:
            words = self._words(text, number)
            if words and words[-1] == "{":
                yield words[:-1], number, True
            elif words:
                yield words, number, False

    def _words(self, text: str, line: int) -> list[str]:
        words: list[str] = []
        for quoted, raw, comment, word, _, stray in _WORD.findall(text):
            if stray:
                raise CorefileError(self.file, line, "a quote that is not closed")
            if comment:
                break
            if word:
                words.append(_VARIABLE.sub(lambda found: self._environment.get(found[1] or found[2], ""), word))
            elif raw:
                words.append(raw[1:-1])
            elif quoted or text.strip() == '""':
                words.append(re.sub(r'\\(["\\])', r"\1", quoted))
        return words


def _directives(
    lines: _Lines, opened: int, snippets: Mapping[str, tuple[Directive, ...]], plugin: str
) -> Iterator[Directive]:
    """What stands in a block, up to its closing brace. `plugin`: whose options these are, if anyone's."""
    for words, line, opens in lines:
        if words == ["}"]:
            return
        if "}" in words or not words:
            raise CorefileError(lines.file, line, "a brace must stand at the end of a line, or alone")
        name, *arguments = words
        if name == "import" and not plugin:
            if not arguments or arguments[0] not in snippets:
                raise CorefileError(lines.file, line, f"import: no snippet {' '.join(arguments)!r}")
            yield from snippets[arguments[0]]
            continue
        options: tuple[Directive, ...] = ()
        if opens:
            if plugin:
                raise CorefileError(lines.file, line, f"{plugin}: {name!r} has no block")
            options = tuple(_directives(lines, line, snippets, name))
        yield Directive(name, tuple(arguments), line, lines.file, options, plugin)
    raise CorefileError(lines.file, opened, "a block that is not closed")


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
