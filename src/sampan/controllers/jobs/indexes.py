"""Sets of completion indexes, written as people write pages to print: `0-2,5,7-9`."""

from collections.abc import Iterable

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"


def parse(text: str) -> set[int]:
    """Read an index list; parts that are not numbers are ignored."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last if last.isdigit() else first) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    """Write an index list, with runs of three or more shortened, and of two as `1,2`."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(set(indexes)), -1]:
        if run and index != run[-1] + 1:
            parts.append(_run(run))
            run = []
        run.append(index)
    return ",".join(parts)


def _run(run: list[int]) -> str:
    return ",".join(map(str, run)) if len(run) < 3 else f"{run[0]}-{run[-1]}"


def index_of(annotations: dict[str, str]) -> int | None:
    text = annotations.get(COMPLETION_INDEX, "")
    return int(text) if text.isdigit() else None
