"""Starts a cluster's supervisor in the background and follows it until the cluster is up.

The lock is taken here, before the fork, and goes to the supervisor with it: of two commands that start one cluster
at the same moment, one is refused, and the lock is free again exactly when the supervisor has ended.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import NoReturn

from sampan.cluster.components import Component, Context
from sampan.cluster.paths import ClusterPaths
from sampan.cluster.process import name_process, redirect
from sampan.cluster.progress import Down, Progress, Reporter, read

log = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """The cluster has a supervisor."""


def take_lock(paths: ClusterPaths) -> int:
    """Locks the cluster; the lock lasts until every copy of the descriptor is closed. Raises AlreadyRunning."""
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AlreadyRunning(f"cluster {paths.name} is running") from error
    return descriptor


def is_running(paths: ClusterPaths) -> bool:
    """Whether the cluster has a supervisor."""
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_stopped(paths: ClusterPaths, timeout: float) -> bool:
    """Blocks until the supervisor has ended; False if it has not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while is_running(paths):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def supervisor_pid(paths: ClusterPaths) -> int:
    """The running supervisor's process id, or 0."""
    text = paths.lock.read_text() if is_running(paths) else ""
    return int(text) if text.strip().isdigit() else 0


def launch(components: Sequence[Component], context: Context, patience: float) -> Iterator[Progress]:
    """Starts the supervisor and yields its progress for `patience` seconds; the last item is Up or Down.

    Raises AlreadyRunning.
    The process must not have other threads.
    """
    lock = take_lock(context.paths)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _detach()
        _keep_only({lock, writing, *(one.fileno() for one in (*context.api_sockets, *context.mapped))})
        _supervise(components, context, lock, Reporter(writing))
    for descriptor in (lock, writing):
        os.close(descriptor)
    os.waitpid(child, 0)
    return read(reading, patience)


def _detach() -> None:
    """Leaves the session and terminal; the first child ends so that init adopts the second."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _keep_only(descriptors: set[int]) -> None:
    """Closes what was inherited from the caller: a test runner may wait for its pipes to close."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in descriptors:
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own descriptor


def _supervise(components: Sequence[Component], context: Context, lock: int, reporter: Reporter) -> NoReturn:
    status = 1
    try:
        redirect(context.paths.logs / "supervisor.log")
        name_process("supervisor")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        from sampan.cluster.supervisor import supervise

        supervise(components, context, reporter)
        status = 0
    except BaseException as error:
        log.exception("the supervisor ends")
        reporter.tell(Down(f"{type(error).__name__}: {error}"))
    finally:
        logging.shutdown()
        os._exit(status)
