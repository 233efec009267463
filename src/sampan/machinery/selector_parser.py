"""The grammar of label selectors in queries: `app=web,tier in (front,back),!old,weight>3`.

Yields plain tuples; `sampan.machinery.selectors` checks keys and values and makes the selector. `in` and `notin` are
words only where an operator may stand, so a label may have them as key or value.
"""

import re
from collections.abc import Iterator

Parsed = tuple[str, str, list[str]]

_token = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+|$)")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">", ""})
_OPERATORS = {"=": "=", "==": "=", "!=": "!=", "in": "in", "notin": "notin", ">": "gt", "<": "lt"}


class ParseError(ValueError):
    """The text is not a label selector."""


def parse(text: str) -> list[Parsed]:
    """(key, operator, sorted values) of each requirement. Raises ParseError."""
    return list(_Parser(text).requirements())


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [match[1] for match in _token.finditer(text)]
        self._tokens.append("")
        self._at = 0

    def requirements(self) -> Iterator[Parsed]:
        while self._peek():
            if self._peek() in _SYMBOLS - {"!"}:
                raise ParseError(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
            try:
                yield self._requirement()
            except ParseError as wrong:
                raise ParseError(f"unable to parse requirement: {wrong}") from None
            self._separator()

    def _separator(self) -> None:
        token = self._next()
        if token == "," and self._peek() in _SYMBOLS - {"!"}:
            raise ParseError(f"found '{self._peek()}', expected: identifier after ','")
        if token not in (",", ""):
            raise ParseError(f"found '{token}', expected: ',' or 'end of string'")

    def _requirement(self) -> Parsed:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._identifier()
        if absent:
            return key, "!", []
        if self._peek() in ("", ","):
            return key, "exists", []
        operator = self._operator()
        values = self._values() if operator in ("in", "notin") else {self._value()}
        return key, operator, sorted(values)

    def _operator(self) -> str:
        token = self._next()
        if token not in _OPERATORS:
            raise ParseError(f"found '{token}', expected: in, notin, =, ==, !=, gt, lt")
        return _OPERATORS[token]

    def _value(self) -> str:
        return "" if self._peek() in ("", ",") else self._identifier()

    def _values(self) -> set[str]:
        if (token := self._next()) != "(":
            raise ParseError(f"found '{token}', expected: '('")
        if self._peek() == ")":
            self._next()
            return set()
        values: set[str] = set()
        while True:
            values.add("" if self._peek() in (",", ")") else self._identifier())
            token = self._next()
            if token == ")":
                return values
            if token != ",":
                raise ParseError(f"found '{token}', expected: ',' or ')'")

    def _identifier(self) -> str:
        token = self._next()
        if token in _SYMBOLS:
            raise ParseError(f"found '{token}', expected: identifier")
        return token

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token
