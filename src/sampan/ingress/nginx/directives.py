"""nginx configuration as a tree of directives, rendered with quoting; and a parser that reads such text back.

Names of directives are constants of this package. Every argument is a value of one of three kinds, and the kind decides
how it is quoted, so that text from an Ingress can never become a directive, a variable or a second argument:

- `str`: literal text. A dollar sign stays one even where nginx would interpolate a variable: nginx has no escape for
  it, so it comes from the variable `$literal_dollar` that http.py declares.
- `Expression`: text with variables, made by `expression()` from literals and variable names that were checked.
- `Verbatim`: text for arguments in which nginx interpolates nothing: regular expressions, file names.

Source of the syntax: ngx_conf_read_token() of nginx 1.22.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sampan.ingress.model import Text, Variable

MAX_ARGUMENT = 4000
"""nginx refuses arguments that do not fit its buffer of 4,096 bytes."""

_BARE = re.compile(r"[A-Za-z0-9_./=:,*@%+~$^\[\]-]+\Z")
_VARIABLE = re.compile(r"[A-Za-z0-9_]{1,100}\Z")
_NETWORK = re.compile(r"[0-9a-fA-F.:]{2,45}(/[0-9]{1,3})?\Z")
_ESCAPED = re.compile(r'[\\"]')
_SPACED = frozenset({"server_name", "listen"})
_ALWAYS_QUOTED = frozenset({"set"})


class Unrenderable(ValueError):
    """A value that no nginx configuration can hold: a NUL, too long, or a variable of a wrong name."""


class Expression(str):
    """Text in which `$name` is a variable of nginx. Only constants of this package and `expression()` make one."""

    __slots__ = ()


class Verbatim(str):
    """Text for an argument in which nginx interpolates nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Directive:
    """`name arguments;`, or with a block `name arguments { … }`. `lua` is a block of Lua code."""

    name: str
    arguments: tuple[str, ...] = ()
    block: tuple[Node, ...] | None = None
    lua: str | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text that `render` has made before, with its last line's end."""

    text: str = field(repr=False)


Node = Directive | Comment | Rendered


def d(name: str, *arguments: str | int, block: Iterable[Node] | None = None) -> Directive:
    """A directive; numbers become text."""
    return Directive(
        name,
        tuple(argument if isinstance(argument, str) else str(argument) for argument in arguments),
        None if block is None else tuple(block),
    )


def lua(name: str, code: str, *arguments: str) -> Directive:
    """A directive with a block of Lua, which is a constant of this package."""
    return Directive(name, arguments, lua=code)


def network(text: str) -> str:
    """An address or a CIDR range. Raises Unrenderable: words such as `all` and `default` would mean something else."""
    if not _NETWORK.match(text):
        raise Unrenderable(f"{text[:60]!r} is no address or range of addresses")
    return text


def variable(name: str) -> str:
    """`${name}`. Raises Unrenderable when the name could be anything else than one variable."""
    if not _VARIABLE.match(name):
        raise Unrenderable(f"{name[:100]!r} is no variable of nginx")
    return "${" + name + "}"


def expression(text: Text | str) -> Expression:
    """Literals and variables as one argument. Raises Unrenderable."""
    if isinstance(text, str):
        text = (text,)
    return Expression(
        "".join(
            variable(part.name) if isinstance(part, Variable) else part.replace("$", "${literal_dollar}")
            for part in text
        )
    )


def quoted(argument: str, always: bool = False) -> str:
    """One argument as nginx reads it. Raises Unrenderable."""
    if "$" in argument and not isinstance(argument, (Expression, Verbatim)):
        argument = expression(argument)
    if not always and len(argument) <= MAX_ARGUMENT and _BARE.match(argument):
        return str(argument)
    if "\0" in argument:
        raise Unrenderable("a value contains a NUL byte")
    text = _ESCAPED.sub(r"\\\g<0>", argument)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Unrenderable("a value is not valid Unicode text") from None
    if size > MAX_ARGUMENT:
        raise Unrenderable(f"a value of {size} bytes is longer than the {MAX_ARGUMENT} that nginx takes")
    return f'"{text}"'


def condition(name: str, operator: str, value: str, block: Iterable[Node]) -> Directive:
    """`if ($name operator value) { … }`; the closing bracket is an argument of its own, so that the value is quoted."""
    return Directive("if", (Expression(f"(${name}"), Verbatim(operator), value, ")"), tuple(block))


def is_set(name: str, block: Iterable[Node]) -> Directive:
    """`if ($name) { … }`: the variable is neither empty nor 0."""
    return Directive("if", (Expression(f"(${name})"),), tuple(block))


def render(nodes: Iterable[Node], depth: int = 0) -> str:
    """The text of a configuration. Raises Unrenderable."""
    pieces: list[str] = []
    _render(nodes, "\t" * depth, pieces)
    return "".join(pieces)


def _render(nodes: Iterable[Node], indent: str, pieces: list[str]) -> None:
    for node in nodes:
        if isinstance(node, Rendered):
            pieces.append(node.text)
            continue
        if isinstance(node, Comment):
            pieces.append(f"{indent}## {''.join(c if c.isprintable() else '?' for c in node.text)}\n")
            continue
        words = [quoted(node.name)]  # the keys of maps stand where names do, and may come from users
        for position, argument in enumerate(node.arguments):
            if node.name == "if":
                words.append(_in_condition(argument))
            else:
                words.append(quoted(argument, always=position == 1 and node.name in _ALWAYS_QUOTED))
        start = indent + " ".join(words)
        if node.lua is not None:
            pieces.append(f"{start} {{\n{indent}\t{node.lua}\n{indent}}}\n")
        elif node.block is None:
            pieces.append(start + (" ;\n" if node.name in _SPACED else ";\n"))
        else:
            pieces.append(start + " {\n")
            _render(node.block, indent + "\t", pieces)
            pieces.append(indent + "}\n")


def _in_condition(argument: str) -> str:
    return argument if argument == ")" or isinstance(argument, Expression) else quoted(argument, always=True)


# --- reading


class SyntaxError_(ValueError):
    """Text that nginx would not read either."""


_TOKEN = re.compile(
    r"""[ \t\r\n]+ | \#[^\n]* | (?P<end>;) | (?P<open>\{) | (?P<close>\})
      | "(?P<double>(?:[^"\\]|\\.)*)"(?=[\s;{)]) | '(?P<single>(?:[^'\\]|\\.)*)'(?=[\s;{)])
      | (?P<bare>(?:\$\{|\\.|[^\s;{}"'\\]|(?<=\S)["'}])(?:\$\{|\\.|[^\s;{\\])*)""",
    re.X | re.S,
)
_UNESCAPED = re.compile(r"""\\(["'\\trn])""")
_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}


def parse(text: str) -> tuple[Directive, ...]:
    """The directives of a configuration, their arguments without quotes. Raises SyntaxError_."""
    return tuple(_Reader(text).directives(nested=False))


def snippet(text: str) -> tuple[Directive, ...]:
    """Raw configuration as a tree: it cannot end the block it is in. Raises Unrenderable."""
    try:
        return tuple(_as_written(node) for node in parse(text))
    except (ValueError, RecursionError) as problem:
        raise Unrenderable(f"a snippet is no configuration: {problem}") from None


def _as_written(node: Directive) -> Directive:
    kind = Expression if node.name == "if" else Verbatim
    inside = node.block
    block = None if inside is None else tuple(_as_written(inner) for inner in inside if isinstance(inner, Directive))
    return Directive(node.name, tuple(kind(argument) for argument in node.arguments), block, node.lua)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def _token(self) -> tuple[str, str]:
        while self._at < len(self._text):
            match = _TOKEN.match(self._text, self._at)
            if match is None:
                raise SyntaxError_(f"unexpected text: {self._text[self._at : self._at + 40]!r}")
            self._at = match.end()
            if match.lastgroup:
                return match.lastgroup, match[match.lastgroup]
        return "", ""

    def directives(self, nested: bool) -> Iterator[Directive]:
        words: list[str] = []
        while True:
            kind, word = self._token()
            match kind:
                case "double" | "single" | "bare":
                    words.append(_UNESCAPED.sub(lambda m: _CONTROL.get(m[1], m[1]), word))
                case "end" if words:
                    yield Directive(words[0], tuple(words[1:]))
                    words = []
                case "open" if words and words[0].endswith("_by_lua_block"):
                    yield Directive(words[0], tuple(words[1:]), lua=self._lua())
                    words = []
                case "open" if words:
                    yield Directive(words[0], tuple(words[1:]), tuple(self.directives(nested=True)))
                    words = []
                case "close" if nested and not words:
                    return
                case "" if not nested and not words:
                    return
                case _:
                    raise SyntaxError_(f"unexpected {word or 'end'!r} after {words}")

    def _lua(self) -> str:
        """Code up to the bracket that closes the block; our own code has balanced brackets."""
        depth, start = 1, self._at
        while depth:
            if self._at >= len(self._text):
                raise SyntaxError_("a block of Lua does not end")
            depth += {"{": 1, "}": -1}.get(self._text[self._at], 0)
            self._at += 1
        return self._text[start : self._at - 1].strip()
