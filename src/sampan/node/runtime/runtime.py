"""The door to containers: create, start, kill, delete, exec and attach, all of it adoptable after a restart.

Nothing is remembered that is not on disk: a container is a directory below `root`, its exit a file that conmon wrote.
An agent may therefore die at any moment; `list()` of its successor knows every container.
"""

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sampan.kernel import cgroups, inotify, processes
from sampan.kernel.descriptors import Descriptor
from sampan.kernel.threads import in_thread
from sampan.node.runtime import conmon, exec, oci, spawn, users
from sampan.node.runtime.conmon import Paths
from sampan.node.runtime.crun import Crun
from sampan.node.runtime.exec import Command
from sampan.node.runtime.records import Record, number, read_state, write_exit
from sampan.node.runtime.sessions import AttachSession, ExecSession, attach
from sampan.node.runtime.types import (
    ContainerError,
    ContainerNotFound,
    ContainerSpec,
    ContainerState,
    ExecResult,
    Stats,
)

log = logging.getLogger(__name__)

ExitListener = Callable[[ContainerState], None]

STARTING_AT_ONCE = 4
END_SECONDS = 10.0
RELIST_SECONDS = 10.0
VANISHED = 255
MAX_MESSAGE = 4096


class Runtime:
    """The containers of one node, kept below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._containers = root / "containers"
        self._exits = root / "exits"
        self._crun = Crun(root / "crun")
        for directory in (self._containers, self._exits, self._crun.root):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for bundle in self._containers.iterdir():
            if not Paths(bundle).spec.exists():  # its making or its removal was cut short
                shutil.rmtree(self._crun.root / bundle.name, ignore_errors=True)
                shutil.rmtree(bundle, ignore_errors=True)
        for file in self._exits.iterdir():
            if not (self._containers / file.name).exists():
                file.unlink()
        self._listeners: list[ExitListener] = []
        self._waiting: dict[str, list[asyncio.Future[ContainerState]]] = {}
        self._slots = asyncio.Semaphore(STARTING_AT_ONCE)
        self._attended: set[asyncio.Task[None]] = set()
        self._leaving: set[str] = set()

    def close(self) -> None:
        """Let go of what this process holds; the containers stay."""
        self._crun.close()

    # --- exits

    async def run(self) -> None:
        """Watch for exits until cancelled. Exits that happened before are reported first."""
        watch = inotify.Watch(self._exits)
        relisting = asyncio.create_task(self._relist())
        try:
            for state in self.list():
                if state.status != "stopped":
                    self._attend(state.id)
            for name in os.listdir(self._exits):
                self._report(name)
            async for name in watch.names():
                for ended in [name] if name != inotify.OVERFLOW else os.listdir(self._exits):
                    self._report(ended)
        finally:
            watch.close()
            for task in (relisting, *self._attended):
                task.cancel()

    async def _relist(self) -> None:
        """Look at all exits now and then: whatever became of a notice, none stays unknown."""
        while True:
            await asyncio.sleep(RELIST_SECONDS)
            try:
                for state in self.list():
                    if state.status == "stopped":
                        self._report(state.id)
            except OSError as error:
                log.warning("looking for containers that ended: %s", error)

    def _attend(self, container: str) -> None:
        task = asyncio.create_task(self._end_with_conmon(container))
        self._attended.add(task)
        task.add_done_callback(self._unattended)

    def _unattended(self, task: asyncio.Task[None]) -> None:
        self._attended.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("waiting for a conmon to end", exc_info=error)

    async def _end_with_conmon(self, container: str) -> None:
        """A program must not outlive its conmon: its output leads nowhere, and nobody would note its end."""
        if pid := number(self._paths(container).conmon_pid):
            await processes.gone(pid)
        state = self.state(container)
        if state is None or state.status == "stopped" or not state.pid or container in self._leaving:
            return
        log.warning("container %s: its conmon has ended, so it is killed", container)
        processes.send(state.pid, signal.SIGKILL)
        await processes.gone(state.pid)
        self.state(container)

    def add_exit_listener(self, listener: ExitListener) -> None:
        """Have `listener` called, on the loop, for each container that ended; it may hear of one twice."""
        self._listeners.append(listener)

    def _report(self, name: str) -> None:
        state = self.state(name)
        if state is None or state.status != "stopped":
            return
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(state)
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:
                log.exception("container %s: a listener for its exit failed", name)

    async def wait(self, container: str) -> ContainerState:
        """Return when the container has ended. Needs `run`."""
        state = self._known(container)
        if state.status == "stopped":
            return state
        future: asyncio.Future[ContainerState] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(container, []).append(future)
        return await future

    # --- life

    async def create(self, spec: ContainerSpec) -> None:
        """Make the container up to the point before its program starts. Raises ContainerError with crun's message."""
        paths = self._paths(spec.id)
        config = oci.configuration(spec, users.identity(spec.security, spec.rootfs))
        paths.bundle.mkdir(mode=0o700)
        spec.log_path.parent.mkdir(parents=True, exist_ok=True)
        paths.spec.write_bytes(msgspec.json.encode(Record.of(spec)))
        paths.config.write_bytes(msgspec.json.encode(config))
        streams = ["--terminal"] if spec.tty else []
        if spec.stdin:
            streams += ["--stdin"] if spec.stdin_once else ["--stdin", "--leave-stdin-open"]
        line = conmon.arguments(spec.id, paths, crun=self._crun, exits=self._exits, log=spec.log_path, streams=streams)
        try:
            async with self._slots:
                await conmon.create(line, paths.bundle)
        except BaseException:
            await asyncio.shield(self.delete(spec.id))
            raise
        self._attend(spec.id)

    async def start(self, container: str) -> ContainerState:
        """Let the program of a created container run."""
        paths = self._paths(container)
        self._known(container)
        paths.started.touch()
        try:
            if not self._release(container):
                await self._run_crun("start", container)
        except ContainerError:
            paths.started.unlink(missing_ok=True)
            raise
        return self._known(container)

    def _release(self, container: str) -> bool:
        """Do what `crun start` does, without a process: take away the fifo at which crun's init waits, and write to it.

        False if there is no such fifo.
        """
        fifo = self._crun.root / container / "exec.fifo"
        try:
            gate = Descriptor.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        with gate:
            fifo.unlink()
            os.write(gate.fileno(), b"\0")
        return True

    async def kill(self, container: str, number: int = signal.SIGTERM) -> None:
        """Send a signal to the container's first process; nothing happens if it ended already."""
        state = self._known(container)
        if state.status != "stopped" and state.pid:
            processes.send(state.pid, number)

    async def delete(self, container: str) -> None:
        """Kill what still runs and remove the container, but not its log or root file system. Repeatable.

        This is `crun delete` as well, whose own part is to remove the control groups and a directory.
        """
        paths = self._paths(container)
        if not paths.bundle.exists():
            return
        record = read_state(paths, self._exits)
        if record is not None and record.status != "stopped" and record.pid:
            processes.send(record.pid, signal.SIGKILL)
        self._leaving.add(container)
        try:
            await self._end_of_conmon(paths)
            await in_thread(self._remove, container, paths)
        finally:
            self._leaving.discard(container)

    async def _end_of_conmon(self, paths: Paths) -> None:
        """Wait until conmon has written its last file, or make it end if it is still creating the container."""
        pid = number(paths.conmon_pid)
        if not pid:
            await in_thread(conmon.kill_unborn, paths.bundle.name)
            return
        if not number(paths.pid):
            await in_thread(processes.kill_tree, pid)
        if not processes.is_running(pid):
            return
        try:
            async with asyncio.timeout(END_SECONDS):
                await processes.gone(pid)
        except TimeoutError:
            log.warning("container %s: conmon %d did not end and is killed", paths.bundle.name, pid)
            processes.send(pid, signal.SIGKILL)

    def _remove(self, container: str, paths: Paths) -> None:
        try:
            record = msgspec.json.decode(paths.spec.read_bytes(), type=Record)
            cgroups.remove(f"{record.cgroup_parent}/{container}")
        except (FileNotFoundError, msgspec.DecodeError):
            pass  # created no further than its directory
        paths.spec.unlink(missing_ok=True)  # from here on there is no such container, whatever else is left of it
        (self._exits / container).unlink(missing_ok=True)
        shutil.rmtree(self._crun.root / container, ignore_errors=True)
        shutil.rmtree(paths.bundle, ignore_errors=True)

    # --- looking

    def state(self, container: str) -> ContainerState | None:
        """What is known of a container; None if there is none. Costs a few file reads, no process.

        A container that vanished without a record, as when the machine went down, is recorded as ended with 255, unless
        it is being removed, record and all.
        """
        paths = self._paths(container)
        state = read_state(paths, self._exits)
        if state is None or state.status == "stopped" or processes.is_running(state.pid) or container in self._leaving:
            return state
        watcher = number(paths.conmon_pid)
        if watcher and processes.is_running(watcher):
            return state
        if state.created_at + conmon.CREATE_SECONDS > time.time() and not state.pid:
            return state
        latest = read_state(paths, self._exits)  # conmon may have written its last file since the first look
        if latest is None or latest.status == "stopped":
            return latest
        write_exit(self._exits / container, VANISHED)
        return read_state(paths, self._exits)

    def list(self) -> list[ContainerState]:
        """Every container of this node, also those that ended and were not deleted yet."""
        states = (self.state(name) for name in sorted(os.listdir(self._containers)))
        return [state for state in states if state is not None]

    def stats(self, container: str) -> Stats | None:
        """Usage as the container's control groups have it; None when it does not run."""
        try:
            record = msgspec.json.decode(self._paths(container).spec.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        used = cgroups.usage(f"{record.cgroup_parent}/{container}")
        return None if used is None else Stats(used.cpu_nanoseconds, used.memory, used.working_set)

    # --- inside

    async def exec(
        self, container: str, argv: Sequence[str], *, timeout: float | None = None, limit: int = 16384
    ) -> ExecResult:
        """Run a command in the container and collect its output. Raises ExecTimeout, ContainerError."""
        self._running(container)
        command = self._command(container, argv)
        return await exec.run(command, timeout=timeout, limit=limit)

    async def open_exec(
        self,
        container: str,
        argv: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> ExecSession:
        """Start a command in the container and give its streams. With a tty, stdout carries everything."""
        self._running(container)
        extra = {"TERM": "xterm"} if tty else {}
        extra |= env or {}
        command = self._command(container, argv, tty=tty, env=extra)
        if tty:
            return await exec.open_terminal(command, stdin=stdin)
        return await exec.open_pipes(command, stdin=stdin, stdout=stdout, stderr=stderr)

    async def attach(self, container: str) -> AttachSession:
        """Join the stdio of the container's own program."""
        self._running(container)
        return attach(self._paths(container))

    async def reopen_log(self, container: str) -> None:
        """Have conmon open its log file anew, after the old one was renamed."""
        conmon.reopen_log(self._paths(container))

    def _paths(self, container: str) -> Paths:
        return Paths(self._containers / container)

    def _command(
        self, container: str, argv: Sequence[str], *, tty: bool = False, env: Mapping[str, str] | None = None
    ) -> Command:
        """A command that runs as the container's own program does."""
        config = msgspec.json.decode(self._paths(container).config.read_bytes())
        process: dict[str, Any] = config["process"]
        document = exec.document(process, argv, tty=tty, env=env)
        return Command(self._crun, container, document, process.get("oomScoreAdj", 0))

    def _known(self, container: str) -> ContainerState:
        state = self.state(container)
        if state is None:
            raise ContainerNotFound(f"container {container} not found")
        return state

    def _running(self, container: str) -> None:
        if self._known(container).status != "running":
            raise ContainerError(f"container {container} is not running")

    async def _run_crun(self, *arguments: str) -> None:
        with tempfile.TemporaryFile() as errors:
            process = spawn.start(self._crun.command(*arguments), stderr=errors.fileno())
            if await spawn.wait(process):
                errors.seek(0)
                message = errors.read(MAX_MESSAGE).decode(errors="replace").strip()
                raise ContainerError(message or f"crun {arguments[0]} failed")
