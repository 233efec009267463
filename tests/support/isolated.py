"""Run a test inside network, mount and PID namespaces of its own, which end with everything in them when it ends."""

import asyncio
import ctypes
import functools
import os
import subprocess
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
LIMIT_SECONDS = 120

NODE_IP = "10.2.2.10"


def isolated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A coroutine function becomes a test that runs as root in fresh namespaces, with the node address 10.2.2.10."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        if os.geteuid():
            pytest.skip("needs root")
        failure = _in_child(lambda: asyncio.run(_limited(test(*args, **kwargs))))
        if failure != "\0":
            pytest.fail(failure, pytrace=False)

    return run


async def _limited(work: Awaitable[None]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        await work


def _in_child(body: Callable[[], None]) -> str:
    """Fork, isolate, run; returns the traceback of what was raised, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        report = _attempt(lambda: _unshare(lambda: _report(writing, _attempt(lambda: _run_inside(body)))))
        if report:
            _report(writing, report)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    return data.decode() if data else "the test's process died"


def _unshare(tester: Callable[[], None]) -> None:
    """Make the namespaces; their first process reaps what dies and takes all others along when `tester` is done."""
    if _libc.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")
    init = os.fork()
    if init == 0:
        running = os.fork()
        if running == 0:
            tester()
            os._exit(0)
        while os.wait()[0] != running:
            pass
        os._exit(0)
    os.waitpid(init, 0)


def _run_inside(body: Callable[[], None]) -> None:
    for line in (
        "mount --make-rprivate /",
        "mount -t proc proc /proc",
        "ip link set lo up",
        "ip link add node0 type bridge",
        f"ip address add {NODE_IP}/24 dev node0",
        "ip link set node0 up",
    ):
        subprocess.run(line.split(), check=True)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)
    body()


def _attempt(body: Callable[[], None]) -> str:
    try:
        body()
    except BaseException:
        return traceback.format_exc()
    return ""


def _report(pipe: int, text: str) -> None:
    with os.fdopen(pipe, "wb") as file:
        file.write(text.encode() or b"\0")


_libc = ctypes.CDLL(None, use_errno=True)
