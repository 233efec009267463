"""Processes: waits for processes that are not children (pidfd), kills whole trees, reads their resource usage."""

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from sampan.kernel import descriptors, libc

PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends."""
    libc.prctl(PR_SET_PDEATHSIG, number)


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it is gone. With the pid this names it for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def is_running(pid: int) -> bool:
    """Whether there is such a process and it is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] not in b"ZX"


def send(pid: int, number: int) -> bool:
    """Send a signal; False if there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pid: int, timeout: float) -> bool:
    """Block until a process, which need not be a child, has ended; False if it has not within `timeout` seconds."""
    process = descriptors.open_pidfd(pid)
    if process is None:
        return True
    with process:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(timeout * 1000))


async def gone(pid: int) -> None:
    """Return when a process, which need not be a child, has ended."""
    process = descriptors.open_pidfd(pid)
    if process is not None:
        with process:
            await process.readable()


def set_oom_score_adj(score: int) -> None:
    """How soon the kernel kills this process, and those it starts, when memory runs out (-1000 never, 1000 first).

    Without the right to be spared more, it stays as it is.
    """
    with contextlib.suppress(PermissionError):
        Path("/proc/self/oom_score_adj").write_text(str(score))


def parents() -> dict[int, int]:
    """The parent of every process that can be seen."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry)] = int(stat[stat.rindex(b")") + 4 :].split()[0])
    return found


def running(words: Sequence[bytes]) -> list[int]:
    """All processes whose command line begins with these words."""
    wanted = b"\0".join(words) + b"\0"
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if line.startswith(wanted):
                found.append(int(entry))
    return found


def descendants(pid: int) -> list[int]:
    """All processes below one, parents before their children."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for one in found:
        found.extend(children.get(one, ()))
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and all below it, again and again until none is left that forked meanwhile."""
    while True:
        below = [one for one in descendants(pid) if is_running(one)]
        send(pid, signal.SIGSTOP)
        for one in below:
            send(one, signal.SIGKILL)
        if not below:
            send(pid, signal.SIGKILL)
            return


def proportional_set_size(pid: int) -> int:
    """Memory of a process in bytes, shared pages divided among those who share them (PSS); 0 if it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


def total_set_size(pids: Iterable[int]) -> int:
    """The sum of `proportional_set_size`."""
    return sum(proportional_set_size(pid) for pid in pids)
