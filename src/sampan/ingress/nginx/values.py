"""Typed reading of the controller's settings, and text with `$variables` as administrators write it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sampan.ingress.model import Settings, Text, Variable
from sampan.ingress.nginx.directives import Expression, expression, variable

_REFERENCE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z_][A-Za-z0-9_]*))")
_NUMBERED = re.compile(r"\$(?:\{([0-9])\}|([0-9]))")


@dataclass(frozen=True, slots=True)
class Values:
    """Settings by their ConfigMap names; a key that is not there or None has the default that the caller gives."""

    settings: Settings

    def _get(self, key: str, default: object) -> object:
        value = self.settings.values.get(key)
        return default if value is None else value

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        return value.lower() in ("true", "on") if isinstance(value, str) else bool(value)

    def number(self, key: str, default: int) -> int:
        value = self._get(key, default)
        return int(value) if isinstance(value, (int, str)) and str(value).lstrip("-").isdigit() else default

    def text(self, key: str, default: str = "") -> str:
        """Sizes and times may be numbers as well."""
        value = self._get(key, default)
        if isinstance(value, tuple):
            return " ".join(str(part) for part in value)
        return on_off(value) if isinstance(value, bool) else str(value)

    def variables(self, key: str) -> Text:
        """Text with variables."""
        value = self._get(key, ())
        if isinstance(value, str):
            return (value,) if value else ()
        parts = value if isinstance(value, tuple) else ()
        return tuple(part for part in parts if isinstance(part, str | Variable))

    def words(self, key: str, default: str = "") -> tuple[str, ...]:
        value = self._get(key, default)
        if isinstance(value, tuple):
            return tuple(str(part) for part in value)
        return tuple(str(value).replace(",", " ").split())


def on_off(value: bool) -> str:
    return "on" if value else "off"


def template(text: str, numbered: bool = False) -> Expression:
    """Text in which `$name` and `${name}` are variables and every other dollar sign is itself.

    `numbered`: only `$1` … `$9` are, the groups of a regular expression. Raises Unrenderable.
    """
    pieces: list[str] = []
    at = 0
    for match in (_NUMBERED if numbered else _REFERENCE).finditer(text):
        name = match[1] or match[2]
        # nginx knows groups of a regular expression without brackets only, and by one digit.
        pieces += [expression(text[at : match.start()]), f"${name}" if numbered else variable(name)]
        at = match.end()
    pieces.append(expression(text[at:]))
    return Expression("".join(pieces))
