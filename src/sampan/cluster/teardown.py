"""Ends a cluster and proves that nothing of it is left.

`stop` keeps the state directory's lasting part, `down` removes it all with the kubeconfig's context. Every step is
tried even if one before it failed; what could not be done, or is still there, is reported together.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sampan.cluster import control, hostdns, hostnetwork, kubeconfig, launch
from sampan.cluster.paths import ClusterPaths
from sampan.kernel import cgroups, mounts, processes

PATIENCE = 10.0
"""Seconds for the supervisor to end the box before it is killed, which ends the box as well."""
POLL_SECONDS = 0.02


class LeftBehind(Exception):
    """Something of the cluster is still there; one line each."""


def stop(paths: ClusterPaths) -> None:
    """Ends the box, keeps the state. Raises LeftBehind."""
    _raise([*_attempt(lambda: _disable_host(paths)), *_attempt(lambda: _end(paths)), *leftovers(paths)])


def down(paths: ClusterPaths) -> None:
    """Ends the box and removes everything that the cluster has put anywhere. Raises LeftBehind."""
    problems = [
        *_attempt(lambda: _disable_host(paths)),
        *_attempt(lambda: _end(paths)),
        *leftovers(paths),
        *_attempt(lambda: _forget_context(paths)),
    ]
    if not problems:
        problems += _attempt(lambda: _remove_files(paths))
    _raise(problems)


def _raise(problems: list[str]) -> None:
    if problems:
        raise LeftBehind("\n".join(problems))


def _attempt(step: Callable[[], None]) -> list[str]:
    try:
        step()
    except (OSError, hostdns.HostDNSError, kubeconfig.KubeconfigError) as error:
        return [str(error)]
    return []


def _disable_host(paths: ClusterPaths) -> None:
    """The host's resolver forgets the cluster, if it knew it."""
    hostdns.disable(paths)


def _end(paths: ClusterPaths) -> None:
    deadline = time.monotonic() + PATIENCE
    _tell_to_stop(paths, deadline)
    if not launch.wait_stopped(paths, deadline - time.monotonic()):
        if pid := launch.supervisor_pid(paths):
            processes.send(pid, signal.SIGKILL)
        launch.wait_stopped(paths, PATIENCE)
    cgroups.remove(paths.cgroup)
    hostnetwork.remove(paths)


def _tell_to_stop(paths: ClusterPaths, deadline: float) -> None:
    """Tells the supervisor, again and again if need be: one that is only starting does not listen yet."""
    while launch.is_running(paths) and time.monotonic() < deadline:
        try:
            control.ask(paths.control, control.Stop(), control.Done, timeout=PATIENCE)
        except control.ControlError:
            time.sleep(POLL_SECONDS)  # not there yet, or it ends while it answers, or it hangs; the lock tells
        else:
            return


def leftovers(paths: ClusterPaths) -> Iterator[str]:
    """Processes, mounts, control groups and the network interface that belong to the cluster."""
    if launch.is_running(paths):
        yield f"the supervisor, process {launch.supervisor_pid(paths)}"
    for pid in _processes_of(paths.cgroup):
        yield f"process {pid} ({_command(pid)})"
    yield from (f"mount {point.target}" for point in mounts.below(paths.directory))
    if cgroups.exists(paths.cgroup):
        yield f"control group {paths.cgroup}"
    if hostnetwork.exists(paths):
        yield f"network interface {paths.host_link}"


def _processes_of(group: str) -> Iterator[int]:
    """Those that run: one that only waits for the machine's init to take note of its end has nothing any more."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            membership = Path("/proc", entry, "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"/{group}" in membership and processes.is_running(int(entry)):
            yield int(entry)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone meanwhile"


def _forget_context(paths: ClusterPaths) -> None:
    if paths.merged.exists():
        kubeconfig.remove(Path(paths.merged.read_text()), paths.context)


def _remove_files(paths: ClusterPaths) -> None:
    """The cluster's directory, and those above it that are empty now."""
    shutil.rmtree(paths.directory)
    if not any(files for _, _, files in os.walk(paths.images)):
        shutil.rmtree(paths.images, ignore_errors=True)
    for directory in (paths.directory.parent, paths.root):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
