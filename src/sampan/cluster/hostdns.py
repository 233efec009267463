"""The host's own resolver knows the cluster's names: a server on the loopback, and a pointer to it.

The server is `sampan dns` with the cluster's kubeconfig. With systemd-resolved the pointer is a drop-in below /run for
the cluster's domain alone; without it a marked line in /etc/resolv.conf, and then the server forwards everything else
to the name servers that stand behind it. Undoing removes what is marked, so that changes made meanwhile survive. What
has been done is on record before it is done; `disable`, which `stop` and `down` call, works after a crash too.
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
    """What was done: the process that answers, and the file that points to it."""

    pid: int
    started: int | None
    pointer: str
    resolved: bool


@dataclass(frozen=True, slots=True)
class Host:
    """The places on the host that matter, and how systemd-resolved is told to look again."""

    resolv_conf: Path = Path("/etc/resolv.conf")
    resolved: Path = Path("/run/systemd/resolve/stub-resolv.conf")
    """Exists while systemd-resolved runs."""
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
    if _read(paths) is not None:
        raise HostDNSError("it is enabled already")
    if os.geteuid() != 0:
        raise HostDNSError("changing this machine's resolver needs root")
    resolved = host.uses_resolved()
    if not resolved and host.resolv_conf.is_symlink():
        target = os.path.realpath(host.resolv_conf)
        raise HostDNSError(
            f"{host.resolv_conf} is made by another program ({target}), and systemd-resolved does not run"
        )
    port = _free_port() if resolved else host.port
    servers = [] if resolved else resolvconf.name_servers(host.resolv_conf)
    if ADDRESS in servers:
        raise HostDNSError("another cluster's names are enabled already")
    pid = _start(paths, _corefile(domain, port, servers), port)
    pointer = host.drop_ins / f"sampan-{paths.name}.conf" if resolved else host.resolv_conf
    _record(paths).write_bytes(msgspec.json.encode(Record(pid, processes.start_time(pid), str(pointer), resolved)))
    try:
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
    if record.resolved:
        pointer.unlink(missing_ok=True)
    elif pointer.exists():
        lines = pointer.read_text().splitlines(keepends=True)
        pointer.write_text("".join(line for line in lines if MARK not in line))
    if processes.start_time(record.pid) == record.started:
        processes.send(record.pid, signal.SIGTERM)
    _record(paths).unlink()
    if record.resolved:
        host.reload()
    return True


def _point(pointer: Path, resolved: bool, domain: str, port: int) -> None:
    if resolved:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(f"[Resolve]\nDNS={ADDRESS}:{port}\nDomains=~{domain}\n")
        return
    before = pointer.read_text() if pointer.exists() else ""
    pointer.write_text(f"nameserver {ADDRESS} {MARK}\n{before}")


def _corefile(domain: str, port: int, servers: list[str]) -> str:
    forward = _FORWARD.format(servers=" ".join(servers)) if servers else ""
    return _COREFILE.format(domain=domain, port=port, address=ADDRESS, forward=forward)


def _start(paths: ClusterPaths, corefile: str, port: int) -> int:
    """The process id of a server that listens. Raises HostDNSError."""
    file = paths.run / "host-Corefile"
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


def _record(paths: ClusterPaths) -> Path:
    return paths.directory / "host-dns.json"


def _read(paths: ClusterPaths) -> Record | None:
    try:
        return msgspec.json.decode(_record(paths).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
