"""What somebody probably meant: words that differ by a letter or two."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


def distance(one: str, other: str) -> int:
    """How many letters are wrong, missing, too many or exchanged with the next (optimal string alignment)."""
    one, other = one.lower(), other.lower()
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def alike(one: str, other: str) -> bool:
    """Whether one may be the other, mistyped: a letter off, or two in a longer word."""
    return distance(one, other) <= (1 if min(len(one), len(other)) < 6 else 2)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one; empty if none is alike."""
    best = min(known, key=lambda each: (distance(word, each), each), default="")
    return best if best and alike(word, best) else ""


class Miss(NamedTuple):
    """A label that was wanted, and what is there in its place (an empty key: nothing like it)."""

    wanted: tuple[str, str]
    found: tuple[str, str]

    @property
    def close(self) -> bool:
        return bool(self.found[0])

    def __str__(self) -> str:
        found = f"has {'='.join(self.found)}" if self.close else "has nothing like it"
        return f"{found}, not {'='.join(self.wanted)}"


def misses(selector: Mapping[str, str], labels: Mapping[str, str]) -> list[Miss]:
    """The labels that keep this from being selected."""
    return [
        Miss((key, value), _in_its_place(key, value, labels))
        for key, value in sorted(selector.items())
        if labels.get(key) != value
    ]


def _in_its_place(key: str, value: str, labels: Mapping[str, str]) -> tuple[str, str]:
    """The same key with a similar value, or the same value under a similar key."""
    if key in labels:
        return (key, labels[key]) if alike(value, labels[key]) else ("", "")
    other = nearest(key, (each for each in labels if labels[each] == value))
    return (other, labels[other]) if other else ("", "")
