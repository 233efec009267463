"""Reading logs in the CRI format."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.node.logs import follow, reader
from sampan.node.logs.reader import LogOptions

LINES = [
    "2026-01-01T00:00:01.000000001+00:00 stdout F one",
    "2026-01-01T00:00:02.5Z stderr F two",
    "2026-01-01T00:00:03Z stdout P thr",
    "2026-01-01T00:00:03Z stdout F ee",
    "2026-01-01T00:00:04Z stdout F ",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def text(path: Path, **options: object) -> bytes:
    async def collect() -> bytes:
        wanted = LogOptions(**options)  # type: ignore[arg-type]
        return b"".join([block async for block in follow.read(path, wanted)])

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, b"one\ntwo\nthree\n\n"),
        ({"tail_lines": 1}, b"\n"),
        ({"tail_lines": 0}, b""),
        ({"tail_lines": 99}, b"one\ntwo\nthree\n\n"),
        ({"limit_bytes": 5}, b"one\nt"),
        ({"since": "2026-01-01T00:00:02.6Z"}, b"three\n\n"),
        ({"since": "2026-01-01T01:00:02+01:00"}, b"two\nthree\n\n"),
        ({"stream": "Stderr"}, b"two\n"),
        ({"stream": "Stderr", "timestamps": True}, b"2026-01-01T00:00:02.5Z two\n"),
    ],
)
def test_options(log: Path, options: dict[str, object], expected: bytes) -> None:
    assert text(log, **options) == expected


def test_damaged_lines_are_passed_over(log: Path) -> None:
    log.write_bytes(b"damaged\n\xff\xfe x\n" + log.read_bytes())
    assert text(log) == b"one\ntwo\nthree\n\n"


@given(lines=st.lists(st.text("ab ", max_size=30), max_size=30), count=st.integers(0, 35))
def test_the_tail_begins_where_the_last_lines_begin(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    with path.open() as file:
        file.seek(reader.tail_position(path, count))
        assert file.read().splitlines() == (lines[-count:] if count else [])


def test_following_goes_on_until_the_container_has_ended(log: Path) -> None:
    async def scenario() -> bytes:
        alive = True
        received = b""

        async def write_more() -> None:
            nonlocal alive
            with log.open("a") as file:
                file.write("2026-01-01T00:00:05Z stdout F more\n")
            alive = False

        writing = asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(write_more()))
        async for block in follow.read(log, LogOptions(tail_lines=1), lambda: alive):
            received += block
        writing.cancel()
        return received

    assert asyncio.run(scenario()) == b"\nmore\n"
