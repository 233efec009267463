"""Commands in running containers, through `crun exec`: with pipes, with a terminal, or run to their end.

They run as the container's own program does: crun is given that program's process document (user, groups, capabilities,
no_new_privs, limits, directory, environment) with other arguments. Left to itself it would run them as root.
"""

import asyncio
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sampan.kernel import descriptors, processes
from sampan.kernel.descriptors import Descriptor
from sampan.kernel.threads import in_thread
from sampan.node.runtime.crun import Crun
from sampan.node.runtime.sessions import ExecSession
from sampan.node.runtime.terminal import TerminalTransport
from sampan.node.runtime.types import ContainerError, ExecResult, ExecTimeout

PIPE = asyncio.subprocess.PIPE
NULL = asyncio.subprocess.DEVNULL
CONSOLE_SECONDS = 10.0
_WITH_SCORE = 'echo "$0" 2>/dev/null > /proc/self/oom_score_adj; exec "$@"'
"""crun exec leaves the score as it is: without this, commands would inherit the agent's."""


class Command:
    """One command for one container, ready to be started; close it when it has ended."""

    def __init__(self, crun: Crun, container: str, document: bytes, oom_score_adj: int) -> None:
        self._crun = crun
        self._oom_score_adj = oom_score_adj
        self._container = container
        self._document = Descriptor(os.memfd_create("process", os.MFD_CLOEXEC))
        with open(self._document.fileno(), "wb", closefd=False) as file:
            file.write(document)

    def line(self, *options: str) -> list[str]:
        """The command line of `crun exec`, which reads the document from this process."""
        path = f"/proc/{os.getpid()}/fd/{self._document.fileno()}"
        command = self._crun.command("exec", *options, f"--process={path}", self._container)
        return ["/bin/sh", "-c", _WITH_SCORE, str(self._oom_score_adj), *command]

    def close(self) -> None:
        self._document.close()


def document(
    process: Mapping[str, Any], argv: Sequence[str], *, tty: bool = False, env: Mapping[str, str] | None = None
) -> bytes:
    """The process document of a command beside `process`, the container's own."""
    inherited = [one for one in process.get("env") or () if one.partition("=")[0] not in (env or {})]
    added = [f"{name}={value}" for name, value in (env or {}).items()]
    return msgspec.json.encode({**process, "terminal": tty, "args": list(argv), "env": inherited + added})


async def run(command: Command, *, timeout: float | None, limit: int) -> ExecResult:
    """Run to the end and collect output up to `limit` bytes a stream. Raises ExecTimeout after killing it."""
    process = await asyncio.create_subprocess_exec(*command.line(), stdin=NULL, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(timeout):
            assert process.stdout is not None
            assert process.stderr is not None
            stdout, stderr = await asyncio.gather(_collect(process.stdout, limit), _collect(process.stderr, limit))
            code = await process.wait()
    except TimeoutError:
        raise ExecTimeout(f"command timed out after {timeout:g}s") from None
    finally:
        command.close()
        if process.returncode is None:
            processes.kill_tree(process.pid)
            await process.wait()
    return ExecResult(code if code >= 0 else 128 - code, stdout, stderr)


async def _collect(reader: asyncio.StreamReader, limit: int) -> bytes:
    kept = bytearray()
    while chunk := await reader.read(65536):
        kept += chunk[: limit - len(kept)]
    return bytes(kept)


async def open_pipes(command: Command, *, stdin: bool, stdout: bool, stderr: bool) -> ExecSession:
    """Start a command with a pipe for each stream asked for."""
    wanted = [PIPE if one else NULL for one in (stdin, stdout, stderr)]
    line = command.line()
    process = await asyncio.create_subprocess_exec(*line, stdin=wanted[0], stdout=wanted[1], stderr=wanted[2])
    return ExecSession(
        process,
        stdin=process.stdin,
        stdout=process.stdout,
        stderr=process.stderr,
        kill=lambda: processes.kill_tree(process.pid),
        command=command,
    )


async def open_terminal(command: Command, *, stdin: bool) -> ExecSession:
    """Start a command, whose document says so, on a terminal of its own."""
    with tempfile.TemporaryDirectory(prefix="sampan-tty-") as directory:
        path = f"{directory}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.setblocking(False)
            line = command.line("--tty", f"--console-socket={path}")
            process = await asyncio.create_subprocess_exec(*line, stdin=NULL, stdout=NULL, stderr=PIPE)
            terminal = await _receive_terminal(listener, process)
    reader = asyncio.StreamReader()
    transport = TerminalTransport(terminal, reader)
    return ExecSession(
        process,
        stdin=transport.writer() if stdin else None,
        stdout=reader,
        stderr=None,
        terminal=transport,
        kill=lambda: processes.kill_tree(process.pid),
        command=command,
    )


async def _receive_terminal(listener: socket.socket, process: asyncio.subprocess.Process) -> Descriptor:
    """The terminal's master side, which crun sends over the socket; ContainerError if it ends without."""
    loop = asyncio.get_running_loop()
    accepting = asyncio.ensure_future(loop.sock_accept(listener))
    ending = asyncio.ensure_future(process.wait())
    await asyncio.wait({accepting, ending}, timeout=CONSOLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not accepting.done():
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        message = await _last_words(process)
        raise ContainerError(message or "crun gave no terminal")
    connection, _ = accepting.result()
    with connection:
        connection.setblocking(True)
        terminals = await in_thread(descriptors.receive, connection)
    if not terminals:
        raise ContainerError("crun gave no terminal")
    return terminals[0]


async def _last_words(process: asyncio.subprocess.Process) -> str:
    if process.returncode is None:
        processes.kill_tree(process.pid)
    assert process.stderr is not None
    return (await _collect(process.stderr, 4096)).decode(errors="replace").strip()
