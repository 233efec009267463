"""Label and field selectors: parsed from queries or read from objects, then matched many times.

Text is parsed by `selector_parser`; what it accepts and how it complains is upstream's (`k8s.io/apimachinery`
packages `labels` and `fields`). Selectors are immutable and hashable.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sampan.machinery import names, selector_parser
from sampan.machinery.errors import BadRequest, FieldError


class SelectorError(BadRequest):
    """A selector that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `operator` is one of `= != in notin exists ! gt lt`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        return value is not None and _compare(value, self.operator, self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All of its requirements must hold; without any it matches everything, unless it is `NOTHING`."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        for requirement in self.requirements:
            if requirement.operator == "=":
                if labels.get(requirement.key) != requirement.values[0]:
                    return False
            elif not requirement.matches(labels):
                return False
        return True

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


_KEPT_LENGTH = 512
"""Longer selectors are parsed anew each time, so that clients cannot fill the memory with them."""

EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


def parse_labels(text: str) -> LabelSelector:
    """Read `app=web,tier in (front,back),!old`. Raises SelectorError."""
    return _parse_short_labels(text) if len(text) <= _KEPT_LENGTH else _parse_labels(text)


def _parse_labels(text: str) -> LabelSelector:
    try:
        parsed = selector_parser.parse(text)
    except selector_parser.ParseError as wrong:
        raise SelectorError(str(wrong)) from None
    requirements = tuple(Requirement(key, operator, tuple(values)) for key, operator, values in parsed)
    for requirement in requirements:
        if errors := _wrong(requirement):
            raise SelectorError(f"unable to parse requirement: {errors[0]}")
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


_parse_short_labels = lru_cache(maxsize=1024)(_parse_labels)


def from_labels(labels: Mapping[str, str]) -> LabelSelector:
    """The selector of a Service or ReplicationController: exactly these labels; everything when there are none."""
    return LabelSelector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(labels.items())))


def from_label_selector(selector: Any) -> LabelSelector:
    """The `metav1.LabelSelector` of an object, as a mapping or a struct: none selects nothing, an empty one everything.

    Raises SelectorError for an operator that does not exist.
    """
    if selector is None:
        return NOTHING
    labels: Mapping[str, str] = _field(selector, "matchLabels", "match_labels") or {}
    expressions: Iterable[Any] = _field(selector, "matchExpressions", "match_expressions") or ()
    requirements = [Requirement(key, "=", (value,)) for key, value in sorted(labels.items())]
    for expression in expressions:
        operator = _OPERATORS.get(_field(expression, "operator", "operator"))
        if operator is None:
            shown = _field(expression, "operator", "operator")
            raise SelectorError(f'"{shown}" is not a valid label selector operator')
        values = tuple(sorted(_field(expression, "values", "values") or ()))
        requirements.append(Requirement(_field(expression, "key", "key"), operator, values))
    return LabelSelector(tuple(requirements))


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One condition on one field: `operator` is `=` or `!=`."""

    path: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.path}{self.operator}{_escape(self.value)}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    terms: tuple[FieldTerm, ...] = ()

    def matches(self, get: Callable[[str], str]) -> bool:
        """Whether all terms hold of the object whose fields `get` reads (an absent one as the empty string)."""
        return all((get(term.path) == term.value) is (term.operator == "=") for term in self.terms)

    def exact(self, path: str) -> str | None:
        """The one value that `path` must have, if the selector says so: lets a list become a get."""
        return next((term.value for term in self.terms if term.path == path and term.operator == "="), None)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def parse_fields(text: str) -> FieldSelector:
    """Read `spec.nodeName=node-1,status.phase!=Failed`. Raises SelectorError."""
    return _parse_short_fields(text) if len(text) <= _KEPT_LENGTH else _parse_fields(text)


def _parse_fields(text: str) -> FieldSelector:
    terms = []
    for part in _split_terms(text):
        if not part:
            continue
        term = _parse_term(part)
        if term is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(term)
    return FieldSelector(tuple(terms))


_parse_short_fields = lru_cache(maxsize=1024)(_parse_fields)


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def _field(holder: Any, key: str, attribute: str) -> Any:
    return holder.get(key) if isinstance(holder, Mapping) else getattr(holder, attribute, None)


def _compare(value: str, operator: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "gt" else int(value) < int(bound)
    except ValueError:
        return False


def _wrong(requirement: Requirement) -> list[FieldError]:
    if messages := names.qualified_name(requirement.key):
        return [FieldError.invalid("<nil>", requirement.key, "; ".join(messages))]
    if requirement.operator in ("in", "notin") and not requirement.values:
        return [FieldError.invalid("values", [], "for 'in', 'notin' operators, values set can't be empty")]
    if requirement.operator in ("gt", "lt") and not _is_integer(requirement.values):
        path, value = "values[0]", requirement.values[0]
        return [FieldError.invalid(path, value, "for 'Gt', 'Lt' operators, the value must be an integer")]
    return [
        FieldError.invalid(f"values[{index}][{requirement.key}]", value, "; ".join(messages))
        for index, value in enumerate(requirement.values)
        if (messages := names.label_value(value))
    ]


def _is_integer(values: Sequence[str]) -> bool:
    try:
        return len(values) == 1 and int(values[0]) is not None
    except ValueError:
        return False


def _split_terms(text: str) -> list[str]:
    """Split at commas that no backslash escapes."""
    parts, current, escaped = [], "", False
    for character in text:
        if character == "," and not escaped:
            parts.append(current)
            current = ""
            continue
        current += character
        escaped = character == "\\" and not escaped
    return [*parts, current]


def _parse_term(part: str) -> FieldTerm | None:
    escaped = False
    for index, character in enumerate(part):
        if not escaped:
            for sign, operator in (("!=", "!="), ("==", "="), ("=", "=")):
                if part.startswith(sign, index):
                    return FieldTerm(part[:index], operator, _unescape(part[index + len(sign) :]))
        escaped = character == "\\" and not escaped
    return None


def _unescape(value: str) -> str:
    result, characters = "", iter(value)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            character = escaped
        elif character in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {character}")
        result += character
    return result


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
