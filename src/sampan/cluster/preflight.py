"""What a machine must have before a cluster can start, checked together so that one message lists everything.

Each problem says what is missing and what to do about it. Nothing is changed here.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

# Debian's package for each program the components run.
PROGRAMS = {"crun": "crun", "conmon": "conmon", "nft": "nftables"}
FIRST_API_PORT = 6443
LOOPBACK = "127.0.0.1"


class PreflightError(Exception):
    """The machine is not ready; one line a problem."""


def check() -> None:
    """Raises PreflightError if a cluster cannot start here."""
    problems = [*_right_problems(), *_program_problems(), *_kernel_problems()]
    if problems:
        raise PreflightError("\n".join(problems))


def _right_problems() -> Iterator[str]:
    if os.geteuid() != 0:
        yield "a cluster needs root for its network namespaces and mounts: run it with sudo"


def _program_problems() -> Iterator[str]:
    search = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = {program: package for program, package in PROGRAMS.items() if not shutil.which(program, path=search)}
    if missing:
        install = f"apt-get install --no-install-recommends {' '.join(missing.values())}"
        yield f"missing: {', '.join(missing)}; install with: {install}"


def _kernel_problems() -> Iterator[str]:
    for kind in ("net", "mnt", "pid", "uts", "ipc", "cgroup"):
        if not Path("/proc/self/ns", kind).exists():
            yield f"this kernel has no {kind} namespaces"
    if "overlay" not in Path("/proc/filesystems").read_text() and not _loadable("overlay"):
        yield "this kernel has no overlayfs, which containers' root file systems are made of: try modprobe overlay"


def _loadable(module: str) -> bool:
    """Whether the kernel could load a module by itself when it is first used."""
    modules = Path("/lib/modules", os.uname().release, "modules.dep")
    return modules.exists() and f"/{module}.ko" in modules.read_text()


def listen(port: int) -> socket.socket:
    """The API server's socket on the host's loopback; port 0 takes the first free one from 6443.

    Raises PreflightError if the port is taken.
    """
    for candidate in [port] if port else range(FIRST_API_PORT, 65536):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, candidate))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            if port:
                problem = f"port {port} of {LOOPBACK} cannot be used ({error.strerror})"
                raise PreflightError(f"{problem}: choose another with --api-port, or 0 for any free one") from error
        else:
            return listener
    raise PreflightError(f"no port of {LOOPBACK} from {FIRST_API_PORT} up is free")
