"""Answers for people: steps with a verdict each, as lines for a terminal or as data for JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a step stands, with the sign it is printed with."""

    FINE = "✓"
    WRONG = "✗"
    NOTE = "·"


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    verdict: Verdict
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """`question` is the first line. `is_fine` is false where a step is wrong."""

    question: str
    steps: tuple[Step, ...]

    @property
    def is_fine(self) -> bool:
        return all(step.verdict is not Verdict.WRONG for step in self.steps)

    def lines(self) -> Iterator[str]:
        width = max((len(step.title) for step in self.steps), default=0)
        yield self.question
        yield ""
        for step in self.steps:
            yield f" {step.verdict.value} {step.title.ljust(width)}  {step.text}".rstrip()
            yield from (f"   {' ' * width}    {detail}" for detail in step.details)

    def data(self) -> dict[str, object]:
        """For JSON."""
        steps = [
            {"title": s.title, "verdict": s.verdict.name.lower(), "text": s.text, "details": list(s.details)}
            for s in self.steps
        ]
        return {"question": self.question, "isFine": self.is_fine, "steps": steps}


def fine(title: str, text: str, details: Sequence[str] = ()) -> Step:
    return Step(title, Verdict.FINE, text, tuple(details))


def note(title: str, text: str, details: Sequence[str] = ()) -> Step:
    return Step(title, Verdict.NOTE, text, tuple(details))


def wrong(title: str, text: str, details: Sequence[str] = ()) -> Step:
    return Step(title, Verdict.WRONG, text, tuple(details))
