"""An Ingress's annotations as typed values, by the table. Every value is parsed and checked here, once.

Pure. What is wrong is told and never hidden: a bad value leaves the default in place or, where that would be unsafe,
closes the Ingress's paths; an annotation above the allowed risk or with a forbidden word rejects the whole Ingress.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from sampan.ingress.annotations.table import ALIASES, ANNOTATIONS, REMOVED, Annotation, Risk
from sampan.ingress.model import Settings
from sampan.ingress.settings import RISKS, value

T = TypeVar("T")

PREFIX = "nginx.ingress.kubernetes.io"
_SNIPPETS = {"configuration-snippet", "server-snippet", "stream-snippet", "auth-snippet"}
_LONGEST_QUOTE = 80


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with one annotation; `annotation` is its name without the prefix."""

    annotation: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Annotations:
    """Typed values by name. `denied` says why the paths are closed, `rejected` why the Ingress is not served at all."""

    values: Mapping[str, object]
    findings: tuple[Finding, ...] = ()
    denied: str = ""
    rejected: str = ""

    def get(self, name: str, default: T) -> T:
        """The value of `name`, of its default's type."""
        return self.values.get(name, default)  # type: ignore[return-value]

    def find(self, name: str, kind: type[T]) -> T | None:
        found = self.values.get(name)
        return found if isinstance(found, kind) else None

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.values.get(name, default))


NONE = Annotations({})


def parse(annotations: Mapping[str, str], settings: Settings, prefix: str = PREFIX) -> Annotations:
    """All annotations below `prefix`, checked. Those of others are none of our business."""
    start = f"{prefix}/"
    ours = {name[len(start) :]: text for name, text in sorted(annotations.items()) if name.startswith(start)}
    if not ours:
        return NONE
    if rejected := _rejected(ours, settings, prefix):
        return Annotations({}, (Finding(*rejected),), rejected=rejected[2])
    found: dict[str, object] = {}
    findings: list[Finding] = []
    denied = ""
    snippets = value(settings, "allow-snippet-annotations", bool)
    for name, text in ours.items():
        row = ANNOTATIONS.get(ALIASES.get(name, name))
        wrong = _misplaced(name, text, row, snippets, prefix)
        if row is None or wrong is not None:
            findings += [wrong] if wrong is not None else []
            continue
        if name in ALIASES and ours.get(row.name):
            message = f"{prefix}/{name} is another name of {prefix}/{row.name}, which is set and wins"
            findings.append(Finding(name, "IgnoredAnnotation", message))
            continue
        try:
            if text != "":
                found[row.name] = row.parse(text)
        except ValueError as error:
            message = f"{prefix}/{name}: {_quoted(text)}: {error}"
            if row.denies:
                message += "; the paths of this Ingress answer 503 until it is corrected"
                denied = denied or f"annotation {name} is not valid"
            else:
                message += "; the annotation is ignored"
            findings.append(Finding(name, "InvalidAnnotation", message))
    return Annotations(found, tuple(findings), denied)


def _rejected(ours: Mapping[str, str], settings: Settings, prefix: str) -> tuple[str, str, str] | None:
    """Why the whole Ingress is not served, as the parts of a Finding."""
    level = Risk(RISKS.index(value(settings, "annotations-risk-level", str)))
    for name in ours:
        row = ANNOTATIONS.get(ALIASES.get(name, name))
        if row is not None and row.risk > level and not row.refused:
            message = (
                f"{prefix}/{name} has risk {row.risk.name.capitalize()}, and annotations-risk-level allows up to "
                f"{level.name.capitalize()}; the Ingress is not served"
            )
            return name, "AnnotationRisk", message
    for word in value(settings, "annotation-value-word-blocklist", tuple):
        for name, text in ours.items():
            if word.lower() in text.lower():
                message = f"{prefix}/{name} has the forbidden word {_quoted(word)}; the Ingress is not served"
                return name, "ForbiddenWord", message
    return None


def _misplaced(name: str, text: str, row: Annotation | None, snippets: bool, prefix: str) -> Finding | None:
    """Why the annotation has no effect, whatever its value."""
    if row is None:
        if name in REMOVED:
            return Finding(name, "UnknownAnnotation", f"{prefix}/{name} has no effect: {REMOVED[name]}")
        close = difflib.get_close_matches(name[:100], [*ANNOTATIONS, *ALIASES], 1, 0.75)
        hint = f"; did you mean {prefix}/{close[0]}?" if close else ""
        return Finding(name, "UnknownAnnotation", f"{prefix}/{name[:100]} is not known and has no effect{hint}")
    if row.refused and text not in ("", "false"):
        return Finding(name, "RefusedAnnotation", f"{prefix}/{name} has no effect: {row.refused}")
    if name in _SNIPPETS and not snippets:
        message = f"{prefix}/{name} has no effect: the ConfigMap's allow-snippet-annotations is false"
        return Finding(name, "RefusedAnnotation", message)
    return None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…")
