"""How rules of `rewrite` match names, and what they make of them: exact, prefix, suffix, substring, regex."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive

Rename = Callable[[str], str | None]
"""The name that a rule makes of a name, or None where it does not apply."""

WAYS = ("exact", "prefix", "suffix", "substring", "regex")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One way to match with its two words, as they stand in the Corefile. Names are lower case, without last dot."""

    way: str
    before: str
    after: str
    pattern: re.Pattern[str] | None = None

    def __call__(self, name: str) -> str | None:
        plain, new = _plain(self.before), _plain(self.after)
        match self.way:
            case "exact":
                return new if name == plain else None
            case "prefix":
                start = wire.lower(self.before)
                return wire.lower(self.after) + name[len(start) :] if name.startswith(start) else None
            case "suffix":
                return name[: len(name) - len(plain)] + new if name.endswith(plain) else None
            case "substring":
                old = wire.lower(self.before)
                return name.replace(old, wire.lower(self.after)) if old in name else None
        return renamed(self.pattern, self.after, name) if self.pattern is not None else None

    def backwards(self) -> Rename:
        """From the names that it makes to those that it makes them of, where that can be known."""
        if self.way in ("exact", "prefix", "suffix"):
            return Matcher(self.way, self.after, self.before)
        return lambda name: None


def matcher(directive: Directive, words: list[str], usage: str) -> Matcher:
    """From `[WAY] FROM TO`. Raises CorefileError."""
    way, *given = words if len(words) > 2 else ["exact", *words]
    if way not in WAYS:
        raise directive.error(f"unknown way to match {way!r}; there are {', '.join(WAYS)}")
    if len(given) != 2:
        raise directive.error(f"expected: {usage}")
    before, after = given
    compiled = pattern(directive, before) if way == "regex" else None
    if compiled is not None and any(int(at) > compiled.groups for at in re.findall(r"\{(\d+)\}", after)):
        raise directive.error(f"{after!r} has more groups than {before!r}")
    return Matcher(way, before, after, compiled)


def pattern(directive: Directive, text: str) -> re.Pattern[str]:
    """A regular expression as Go writes it. Raises CorefileError."""
    try:
        return re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", text).replace(r"\z", r"\Z"), re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise directive.error(f"{text!r} is not a regular expression: {error}") from error


def renamed(expression: re.Pattern[str], template: str, name: str) -> str | None:
    """The template with the groups of a match put in, `{1}` being the first; None without a match."""
    found = expression.search(f"{name}.") or expression.search(name)
    if found is None:
        return None
    count = len(found.groups())
    filled = re.sub(r"\{(\d+)\}", lambda at: (found[int(at[1])] or "") if int(at[1]) <= count else "", template)
    return _plain(filled)


def type_of(directive: Directive, name: str) -> int:
    """A type of records by its name. Raises CorefileError."""
    for number, known in wire.TYPE_NAMES.items():
        if known == name.upper():
            return number
    raise directive.error(f"{name!r} is not a type of records")


def _plain(name: str) -> str:
    return wire.lower(name).rstrip(".")
