"""Streams of a running command: one started by exec, or the container's own through conmon's attach socket."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sampan.kernel.descriptors import Descriptor
from sampan.node.runtime import conmon
from sampan.node.runtime.terminal import TerminalTransport
from sampan.node.runtime.types import ContainerError

ATTACH_PACKET = 32768


class Closable(Protocol):
    def close(self) -> None: ...


class ExecSession:
    """A command running in a container. Streams that were not asked for are None."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        *,
        stdin: asyncio.StreamWriter | None,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
        terminal: TerminalTransport | None = None,
        kill: Callable[[], None],
        command: Closable,
    ) -> None:
        """`command` is what must stay open while the process runs."""
        self._process = process
        self._command = command
        self._terminal = terminal
        self._kill = kill
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size; without a tty nothing happens."""
        if self._terminal is not None and not self._terminal.is_closing():
            self._terminal.resize(width, height)

    async def wait(self) -> int:
        """The exit code of the command: 128 + n when signal n ended it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def close(self) -> None:
        """End the command if it still runs, and let go of everything."""
        self._command.close()
        if self._process.returncode is None:
            self._kill()
            await self._process.wait()
        if self.stdin is not None:
            self.stdin.close()
        if self._terminal is not None:
            self._terminal.close()


class AttachSession:
    """The stdio of a container. `read` gives (stream, data), stream 1 or 2; (0, b"") at the end."""

    def __init__(self, paths: conmon.Paths, connection: socket.socket) -> None:
        self._paths = paths
        self._connection = connection

    async def read(self) -> tuple[int, bytes]:
        packet = await asyncio.get_running_loop().sock_recv(self._connection, ATTACH_PACKET)
        if not packet:
            return 0, b""
        return {2: 1, 3: 2}.get(packet[0], 1), packet[1:]

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), ATTACH_PACKET):
            await asyncio.get_running_loop().sock_sendall(self._connection, data[start : start + ATTACH_PACKET])

    def end_input(self) -> None:
        """Say that no more will be written."""
        self._connection.shutdown(socket.SHUT_WR)

    def resize(self, width: int, height: int) -> None:
        """Tell the container's terminal its size."""
        conmon.resize(self._paths, width, height)

    async def close(self) -> None:
        """Leave; the container keeps running."""
        self._connection.close()


def attach(paths: conmon.Paths) -> AttachSession:
    """Connect to conmon's attach socket. Raises ContainerError if the container has ended."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _connect(connection, paths.attach)
    except OSError as error:
        connection.close()
        raise ContainerError(f"cannot attach: {error}") from error
    return AttachSession(paths, connection)


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect by way of the directory, because a socket's address has room for 108 bytes only."""
    with Descriptor.open(path.parent, os.O_PATH | os.O_DIRECTORY) as directory:
        connection.connect(f"{directory.path}/{path.name}")
