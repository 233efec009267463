"""The host's own resolver knows the cluster's names: a server on the loopback, and a pointer to it.

The server is `sampan dns` with the cluster's kubeconfig; what is not the cluster's it forwards to the name servers that
the host had before. With systemd-resolved the pointer is a drop-in below /run: the server takes the place of those
that the configuration names, since resolved asks any one of them for any name, and links keep their own. Without it the
pointer is a marked line in /etc/resolv.conf. Undoing removes what is marked, so that changes made meanwhile survive.
What is about to be done is on record before it is done; `disable`, which `stop` and `down` call, works after a crash
at any point.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.cluster.paths import ClusterPaths
from sampan.dns import resolvconf
from sampan.kernel import processes

ADDRESS = "127.0.0.153"
MARK = "# sampan"
DROP_IN = "zz-sampan-"
"""Drop-ins are read in the order of their names, and the last word counts."""
START_SECONDS = 10.0
_AGAIN = "import sys; from sampan.cli.main import main; sys.exit(main())"
_FORWARD = "    forward . {servers}\n    cache 30\n"
_COREFILE = """\
.:{port} {{
    errors
    bind {address}
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
{forward}}}
"""


class HostDNSError(Exception):
    """Why the host's resolver cannot be told."""


class Record(msgspec.Struct, frozen=True):
    """What is done: the file that points to the server, and the process that answers, as soon as it is known."""

    pid: int
    started: int | None
    pointer: str
    resolved: bool
    created: bool = False
    """The file was not there before."""


@dataclass(frozen=True, slots=True)
class Host:
    """The places on the host that matter, and how systemd-resolved is told to look again."""

    resolv_conf: Path = Path("/etc/resolv.conf")
    resolved: Path = Path("/run/systemd/resolve/stub-resolv.conf")
    """Exists while systemd-resolved runs."""
    resolved_servers: Path = resolvconf.RESOLVED
    """Whom it asks."""
    drop_ins: Path = Path("/run/systemd/resolved.conf.d")
    port: int = 53

    def uses_resolved(self) -> bool:
        text = self.resolv_conf.read_text(errors="replace") if self.resolv_conf.exists() else ""
        return self.resolved.exists() and any(stub in text for stub in resolvconf.STUBS)

    def reload(self) -> None:
        command = ["systemctl", "try-reload-or-restart", "systemd-resolved.service"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HostDNSError(f"systemd-resolved cannot be reloaded: {done.stderr.strip()}")


def enable(paths: ClusterPaths, domain: str, host: Host = Host()) -> str:
    """Point the host's resolver at the cluster; says by what means. Raises HostDNSError, OSError."""
    if os.geteuid() != 0:
        raise HostDNSError("changing this machine's resolver needs root")
    if (before := _read(paths)) is not None:
        if _answers(before):
            raise HostDNSError("it is enabled already")
        disable(paths, host)  # what a crash or a restart of the machine has left
    resolved = host.uses_resolved()
    servers = _servers_before(host, resolved)
    pointer = host.drop_ins / f"{DROP_IN}{paths.name}.conf" if resolved else host.resolv_conf
    planned = Record(0, None, str(pointer), resolved, not pointer.exists())
    _write(paths, planned)
    try:
        port = _free_port() if resolved else host.port
        pid = _start(paths, _corefile(domain, port, servers), port)
        done = msgspec.structs.replace(planned, pid=pid, started=processes.start_time(pid))
        _write(paths, done)
        _point(pointer, resolved, domain, port)
        if resolved:
            host.reload()
    except (OSError, HostDNSError):
        disable(paths, host)
        raise
    return f"through systemd-resolved ({pointer})" if resolved else f"through {pointer}"


def disable(paths: ClusterPaths, host: Host = Host()) -> bool:
    """Undo it; whether there was anything to undo. Raises OSError, HostDNSError."""
    record = _read(paths)
    if record is None:
        return False
    pointer = Path(record.pointer)
    pointed = pointer.exists() and (record.resolved or MARK in pointer.read_text(errors="replace"))
    if pointed:
        _unpoint(pointer, record)
    try:
        if record.resolved and (pointed or record.pid):
            host.reload()
    finally:
        for pid in _servers_of(paths, record):
            processes.send(pid, signal.SIGTERM)
        _record(paths).unlink()
    return True


def _servers_before(host: Host, resolved: bool) -> list[str]:
    """The name servers that the host asks so far. Raises HostDNSError if another program or cluster decides."""
    if not resolved and host.resolv_conf.is_symlink():
        raise HostDNSError(_why_not(host))
    servers = resolvconf.name_servers(host.resolv_conf, host.resolved_servers)
    if ADDRESS in servers or (resolved and any(host.drop_ins.glob(f"{DROP_IN}*"))):
        raise HostDNSError("another cluster's names are enabled already")
    return servers


def _why_not(host: Host) -> str:
    target = os.path.realpath(host.resolv_conf)
    if host.resolved.exists():
        return f"{host.resolv_conf} leads past systemd-resolved to {target}; link it to {host.resolved}"
    return f"{host.resolv_conf} is made by another program ({target}), and systemd-resolved does not run"


def _point(pointer: Path, resolved: bool, domain: str, port: int) -> None:
    if resolved:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(f"[Resolve]\nDNS=\nDNS={ADDRESS}:{port}\nDomains=~{domain}\n")
        return
    before = pointer.read_text() if pointer.exists() else ""
    _rewrite(pointer, f"nameserver {ADDRESS} {MARK}\n{before}")


def _unpoint(pointer: Path, record: Record) -> None:
    left = "" if record.resolved else "".join(
        line for line in pointer.read_text().splitlines(keepends=True) if MARK not in line
    )  # fmt: skip
    if record.resolved or (record.created and not left):
        pointer.unlink()
    else:
        _rewrite(pointer, left)


def _rewrite(file: Path, text: str) -> None:
    """Change a file in place, since something may be mounted over it, without a moment in which it is empty."""
    data = text.encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, data)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def _answers(record: Record) -> bool:
    """Whether the server that was started is still there."""
    known = record.pid and processes.start_time(record.pid) == record.started
    return bool(known) and processes.is_running(record.pid)


def _servers_of(paths: ClusterPaths, record: Record) -> list[int]:
    """The server's process; if it was not on record yet, whoever runs with the cluster's Corefile for the host."""
    if record.pid:
        return [record.pid] if _answers(record) else []
    wanted = os.fsencode(_corefile_of(paths))
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if wanted in words:
            found.append(int(entry.name))
    return found


def _corefile(domain: str, port: int, servers: list[str]) -> str:
    forward = _FORWARD.format(servers=" ".join(servers)) if servers else ""
    return _COREFILE.format(domain=domain, port=port, address=ADDRESS, forward=forward)


def _start(paths: ClusterPaths, corefile: str, port: int) -> int:
    """The process id of a server that listens. Raises HostDNSError."""
    file = _corefile_of(paths)
    file.write_text(corefile)
    command = [sys.executable, "-c", _AGAIN, "dns", "--conf", str(file), "--kubeconfig", str(paths.kubeconfig)]
    with (paths.logs / "host-dns.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    if not _eventually(lambda: process.poll() is not None or _listens(port)) or process.poll() is not None:
        process.kill()
        problem = (paths.logs / "host-dns.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise HostDNSError(f"the server for this machine does not start: {''.join(problem) or 'no answer'}")
    return process.pid


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


def _corefile_of(paths: ClusterPaths) -> Path:
    return paths.run / "host-Corefile"


def _record(paths: ClusterPaths) -> Path:
    return paths.directory / "host-dns.json"


def _write(paths: ClusterPaths, record: Record) -> None:
    fresh = _record(paths).with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(_record(paths))


def _read(paths: ClusterPaths) -> Record | None:
    try:
        return msgspec.json.decode(_record(paths).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
