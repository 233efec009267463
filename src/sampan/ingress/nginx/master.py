"""nginx's master process and its files: start, check, reload, adopt, end.

The master is not the controller's fate: it runs in a session of its own, and a controller that was killed leaves it
serving. The next one finds it by its pid file. Files of the private directory:

    nginx.pid       the master              control.sock      pushes, status, generation
    session         the master's session    unavailable.sock  answers 503 for backends without endpoints
    generation      which nginx.conf        emerg.log         why a reload failed
    state.json      first state             files/, lua/      what nginx.conf names
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.ingress.nginx.render import Structure

log = logging.getLogger("sampan.ingress.nginx")

_RELOAD_SECONDS = 60.0
_MESSAGE = re.compile(r"\[(?:emerg|alert|crit)\](?: \d+#\d+:)? (.*)")


class NginxError(Exception):
    """nginx did not take a configuration or did not start; the message is its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where nginx lives. `directory` has nginx.conf, for people to read; `private` everything else."""

    directory: Path = Path("/etc/nginx")
    private: Path = Path("/run/sampan-ingress")
    program: str = "/usr/sbin/nginx"
    user_id: int | None = None
    group_id: int | None = None
    """Who nginx is when the controller is root."""

    @property
    def configuration(self) -> Path:
        return self.directory / "nginx.conf"


@dataclass
class Master:
    """One nginx. All methods are called by one task at a time."""

    place: Place
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _pid: int = 0

    # --- files

    def prepare(self) -> None:
        """Make the directories, and put the Lua code there."""
        private = self.place.private
        self.place.directory.mkdir(parents=True, exist_ok=True)
        for directory in (private, private / "files", private / "tmp", private / "check"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._own(directory)
        code = private / "lua" / "sampan"
        code.mkdir(parents=True, exist_ok=True)
        for file in (Path(__file__).parent / "lua").glob("*.lua"):
            shutil.copyfile(file, code / file.name)
        for directory in (private / "lua", code, *code.iterdir()):
            self._own(directory)
        self.write(private / "check.keep", b"")

    def write(self, path: Path, content: bytes) -> None:
        """Replace a private file in one step."""
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        self._own(temporary)
        os.replace(temporary, path)

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Names are made from contents: what exists is right already."""
        for name, content in files.items():
            if not os.path.exists(name):
                self.write(Path(name), content)

    def remove_files_except(self, *keep: Mapping[str, bytes]) -> None:
        wanted = {name for files in keep for name in files}
        for path in (self.place.private / "files").iterdir():
            if str(path) not in wanted:
                path.unlink(missing_ok=True)

    def _own(self, path: Path) -> None:
        if self.place.user_id is not None:
            os.chown(path, self.place.user_id, -1 if self.place.group_id is None else self.place.group_id)

    # --- the process

    @property
    def pid(self) -> int:
        """0 while none runs."""
        return self._pid

    def adopt(self) -> bool:
        """Take over a master that an earlier controller has started; end workers that have lost theirs."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.place.private / "nginx.pid").read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"nginx: master process" in arguments and str(self.place.private).encode() in arguments:
                self._pid = pid
                return True
        self._end_orphans()
        return False

    async def served(self) -> Structure | None:
        """What the nginx that was adopted serves; None where that is uncertain."""
        generation = self._generation().strip()
        try:
            if not generation or (await self.request("GET", "/generation")).strip() != generation:
                return None
            files = {str(path): path.read_bytes() for path in (self.place.private / "files").iterdir()}
            return Structure(self.place.configuration.read_text(), files)
        except (OSError, NginxError, TimeoutError):
            return None

    def is_alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        try:
            state = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return False
        return self._pid != 0 and state != "Z"

    async def start(self, structure: Structure, generation: str, state: bytes) -> None:
        """Start nginx with this configuration and first state. Raises NginxError."""
        private = self.place.private
        self._pid = 0
        self._end_orphans()
        for name in ("control.sock", "unavailable.sock", "https.sock", "passthrough.sock", "nginx.pid"):
            (private / name).unlink(missing_ok=True)
        self.write_files(structure.files)
        self.write(private / "state.json", state)
        self._install(structure, generation)
        log_size = self._emergencies()
        self._spawn()
        self.write(private / "session", str(self._pid).encode())
        try:
            await self._await_generation(generation, log_size)
        except NginxError:
            await self.stop()
            raise
        finally:
            (private / "state.json").unlink(missing_ok=True)

    def _spawn(self) -> None:
        """A session of its own, so that what ends the controller does not end nginx."""
        self._child = subprocess.Popen(
            self._command(self.place.configuration), stdin=subprocess.DEVNULL, start_new_session=True, cwd="/",
            user=self.place.user_id, group=self.place.group_id,
        )  # fmt: skip
        self._pid = self._child.pid

    async def reload(self, structure: Structure, generation: str) -> None:
        """Bring a new structure into service; connections of the old one live on. Raises NginxError: the old stays."""
        self.write_files(structure.files)
        before, generation_before = self.place.configuration.read_bytes(), self._generation()
        self._install(structure, generation)
        log_size, old_workers = self._emergencies(), self.workers()
        os.kill(self._pid, signal.SIGHUP)
        try:
            await self._await_generation(generation, log_size)
        except NginxError:
            self.write(self.place.private / "generation", generation_before)
            self._write_configuration(before)
            raise
        await self._await_retired(old_workers)

    def _install(self, structure: Structure, generation: str) -> None:
        self.write(self.place.private / "generation", generation.encode())
        self._write_configuration(structure.text.encode())

    def _write_configuration(self, content: bytes) -> None:
        self.write(self.place.configuration, content)

    def _generation(self) -> bytes:
        try:
            return (self.place.private / "generation").read_bytes()
        except FileNotFoundError:
            return b""

    async def check(self, structure: Structure) -> None:
        """`nginx -t` of a configuration that is not to be served. Raises NginxError."""
        self.write_files(structure.files)
        path = self.place.private / "check" / "nginx.conf"
        self.write(path, structure.text.encode())
        process = await asyncio.create_subprocess_exec(
            *self._command(path), "-t", "-q", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, cwd="/", **self._as_user(),
        )  # fmt: skip
        try:
            _, stderr = await asyncio.wait_for(process.communicate(), _RELOAD_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NginxError(f"nginx -t took longer than {_RELOAD_SECONDS:g} s") from None
        if process.returncode:
            raise NginxError(self._message(stderr))

    def _as_user(self) -> dict[str, Any]:
        """Arguments for a child; without any where nothing is to change, because not every event loop knows them."""
        wanted = {"user": self.place.user_id, "group": self.place.group_id}
        return {name: number for name, number in wanted.items() if number is not None}

    def _command(self, configuration: Path) -> list[str]:
        return [self.place.program, "-p", f"{self.place.private}/", "-c", str(configuration), "-e", "stderr"]

    def _message(self, text: bytes) -> str:
        """The first complaint, without paths of this machine."""
        found = _MESSAGE.search(text.decode(errors="replace"))
        message = found[1] if found else text.decode(errors="replace").strip()[:500] or "nginx gave no reason"
        return re.sub(r" in /\S+:\d+$", "", message)

    def _emergencies(self) -> int:
        try:
            return (self.place.private / "emerg.log").stat().st_size
        except FileNotFoundError:
            return 0

    async def _await_generation(self, generation: str, log_size: int) -> None:
        deadline = time.monotonic() + _RELOAD_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, NginxError):
                if (await self.request("GET", "/generation")).strip().decode() == generation:
                    return
            if self._emergencies() > log_size:
                content = (self.place.private / "emerg.log").read_bytes()[log_size:]
                if not re.search(rb"still could not bind|bind\(\)", content) or b"still could not bind" in content:
                    raise NginxError(self._message(content))
            if not self.is_alive():
                content = (self.place.private / "emerg.log").read_bytes()[log_size:] if self._emergencies() else b""
                raise NginxError(self._message(content))
            await asyncio.sleep(0.003)
        raise NginxError(f"nginx did not take its configuration within {_RELOAD_SECONDS:g} s")

    def workers(self) -> frozenset[int]:
        """Processes of workers that accept connections."""
        return frozenset(pid for pid, title in self._children() if "shutting down" not in title)

    def old_workers(self) -> tuple[int, ...]:
        """Processes of workers that only end what they have begun, oldest first."""
        return tuple(sorted(pid for pid, title in self._children() if "shutting down" in title))

    def _children(self) -> list[tuple[int, str]]:
        found = []
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
            for pid in children:
                with contextlib.suppress(OSError):
                    title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                    # A worker that has just been forked still has the master's title.
                    if title.startswith(("nginx: worker process", "nginx: master process")):
                        found.append((int(pid), title))
        return found

    async def _await_retired(self, old: frozenset[int]) -> None:
        """nginx lets old workers accept for 100 ms more; after this, only new ones do."""
        deadline = time.monotonic() + 5
        while old & self.workers() and time.monotonic() < deadline:
            await asyncio.sleep(0.005)

    def _end_orphans(self) -> None:
        """Workers of a killed master hold its sockets; they may end what they have begun."""
        try:
            session = int((self.place.private / "session").read_text())
        except (OSError, ValueError):
            return
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                    title = Path(f"/proc/{entry}/cmdline").read_bytes()
                    if int(fields[3]) == session and title.startswith(b"nginx: worker"):
                        os.kill(int(entry), signal.SIGQUIT)

    async def stop(self, graceful: bool = True, seconds: float = 30.0) -> None:
        """End nginx: gracefully, what is open may end within `seconds`."""
        if self._pid and self.is_alive():
            for number, patience in ((signal.SIGQUIT if graceful else signal.SIGTERM, seconds), (signal.SIGTERM, 5.0),
                                     (signal.SIGKILL, 5.0)):  # fmt: skip
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, number)
                deadline = time.monotonic() + patience
                while self.is_alive() and time.monotonic() < deadline:
                    await asyncio.sleep(0.01)
                if not self.is_alive():
                    break
        self._pid, self._child = 0, None

    # --- the control socket

    async def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Ask nginx through its control socket. Raises OSError, NginxError when it refuses."""
        reader, writer = await asyncio.open_unix_connection(f"{self.place.private}/control.sock")
        try:
            head = f"{method} {path} HTTP/1.0\r\nHost: control\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            answer = await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
        head_bytes, _, content = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head_bytes[:14] + b" ":
            raise NginxError(content.decode(errors="replace").strip()[:500] or "nginx closed its control socket")
        return content
