r"""The part of Go's templates that records need: `{{ .Name }}`, `{{ index .Match 1 }}`, `{{ parseInt .Group.a 16 8 }}`.

An expression is a field, or a function of fields, numbers and "strings". Functions are `index`, `parseInt`, `print`,
`lower` and `upper`. There are no conditions, loops or variables.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_PLACE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`|(\S+)')


class BadTemplate(ValueError):
    """What is wrong with a template, or what it lacks."""


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """The template with all places filled. Raises BadTemplate."""
    return _PLACE.sub(lambda place: str(_value(place[1], fields)), template)


def _value(expression: str, fields: Mapping[str, Any]) -> Any:
    words = _WORD.findall(expression)
    values = [_operand(quoted or raw, word, fields) for quoted, raw, word in words[1:]]
    first = words[0][2] if words else ""
    if not first:
        return words[0][0] or words[0][1] if words else ""
    if first.startswith("."):
        if values:
            raise BadTemplate(f"{first} is no function")
        return _operand("", first, fields)
    function = _FUNCTIONS.get(first)
    if function is None:
        raise BadTemplate(f"unknown function {first!r}; there are {', '.join(_FUNCTIONS)}")
    try:
        return function(*values)
    except (TypeError, ValueError, LookupError) as error:
        raise BadTemplate(f"{first}: {error}") from error


def _operand(text: str, word: str, fields: Mapping[str, Any]) -> Any:
    if not word:
        return text
    if word.lstrip("-").isdecimal():
        return int(word)
    if not word.startswith("."):
        raise BadTemplate(f"{word!r} is neither a field, a number nor a string")
    found: Any = fields
    for part in word[1:].split("."):
        if not isinstance(found, Mapping) or (part not in found and found is fields):
            raise BadTemplate(f"unknown field {word!r}; there are {', '.join(f'.{name}' for name in fields)}")
        found = found.get(part, "")
    return found


def _parse_int(text: str, base: int, bits: int) -> int:
    number = int(text, base)
    if not 0 <= number < 1 << (bits or 64):
        raise ValueError(f"{text!r} is out of range")
    return number


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "index": lambda container, key: container[key],
    "parseInt": _parse_int,
    "print": lambda *values: "".join(map(str, values)),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
}
