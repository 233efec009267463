"""The controller's parent starts it again when it dies, lets it end in order, and ends nginx in its place."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.ingress.parent import Parent

SECONDS = 10.0
Child = Callable[[socket.socket], int]


def serving(notes: Path) -> Child:
    """A controller that serves until SIGTERM."""

    def run(channel: socket.socket) -> int:
        ends: list[int] = []
        signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
        note(notes, f"serves {os.getpid()}")
        channel.send(b"1")
        while not ends:
            time.sleep(0.005)
        note(notes, "ended in order")
        return 0

    return run


def note(notes: Path, text: str) -> None:
    with notes.open("a") as file:
        file.write(text + "\n")


def start(child: Child, notes: Path) -> int:
    """A parent in a process of its own, as it is in a container."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = Parent(child, lambda: note(notes, "nginx ended")).run()
        finally:
            os._exit(status)
    return pid


def until(notes: Path, count: int) -> list[str]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        lines = notes.read_text().splitlines() if notes.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.005)
    raise AssertionError(f"not {count} notes: {lines}")


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def test_a_controller_that_is_killed_is_followed_by_another(notes: Path) -> None:
    parent = start(serving(notes), notes)
    for count in (1, 2, 3):
        lines = until(notes, count)
        if count < 3:
            os.kill(int(lines[-1].split()[1]), signal.SIGKILL)
    os.kill(parent, signal.SIGTERM)
    assert ended(parent) == 0
    assert until(notes, 4)[3:] == ["ended in order"]


def test_without_a_controller_the_parent_ends_nginx_itself(notes: Path) -> None:
    def dying(channel: socket.socket) -> int:
        channel.send(b"1")
        note(notes, "serves")
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    parent = start(dying, notes)
    until(notes, 3)
    os.kill(parent, signal.SIGTERM)
    assert ended(parent) == 0
    assert until(notes, 1)[-1] == "nginx ended"


def test_a_controller_that_gives_up_before_nginx_serves_ends_its_parent(notes: Path) -> None:
    assert ended(start(lambda channel: 3, notes)) == 3
    assert not notes.exists()
