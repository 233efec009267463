"""The outcome: steps in the order in which a request meets them, and the first that is wrong."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """How a step stands, with the sign it is printed with."""

    FINE = "✓"
    WRONG = "✗"
    NOTE = "·"


class Step(NamedTuple):
    """One station of a request. `mend` says what to do where something is wrong."""

    title: str
    verdict: Verdict
    text: str
    details: tuple[str, ...] = ()
    mend: str = ""


class Explanation(NamedTuple):
    """All steps."""

    question: str
    steps: tuple[Step, ...]

    @property
    def first_wrong(self) -> Step | None:
        return next((step for step in self.steps if step.verdict is Verdict.WRONG), None)


def fine(title: str, text: str, details: Sequence[str] = ()) -> Step:
    return Step(title, Verdict.FINE, text, tuple(details))


def note(title: str, text: str, details: Sequence[str] = ()) -> Step:
    return Step(title, Verdict.NOTE, text, tuple(details))


def wrong(title: str, text: str, mend: str, details: Sequence[str] = ()) -> Step:
    return Step(title, Verdict.WRONG, text, tuple(details), mend)


def lines(explanation: Explanation) -> Iterator[str]:
    """The explanation for a terminal."""
    width = max((len(step.title) for step in explanation.steps), default=0)
    yield explanation.question
    yield ""
    for step in explanation.steps:
        yield f" {step.verdict.value} {step.title.ljust(width)}  {step.text}"
        yield from (f"   {' ' * width}    {detail}" for detail in step.details)
    yield ""
    first = explanation.first_wrong
    if first is None:
        yield "Nothing is wrong."
        return
    yield f"The first thing that is wrong: {first.text}"
    yield f"To mend it: {first.mend}"
