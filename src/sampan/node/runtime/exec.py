"""Commands in running containers, through `crun exec`: with pipes, with a terminal, or run to their end.

crun gives them the environment, user, directory and capabilities of the container's own program.
"""

import asyncio
import socket
import tempfile
from collections.abc import Mapping, Sequence

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


def command(crun: Crun, container: str, argv: Sequence[str], *options: str) -> list[str]:
    """The command line of one exec."""
    return crun.command("exec", *options, container, *argv)


def environment_options(env: Mapping[str, str]) -> list[str]:
    return [f"--env={name}={value}" for name, value in env.items()]


async def run(line: list[str], *, timeout: float | None, limit: int) -> ExecResult:
    """Run to the end and collect output up to `limit` bytes a stream. Raises ExecTimeout after killing it."""
    process = await asyncio.create_subprocess_exec(*line, stdin=NULL, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(timeout):
            assert process.stdout is not None
            assert process.stderr is not None
            stdout, stderr = await asyncio.gather(_collect(process.stdout, limit), _collect(process.stderr, limit))
            code = await process.wait()
    except TimeoutError:
        raise ExecTimeout(f"command timed out after {timeout:g}s") from None
    finally:
        if process.returncode is None:
            processes.kill_tree(process.pid)
            await process.wait()
    return ExecResult(code if code >= 0 else 128 - code, stdout, stderr)


async def _collect(reader: asyncio.StreamReader, limit: int) -> bytes:
    kept = bytearray()
    while chunk := await reader.read(65536):
        kept += chunk[: limit - len(kept)]
    return bytes(kept)


async def open_pipes(line: list[str], *, stdin: bool, stdout: bool, stderr: bool) -> ExecSession:
    """Start a command with a pipe for each stream asked for."""
    wanted = [PIPE if one else NULL for one in (stdin, stdout, stderr)]
    process = await asyncio.create_subprocess_exec(*line, stdin=wanted[0], stdout=wanted[1], stderr=wanted[2])
    return ExecSession(
        process,
        stdin=process.stdin,
        stdout=process.stdout,
        stderr=process.stderr,
        kill=lambda: processes.kill_tree(process.pid),
    )


async def open_terminal(line: list[str], *, stdin: bool) -> ExecSession:
    """Start a command, as `command` gave it, on a terminal of its own."""
    with tempfile.TemporaryDirectory(prefix="sampan-tty-") as directory:
        path = f"{directory}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.setblocking(False)
            at = line.index("exec") + 1
            full = [*line[:at], "--tty", f"--console-socket={path}", *line[at:]]
            process = await asyncio.create_subprocess_exec(*full, stdin=NULL, stdout=NULL, stderr=PIPE)
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
        terminals = await in_thread(descriptors.received, connection)
    if not terminals:
        raise ContainerError("crun gave no terminal")
    return terminals[0]


async def _last_words(process: asyncio.subprocess.Process) -> str:
    if process.returncode is None:
        processes.kill_tree(process.pid)
    assert process.stderr is not None
    return (await _collect(process.stderr, 4096)).decode(errors="replace").strip()
