"""Read container logs in the CRI format: `<RFC 3339 nano> <stdout|stderr> <F|P> <text>`, one line each.

`select` turns a file into what was asked for; following a growing file is `follow.py`. A line that is too long for
one entry is split into several tagged P (partial), of which the last is tagged F.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan.machinery import times

BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What part of a log is wanted, in the words of pods/log. `since` is an RFC 3339 time in UTC, or empty."""

    tail_lines: int | None = None
    since: str = ""
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = "All"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log file; `text` ends with a newline unless the entry is partial."""

    time: str
    stream: str
    text: bytes

    def render(self, timestamps: bool) -> bytes:
        return self.time.encode() + b" " + self.text if timestamps else self.text


def parse(line: bytes) -> Entry | None:
    """Read one line without its newline; None for a damaged one."""
    parts = line.split(b" ", 3)
    if len(parts) < 3:
        return None
    text = parts[3] if len(parts) == 4 else b""
    partial = parts[2].startswith(b"P")
    return Entry(
        parts[0].decode(errors="replace"), parts[1].decode(errors="replace"), text if partial else text + b"\n"
    )


def selected(lines: Iterable[bytes], options: LogOptions) -> Iterator[Entry]:
    """The entries wanted, without regard to `tail_lines` and `limit_bytes`."""
    since = utc_nanoseconds(options.since) if options.since else None
    for line in lines:
        entry = parse(line)
        if entry is None or options.stream not in ("All", entry.stream.capitalize()):
            continue
        if since is None or utc_nanoseconds(entry.time) >= since:
            since = None
            yield entry


def tail_position(path: Path, lines: int) -> int:
    """The offset at which the last `lines` lines of a file begin."""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        if not position or lines <= 0:
            return position
        wanted = lines + 1
        end = position
        while position > 0:
            start = max(0, position - BLOCK)
            file.seek(start)
            block = file.read(position - start)
            if position == end and not block.endswith(b"\n"):
                wanted = lines
            found = block.count(b"\n")
            if found >= wanted:
                return start + _nth_newline_from_end(block, wanted) + 1
            wanted -= found
            position = start
        return 0


def tail(path: Path, lines: int) -> bytes:
    """The text of a log's last lines; empty if there is no log."""
    try:
        offset = tail_position(path, lines)
        with path.open("rb") as file:
            file.seek(offset)
            kept = deque(file.read().splitlines(), maxlen=lines)
    except OSError:
        return b""
    return b"".join(entry.text for entry in map(parse, kept) if entry)


def utc_nanoseconds(time: str) -> tuple[int, int]:
    """A sortable form of an RFC 3339 time with up to nine digits of a second. Raises ValueError."""
    main, dot, rest = time.partition(".")
    if not dot:
        return int(times.epoch(time)), 0
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return int(times.epoch(main + rest[digits:])), int(rest[:digits].ljust(9, "0")[:9])


def _nth_newline_from_end(block: bytes, count: int) -> int:
    position = len(block)
    for _ in range(count):
        position = block.rindex(b"\n", 0, position)
    return position
