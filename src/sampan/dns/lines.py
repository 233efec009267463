"""The lines of a Corefile that say something, as words, with what `import` brings in their place.

Here are words, quotes, comments, `{$VARIABLES}` and `{%VARIABLES%}`, `(snippets)` and imported files; `corefile` makes
blocks and directives of the lines. A line knows its file and number, so that every error does.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sampan.dns.imports import CannotImport, Files

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(`[^`]*`)|(#.*)|([^\s"`#][^\s]*)|([\s]+)|(["`])')
_VARIABLE = re.compile(r"\{\$([^{}\s]+)\}|\{%([^{}%\s]+)%\}")
_MOST_IMPORTS = 1000


class CorefileError(Exception):
    """What is wrong with a Corefile, and where: `Corefile:7: unknown directive 'forwrd'`."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.line = line


class Line(NamedTuple):
    words: tuple[str, ...]
    opens: bool
    """A block begins behind these words."""
    number: int
    file: str

    @property
    def closes(self) -> bool:
        return self.words == ("}",) and not self.opens

    def error(self, problem: str) -> CorefileError:
        return CorefileError(self.file, self.number, problem)


class Lines:
    """All lines of a Corefile, imports done; iterate once. Raises CorefileError on the way."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str], files: Files) -> None:
        self.file = file
        self._environment, self._files = environment, files
        self._snippets: dict[str, tuple[Line, ...]] = {}
        self._pending: list[Iterator[Line]] = [iter(_lines(text, file, environment))]
        self._imports = 0

    def define(self, name: str, opened: Line) -> None:
        """Keep the lines up to the closing brace as a snippet, for every `import` of its name."""
        if name in self._snippets:
            raise opened.error(f"there is a snippet {name!r} already")
        kept: list[Line] = []
        depth = 1
        for line in self._raw():
            depth += line.opens - line.closes
            if not depth:
                self._snippets[name] = tuple(kept)
                return
            kept.append(line)
        raise opened.error("a block that is not closed")

    def __iter__(self) -> Iterator[Line]:
        for line in self._raw():
            if line.words[:1] == ("import",):
                self._pending.append(iter(self._imported(line)))
            else:
                yield line

    def _raw(self) -> Iterator[Line]:
        while self._pending:
            line = next(self._pending[-1], None)
            if line is None:
                self._pending.pop()
            else:
                yield line

    def _imported(self, line: Line) -> Iterable[Line]:
        self._imports += 1
        if line.opens or len(line.words) != 2:
            raise line.error("import: takes 1 argument, a snippet, a file or a pattern")
        if self._imports > _MOST_IMPORTS:
            raise line.error("import: imports itself, or too much is imported")
        name = line.words[1]
        if name in self._snippets:
            return self._snippets[name]
        try:
            found = self._files.matching(name, line.file)
        except CannotImport as error:
            raise line.error(f"import: no snippet {name!r}, and {error}") from error
        return [each for file, text in found for each in _balanced(_lines(text, file, self._environment), file)]


def _balanced(lines: Iterable[Line], file: str) -> list[Line]:
    """The lines of an imported file, if they close what they open."""
    found = list(lines)
    opened: list[Line] = []
    for line in found:
        if line.closes and not opened:
            raise line.error("a brace that closes nothing")
        if line.closes:
            opened.pop()
        elif line.opens:
            opened.append(line)
    if opened:
        raise opened[-1].error("a block that is not closed")
    return found


def _lines(text: str, file: str, environment: Mapping[str, str]) -> Iterator[Line]:
    for number, content in enumerate(text.splitlines(), 1):
        words = _words(content, file, number, environment)
        if words and words[-1] == "{":
            yield Line(words[:-1], True, number, file)
        elif words:
            yield Line(words, False, number, file)


def _words(text: str, file: str, line: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    words: list[str] = []

    def value(found: re.Match[str]) -> str:
        return environment.get(found[1] or found[2], "")

    for quoted, raw, comment, word, space, stray in _WORD.findall(text):
        if stray:
            raise CorefileError(file, line, "a quote that is not closed")
        if comment:
            break
        if word:
            words += filter(None, (_VARIABLE.sub(value, word),))
        elif raw:
            words.append(raw[1:-1])
        elif not space:
            words.append(_VARIABLE.sub(value, re.sub(r'\\(["\\])', r"\1", quoted)))
    return tuple(words)
