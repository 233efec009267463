"""conmon(8): one per container, it holds the container's stdio, writes its log, and records its exit.

`create` starts it and waits for its word, over a pipe, that crun has made the container.
"""

import asyncio
import fcntl
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.kernel import descriptors, processes
from sampan.kernel.descriptors import Descriptor
from sampan.node.runtime import spawn
from sampan.node.runtime.crun import Crun
from sampan.node.runtime.types import ContainerError

CONMON = "/usr/bin/conmon"
CREATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the files of one container are; conmon, crun and we agree on them."""

    bundle: Path

    @property
    def spec(self) -> Path:
        return self.bundle / "container.json"

    @property
    def config(self) -> Path:
        return self.bundle / "config.json"

    @property
    def pid(self) -> Path:
        return self.bundle / "pid"

    @property
    def conmon_pid(self) -> Path:
        return self.bundle / "conmon.pid"

    @property
    def started(self) -> Path:
        return self.bundle / "started"

    @property
    def oom(self) -> Path:
        return self.bundle / "oom"

    @property
    def attach(self) -> Path:
        return self.bundle / "attach"

    @property
    def control(self) -> Path:
        return self.bundle / "ctl"


class Report(msgspec.Struct):
    """What conmon writes on its sync pipe: the pid, or -1 and why not."""

    pid: int = -1
    data: int = -1
    message: str = ""


def arguments(container: str, paths: Paths, *, crun: Crun, exits: Path, log: Path, streams: list[str]) -> list[str]:
    """The command line for one container; `streams` holds `--terminal`, `--stdin` and `--leave-stdin-open`."""
    bundle = str(paths.bundle)
    return [
        *(CONMON, "--cid", container, "--cuuid", container, "--name", container, "--api-version", "1"),
        *("--runtime", crun.path, "--runtime-arg", f"--root={crun.root}", "--bundle", bundle, "--persist-dir", bundle),
        *("--container-pidfile", str(paths.pid), "--conmon-pidfile", str(paths.conmon_pid)),
        *("--exit-dir", str(exits), "--log-path", f"k8s-file:{log}", "--log-level", "error"),
        *("--full-attach", "--no-new-keyring", "--no-sync-log", *streams),
    ]


async def create(command: list[str], directory: Path) -> int:
    """Run conmon, which runs `crun create`; the pid of the container's first process. Raises ContainerError."""
    sync_read, sync_write = descriptors.pipe()
    with sync_read:
        start_read, start_write = descriptors.pipe()
        with sync_write, start_read, start_write:
            try:
                process = _spawn(command, directory, sync_write.fileno(), start_read.fileno())
            except OSError as error:
                raise ContainerError(f"cannot run {CONMON}: {error}; install the packages conmon and crun") from error
        return _pid(await _report(process, sync_read))


def _spawn(command: list[str], directory: Path, sync_pipe: int, start_pipe: int) -> "subprocess.Popen[bytes]":
    """Start conmon. It begins when the start pipe is closed, and reports on the sync pipe."""
    return spawn.start(
        command,
        cwd=directory,
        env={"PATH": os.defpath, "_OCI_SYNCPIPE": str(sync_pipe), "_OCI_STARTPIPE": str(start_pipe)},
        pass_fds=(sync_pipe, start_pipe),
    )


async def _report(process: "subprocess.Popen[bytes]", sync_pipe: Descriptor) -> bytes:
    try:
        async with asyncio.timeout(CREATE_SECONDS):
            await spawn.wait(process)
            return await sync_pipe.read_line()
    except TimeoutError:
        raise ContainerError(f"conmon did not report within {CREATE_SECONDS:.0f} s") from None


def _pid(line: bytes) -> int:
    try:
        report = msgspec.json.decode(line, type=Report)
    except msgspec.DecodeError:
        raise ContainerError("conmon ended without a report") from None
    pid = max(report.pid, report.data)
    if pid <= 0:
        raise ContainerError(_readable(report.message) or "crun could not create the container")
    return pid


def _readable(message: str) -> str:
    """crun's message without its time stamp, or what its log entry says."""
    text = message.strip()
    if text.startswith("{"):
        try:
            return str(msgspec.json.decode(text.splitlines()[-1].encode(), type=dict[str, str]).get("msg", text))
        except msgspec.DecodeError:
            return text
    return text


def kill_unborn(container: str) -> None:
    """End a conmon, with the crun that it runs, whose starter died before it could write its pid. Blocks."""
    for pid in processes.running((CONMON.encode(), b"--cid", container.encode())):
        processes.kill_tree(pid)


def resize(paths: Paths, width: int, height: int) -> None:
    """Set the size of a container's terminal."""
    _control(paths, f"1 {height} {width}\n")


def reopen_log(paths: Paths) -> None:
    """Have conmon write to a new file at its log path."""
    _control(paths, "2 0 0\n")


def _control(paths: Paths, line: str) -> None:
    with Descriptor.open(paths.control, os.O_WRONLY | os.O_NONBLOCK) as control:
        os.write(control.fileno(), line.encode())


def set_window(fd: int, width: int, height: int) -> None:
    """Set the size of a terminal that we hold ourselves."""
    fcntl.ioctl(fd, 0x5414, struct.pack("=HHHH", height, width, 0, 0))
