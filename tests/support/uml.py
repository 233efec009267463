"""Run a program on a Linux kernel of our own: user-mode-linux, for what the machine's kernel lacks (IPVS).

The guest sees the machine's files read-only, has its own network and processes, and may write to `/tmp`, `/run` and
`/dev/shm`, which are forgotten. It lives as long as the program does, and not longer than the deadline. Debian builds
this kernel without nftables for IPv4 and IPv6, so `iptables` is the legacy one there. Control groups are of version 2,
and a whole cluster can run in it; what the box must find (programs, modules) is below `/tmp`, for it covers `/run`.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODULES = Path("/usr/lib/uml/modules")
LOADED = "ip_vs ip_vs_rr dummy veth nf_conntrack_netlink ip_set xt_set sctp overlay"
REPOSITORY = Path(__file__).parents[2]

_running: set[subprocess.Popen[bytes]] = set()

_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/shm; ln -s /proc/self/fd /dev/fd
for each in /run /tmp /dev/shm; do mount -t tmpfs tmpfs $each; done
mkdir -p {where} && mount -r -t hostfs none {where} -o {where}
mkdir -p {shared} && mount -t hostfs none {shared} -o {shared}
mkdir -p /tmp/bin /tmp/modules/lib/modules && ln -s {modules} /tmp/modules/lib/modules/
printf '#!/bin/sh\\nexec /sbin/modprobe -d /tmp/modules "$@"\\n' > /tmp/bin/modprobe; chmod +x /tmp/bin/modprobe
echo /tmp/bin/modprobe > /proc/sys/kernel/modprobe
export PATH=/tmp/bin:$PATH
for each in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s /usr/sbin/xtables-legacy-multi /tmp/bin/$each
done
for each in {loaded}; do /tmp/bin/modprobe $each; done
ip link set lo up
cd {where}
sh {shared}/program > {shared}/output 2>&1
echo $? > {shared}/status
/bin/busybox poweroff -f
"""


@dataclass(frozen=True)
class Outcome:
    """How the program ended (None: not within the deadline) and what it said."""

    status: int | None
    output: str


def missing() -> str:
    """What this machine lacks; empty if guests can be run."""
    if shutil.which("linux.uml") is None or not MODULES.is_dir():
        return "user-mode-linux is not installed (Debian package user-mode-linux)"
    return ""


def run(program: str, *, seconds: float, memory: str = "768M") -> Outcome:
    """Run a shell script in a fresh guest, as root, at the top of this repository."""
    (modules,) = MODULES.iterdir()
    with tempfile.TemporaryDirectory(prefix="sampan-uml-") as shared:
        init = Path(shared, "init")
        init.write_text(_INIT.format(shared=shared, modules=modules, loaded=LOADED, where=REPOSITORY))
        init.chmod(0o755)
        Path(shared, "program").write_text(program)
        said = _boot(init, seconds, memory)
        output, status = Path(shared, "output"), Path(shared, "status")
        return Outcome(
            int(status.read_text()) if status.exists() else None,
            output.read_text(errors="replace") if output.exists() else said,
        )


def run_pytest(*selection: str, seconds: float) -> Outcome:
    """Run tests of this repository in a guest."""
    options = ("-p", "no:cacheprovider", "-ra")
    command = " ".join(f"'{each}'" for each in (*options, *selection))
    return run(f"PYTHONDONTWRITEBYTECODE=1 exec .venv/bin/python -m pytest {command}", seconds=seconds)


def end_all() -> None:
    """End all guests of this process."""
    for process in set(_running):
        _end(process)


def _boot(init: Path, seconds: float, memory: str) -> str:
    """Boot with `init` and wait for the end; returns what the console said."""
    process = subprocess.Popen(
        _command(init, memory), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, env={"HOME": str(init.parent), "TMPDIR": "/dev/shm", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    _running.add(process)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        said, _ = process.communicate()
    finally:
        _running.discard(process)
    return said.decode(errors="replace")


def _command(init: Path, memory: str) -> Sequence[str]:
    return (
        "linux.uml", f"mem={memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}",
        "con=null", "con0=null,fd:1", "quiet",
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """A guest is several processes: end all of its session."""
    subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
