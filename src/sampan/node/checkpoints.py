"""What a restarted agent must know of a pod and neither the API server nor the runtime can tell it.

A directory per pod uid holds `pod.json`, the pod as it was last seen (it may be gone from the API by then), and
`records.jsonl`, its containers' records: one line each time they change, of which the last whole one counts. A line is
appended because replacing a file makes file systems write it out at once. Nothing is flushed: after a power cut no
container is left for the files to describe.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sampan.api.core_v1 import Pod
from sampan.node.records import Record

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
"""The size at which the lines that no longer count are dropped."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The state of one pod's worker."""

    start_time: float = 0.0
    records: dict[str, Record] = field(default_factory=dict)


_encode = msgspec.json.Encoder().encode
_decode_pod = msgspec.json.Decoder(Pod).decode
_decode_saved = msgspec.json.Decoder(Saved).decode


class Checkpoint:
    """The files of one pod."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._records = directory / "records.jsonl"
        self._last = b""
        self._closed = False

    def close(self) -> None:
        """Save nothing more: the directory is being removed."""
        self._closed = True

    def save_pod(self, pod: Pod) -> None:
        _replace(self.directory / "pod.json", _encode(pod))

    def save(self, start_time: float, records: Mapping[str, Record]) -> None:
        """Write the records if they changed."""
        line = b"%b\n" % _encode(Saved(start_time, dict(records)))
        if line == self._last or self._closed:
            return
        if self._append(line) > MAX_BYTES:
            _replace(self._records, line)
        self._last = line

    def load(self) -> Saved | None:
        """What was saved; None if there is nothing, or nothing readable."""
        for line in reversed(_read(self._records).splitlines()):
            try:
                return _decode_saved(line)
            except msgspec.MsgspecError:
                continue
        return None

    def load_pod(self) -> Pod | None:
        """The pod as it was last seen; None if there is nothing, or nothing readable."""
        path = self.directory / "pod.json"
        data = _read(path)
        try:
            return _decode_pod(data) if data else None
        except msgspec.MsgspecError as error:
            log.warning("%s cannot be read: %s", path, error)
            return None

    def _append(self, line: bytes) -> int:
        """Add a line, on a line of its own whatever was cut short before; returns the size of the file."""
        if not self._last:
            line = b"\n" + line
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._records.open("ab", buffering=0) as file:
            file.write(line)
            return file.tell()


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    temporary.rename(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return b""


def uids(pods: Path) -> Iterator[str]:
    """Every pod that left a directory."""
    if pods.is_dir():
        yield from (entry.name for entry in pods.iterdir() if entry.is_dir())
