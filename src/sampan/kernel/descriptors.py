"""File descriptors with exactly one owner, which closes them exactly once.

The kernel reuses numbers. Closing a number twice may close what another thread or task has just opened, and an event
loop that still watches a closed number watches the wrong file. A `Descriptor` is therefore unwatched before it is
closed, and drops its number then. Nothing else in `kernel/` or `node/` calls os.close; sockets and files own theirs.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

BLOCK = 64 * 1024


class Descriptor:
    """Owns one descriptor of this process. Close it, use it as a context manager, or `detach` it to another owner."""

    __slots__ = ("_loop", "_number")

    def __init__(self, number: int) -> None:
        self._number = number
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(
        cls, path: str | Path, flags: int, mode: int = 0o600, *, within: "Descriptor | None" = None
    ) -> "Descriptor":
        """open(2) with O_CLOEXEC; `within` is the directory that a relative path begins at. Raises OSError."""
        directory = None if within is None else within.fileno()
        return cls(os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=directory))

    @property
    def closed(self) -> bool:
        return self._number < 0

    def fileno(self) -> int:
        """The number, to be used at once and never kept. Raises ValueError once it is closed."""
        if self._number < 0:
            raise ValueError("descriptor is closed")
        return self._number

    @property
    def path(self) -> str:
        """A path that leads to what this descriptor has open, as long as it is open."""
        return f"/proc/self/fd/{self.fileno()}"

    def close(self) -> None:
        """Stop watching and close. Nothing happens the second time."""
        self.unwatch()
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def detach(self) -> int:
        """Return the number to a new owner, which has to close it."""
        self.unwatch()
        number, self._number = self.fileno(), -1
        return number

    def watch(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Have the running loop call back whenever there is something to read, until `unwatch` or `close`."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.fileno(), callback, *arguments)

    def unwatch(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._number)

    async def readable(self) -> None:
        """Return once there is something to read; of a pidfd, once the process has ended."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watch(_finish, ready)
        try:
            await ready
        finally:
            self.unwatch()

    async def read_line(self) -> bytes:
        """Read up to the first newline or the end. For pipes; bytes after the newline are lost."""
        os.set_blocking(self.fileno(), False)
        received = b""
        while b"\n" not in received:
            await self.readable()
            try:
                block = os.read(self.fileno(), BLOCK)
            except BlockingIOError:
                continue
            if not block:
                break
            received += block
        return received.partition(b"\n")[0]

    def __enter__(self) -> "Descriptor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __repr__(self) -> str:
        return f"<Descriptor {self._number}>"


def pipe() -> tuple[Descriptor, Descriptor]:
    """Both ends of a pipe: for reading, for writing."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return Descriptor(reading), Descriptor(writing)


def open_pidfd(pid: int) -> Descriptor | None:
    """A pidfd, readable once the process has ended; None if there is no such process."""
    try:
        return Descriptor(os.pidfd_open(pid))
    except ProcessLookupError:
        return None


def receive(connection: socket.socket, size: int = 4096) -> list[Descriptor]:
    """Receive the descriptors of one message over a Unix socket (SCM_RIGHTS). Blocks."""
    _, numbers, _, _ = socket.recv_fds(connection, size, 1)
    return [Descriptor(number) for number in numbers]


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
