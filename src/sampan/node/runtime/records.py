"""What is kept on disk of a container, and how its state is read from it."""

import os
from pathlib import Path

import msgspec

from sampan.node.runtime.conmon import Paths
from sampan.node.runtime.types import ContainerSpec, ContainerState


class Record(msgspec.Struct, frozen=True):
    """The part of a ContainerSpec that is needed after its creation."""

    id: str
    pod_uid: str
    name: str
    attempt: int
    log_path: str
    cgroup_parent: str
    labels: dict[str, str]

    @classmethod
    def of(cls, spec: ContainerSpec) -> "Record":
        log = str(spec.log_path)
        return cls(spec.id, spec.pod_uid, spec.name, spec.attempt, log, spec.cgroup_parent, dict(spec.labels))


def read_state(paths: Paths, exits: Path) -> ContainerState | None:
    """A container as its files show it; None if there is none or its creation was cut short."""
    try:
        created = os.stat(paths.spec).st_mtime
        record = msgspec.json.decode(paths.spec.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    started = _modified(paths.started)
    exit_file = exits / record.id
    finished = _modified(exit_file)
    return ContainerState(
        id=record.id,
        pod_uid=record.pod_uid,
        name=record.name,
        attempt=record.attempt,
        status="stopped" if finished else "running" if started else "created",
        pid=number(paths.pid),
        exit_code=number(exit_file),
        created_at=created,
        started_at=started,
        finished_at=finished,
        oom_killed=paths.oom.exists(),
        log_path=Path(record.log_path),
        labels=record.labels,
    )


def _modified(file: Path) -> float:
    try:
        return os.stat(file).st_mtime
    except FileNotFoundError:
        return 0.0


def number(file: Path) -> int:
    """The number in a file; 0 if there is none."""
    try:
        return int(file.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def write_exit(file: Path, code: int) -> None:
    """Record an exit that nobody saw, at once or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(str(code))
    partial.rename(file)
