"""Entering the box from outside: a process of the host joins the namespaces of a node, or of the box itself.

What `nsenter` does, with the cluster's DNS in /etc/resolv.conf besides. The process ends with the box, because it is
in its PID namespace.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sampan.cluster import lan, view
from sampan.kernel import libc, mounts

_NAMESPACES = (
    ("mnt", libc.CLONE_NEWNS),
    ("uts", libc.CLONE_NEWUTS),
    ("ipc", libc.CLONE_NEWIPC),
    ("net", libc.CLONE_NEWNET),
)


def run(box_pid: int, command: Sequence[str], *, node: str = "", environment: dict[str, str]) -> int:
    """Runs a command in a node's network, or in the box's own without a node, and gives its exit status.

    128 more than the signal if one ended it, 127 if there is no such program. Raises OSError, also if there is no
    such node. Must be called without other threads; the calling process stays outside as far as can be.
    """
    child = os.fork()
    if child == 0:
        _join_and_run(box_pid, command, node, environment)
    return _wait(child)


def _join_and_run(box_pid: int, command: Sequence[str], node: str, environment: dict[str, str]) -> NoReturn:
    status = 126
    try:
        _join(box_pid, node)
        child = os.fork()  # only a child is inside the PID namespace
        if child == 0:
            _execute(command, environment)
        status = _wait(child)
    except OSError as error:
        os.write(2, f"sampan: {error.strerror}: {error.filename}\n".encode())
    finally:
        os._exit(status)


def _join(box_pid: int, node: str) -> None:
    directory = os.getcwd()
    opened = [(os.open(f"/proc/{box_pid}/ns/{kind}", os.O_RDONLY), flag) for kind, flag in _NAMESPACES]
    pids = os.open(f"/proc/{box_pid}/ns/pid", os.O_RDONLY)
    for descriptor, flag in opened:
        libc.setns(descriptor, flag)
    if node:
        libc.setns(os.open(lan.namespace(view.RUN, node), os.O_RDONLY), libc.CLONE_NEWNET)
        libc.unshare(libc.CLONE_NEWUTS)
        libc.sethostname(node)
    libc.setns(pids, libc.CLONE_NEWPID)
    libc.unshare(libc.CLONE_NEWNS)
    mounts.make_private("/")
    mounts.bind(view.CLUSTER_RESOLV, os.path.realpath("/etc/resolv.conf"))
    os.chdir(directory if Path(directory).is_dir() else "/")


def _execute(command: Sequence[str], environment: dict[str, str]) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        os.write(2, f"sampan: {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wait(child: int) -> int:
    """The child's exit status in a shell's terms; what the terminal sends to all is left to the child."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        _, status = os.waitpid(child, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
