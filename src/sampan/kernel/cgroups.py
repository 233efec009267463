"""Control groups, version 1 and 2: find the hierarchies, make and remove groups in all of them, read what is used.

A group is named by one path such as `/sampan-demo/node-1/<pod uid>`, the same in every hierarchy.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sampan.kernel import mounts

REMOVE_SECONDS = 5.0
_V1_CONTROLLERS = frozenset(
    ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio", "hugetlb")
)


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where control groups are mounted. `unified` is version 2; `by_controller` version 1, named ones as `name=x`."""

    unified: Path | None
    by_controller: dict[str, Path]

    @property
    def version(self) -> int:
        """2 if there is nothing but version 2."""
        return 1 if self.by_controller or self.unified is None else 2

    def roots(self) -> list[Path]:
        """Every mount point once."""
        found = dict.fromkeys(self.by_controller.values())
        return [*found, *([self.unified] if self.unified else [])]


def find() -> Hierarchies:
    """The hierarchies mounted in this mount namespace."""
    unified: Path | None = None
    by_controller: dict[str, Path] = {}
    for point in mounts.mounted():
        if point.kind == "cgroup2":
            unified = Path(point.target)
        elif point.kind == "cgroup":
            for option in point.super_options.split(","):
                if option in _V1_CONTROLLERS or option.startswith("name="):
                    by_controller[option] = Path(point.target)
    return Hierarchies(unified, by_controller)


@cache
def hierarchies() -> Hierarchies:
    """As `find`, remembered: mounts of control groups do not change while a process runs."""
    return find()


def _groups(path: str) -> list[Path]:
    return [root / path.lstrip("/") for root in hierarchies().roots()]


def create(path: str) -> None:
    """Make a group, and those above it, in all hierarchies. Repeatable."""
    for group in _groups(path):
        group.mkdir(parents=True, exist_ok=True)
        _inherit_cpus(group)
        _inherit_controllers(group)


def _inherit_cpus(group: Path) -> None:
    """A version 1 cpuset begins without any CPU or memory node, and takes no process until it has some."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = group / name
        if file.exists() and not file.read_text().strip():
            above = group.parent / name
            if above.exists():
                if not above.read_text().strip():
                    _inherit_cpus(group.parent)
                file.write_text(above.read_text())


def _inherit_controllers(group: Path) -> None:
    """A version 2 group has the controllers that those above pass on. An init such as systemd has arranged it; others
    leave it to whoever makes groups. What cannot be passed on (a group with processes of its own) is left as it is.
    """
    file = group.parent / "cgroup.subtree_control"
    if not file.exists():
        return
    _inherit_controllers(group.parent)
    available = set((group.parent / "cgroup.controllers").read_text().split())
    if lacking := available - set(file.read_text().split()):
        with contextlib.suppress(OSError):
            file.write_text(" ".join(f"+{name}" for name in sorted(lacking)))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group with all below it may have; 0 is unlimited. CPU time in microseconds a period, memory in bytes."""

    cpu_shares: int
    cpu_quota: int = 0
    cpu_period: int = 100_000
    memory: int = 0
    pids: int = 0


def limit(path: str, limits: Limits) -> list[OSError]:
    """Set a group's limits, each in the hierarchy that has it, where the group is made if it is not there; returns what
    this kernel would not take. In other hierarchies whoever puts processes into the group makes it.
    """
    errors = []
    for controller, name, value in _settings(limits, hierarchies().version):
        root = hierarchies().by_controller.get(controller, hierarchies().unified)
        if root is None:
            continue
        group = root / path.lstrip("/")
        try:
            if not group.is_dir():
                group.mkdir(parents=True, exist_ok=True)
                _inherit_controllers(group)
            (group / name).write_text(value)
        except OSError as error:
            errors.append(error)
    return errors


def _settings(limits: Limits, version: int) -> list[tuple[str, str, str]]:
    """Controller, file and text of each limit that is one (cgroups-v1/ and cgroup-v2.rst of the kernel)."""
    quota, period = limits.cpu_quota, limits.cpu_period
    if version == 2:
        found = [("cpu", "cpu.weight", str(1 + (limits.cpu_shares - 2) * 9999 // 262142))]
        found += [("cpu", "cpu.max", f"{quota} {period}")] if quota else []
        found += [("memory", "memory.max", str(limits.memory))] if limits.memory else []
    else:
        found = [("cpu", "cpu.shares", str(limits.cpu_shares))]
        if quota:
            found += [("cpu", "cpu.cfs_period_us", str(period)), ("cpu", "cpu.cfs_quota_us", str(quota))]
        found += [("memory", "memory.limit_in_bytes", str(limits.memory))] if limits.memory else []
    return found + ([("pids", "pids.max", str(limits.pids))] if limits.pids else [])


def add(path: str, pid: int) -> None:
    """Move a process into a group in all hierarchies."""
    for group in _groups(path):
        (group / "cgroup.procs").write_text(str(pid))


def exists(path: str) -> bool:
    return any(group.is_dir() for group in _groups(path))


def children(path: str) -> set[str]:
    """The names of the groups directly within a group, in any hierarchy."""
    return {one.name for group in _groups(path) if group.is_dir() for one in group.iterdir() if one.is_dir()}


def _below(group: Path) -> Iterator[Path]:
    """The group and all below it, the innermost first."""
    for directory, _names, _files in os.walk(group, topdown=False):
        yield Path(directory)


def processes(path: str) -> set[int]:
    """All processes in a group and below it, in any hierarchy."""
    found: set[int] = set()
    for group in _groups(path):
        for one in _below(group):
            try:
                found.update(map(int, (one / "cgroup.procs").read_text().split()))
            except OSError:  # gone meanwhile
                continue
    return found


def kill(path: str) -> None:
    """Send SIGKILL to every process in a group and below it."""
    for group in _groups(path):
        switch = group / "cgroup.kill"
        if switch.exists():
            switch.write_text("1")
    for pid in processes(path):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def remove(path: str, *, timeout: float = REMOVE_SECONDS) -> None:
    """Kill everything in a group and below it and remove it from all hierarchies. Blocks; repeatable.

    Raises OSError if something is left after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        busy = [one for group in _groups(path) for one in _below(group) if not _rmdir(one)]
        if not busy:
            return
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(busy[0]))
        kill(path)
        time.sleep(0.005)


def _rmdir(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time in nanoseconds; memory in bytes, the working set being what cannot be dropped under pressure."""

    cpu_nanoseconds: int
    memory: int
    working_set: int


def _values(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def usage(path: str) -> Usage | None:
    """What a group uses with all below it; None if there is no such group."""
    known = hierarchies()
    name = path.lstrip("/")
    try:
        if known.version == 2 and known.unified:
            group = known.unified / name
            cpu = _values(group / "cpu.stat")["usage_usec"] * 1000
            memory = int((group / "memory.current").read_text())
            inactive = _values(group / "memory.stat").get("inactive_file", 0)
        else:
            cpu = int((known.by_controller["cpuacct"] / name / "cpuacct.usage").read_text())
            group = known.by_controller["memory"] / name
            memory = int((group / "memory.usage_in_bytes").read_text())
            inactive = _values(group / "memory.stat").get("total_inactive_file", 0)
    except (FileNotFoundError, KeyError):
        return None
    return Usage(cpu, memory, max(0, memory - inactive))
