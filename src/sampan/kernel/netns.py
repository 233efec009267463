"""Namespaces kept alive by a file: made in a thread of their own, bind-mounted to a path, entered, deleted.

Only the calling thread changes namespace, so the rest of the process never notices. `rtnetlink.py` fills the networks.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sampan.kernel import libc, mounts
from sampan.kernel.descriptors import Descriptor

T = TypeVar("T")

FLAGS = {"net": libc.CLONE_NEWNET, "ipc": libc.CLONE_NEWIPC, "uts": libc.CLONE_NEWUTS, "mnt": libc.CLONE_NEWNS}


def in_new_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread that ends afterwards, whatever namespaces it is in by then, and give its result."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller below
            failures.append(error)

    thread = threading.Thread(target=body, name="namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def create(paths: Mapping[str, Path], inside: Callable[[], T]) -> T:
    """Make new namespaces and keep each at its path; kinds are net, ipc and uts.

    `inside` then runs within all of them, and its result is returned. Nothing is left behind if anything fails.
    """

    def body() -> T:
        libc.unshare(sum(FLAGS[kind] for kind in paths))
        for kind, path in paths.items():
            path.touch()
            mounts.bind(f"/proc/thread-self/ns/{kind}", path)
        return inside()

    try:
        return in_new_thread(body)
    except BaseException:
        for path in paths.values():
            delete(path)
        raise


def create_network(path: Path) -> None:
    """Make one empty network namespace, kept at `path`."""
    create({"net": path}, lambda: None)


def delete(path: Path) -> None:
    """Let go of a namespace; the kernel removes it when its last process ends. Nothing happens if there is none."""
    try:
        mounts.unmount(path, lazy=True)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    path.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Whether a namespace is kept at this path: the file alone is not enough."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except FileNotFoundError:
        return False


def same(first: Path | str, second: Path | str) -> bool:
    """Whether two paths refer to one namespace."""
    return os.path.samefile(first, second)


@contextmanager
def enter(path: Path | str) -> Iterator[None]:
    """Be inside a network namespace. For the calling thread only: never await within."""
    with Descriptor.open("/proc/thread-self/ns/net", os.O_RDONLY) as home:
        with Descriptor.open(path, os.O_RDONLY) as target:
            libc.setns(target.fileno(), libc.CLONE_NEWNET)
        try:
            yield
        finally:
            libc.setns(home.fileno(), libc.CLONE_NEWNET)


def run_in(path: Path | str, function: Callable[[], T]) -> T:
    """The result of a function run inside a network namespace; sockets it opens stay there."""
    with enter(path):
        return function()
