"""Kernel parameters below /proc/sys that belong to a namespace: of the network, or of System V and POSIX IPC.

They are those of the namespaces that the calling thread is in. All other parameters are the whole machine's, which
nothing here may change: their names are refused, and so is whatever is no name.
"""

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/proc/sys")
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*")
_NET = ("net/",)
_IPC = ("kernel/shm", "kernel/msg", "fs/mqueue/")
_IPC_NAMES = ("kernel/sem",)


def namespace_of(name: str) -> str | None:
    """`net` or `ipc`, the kind of namespace that a parameter belongs to; None if it is the machine's, or no name."""
    if not _NAME.fullmatch(name):
        return None
    path = _relative(name)
    if path.startswith(_NET):
        return "net"
    return "ipc" if path.startswith(_IPC) or path in _IPC_NAMES else None


def path_of(name: str) -> Path:
    """The file of a parameter; both `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.1/rp_filter` are understood.

    Raises ValueError unless it belongs to a namespace.
    """
    if namespace_of(name) is None:
        raise ValueError(f"{name!r} is not a kernel parameter of a network or IPC namespace")
    return ROOT / _relative(name)


def _relative(name: str) -> str:
    return name if "/" in name else name.replace(".", "/")


def read(name: str) -> str:
    """The value of a parameter. Raises FileNotFoundError if the kernel has none of that name, ValueError."""
    return path_of(name).read_text().strip()


def write(name: str, value: str | int) -> None:
    """Set a parameter, without writing if it has that value already (it may be read-only then)."""
    text = str(value)
    if read(name) != text:
        path_of(name).write_text(text)


def write_all(values: Mapping[str, str | int], *, optional: bool = False) -> None:
    """Set several parameters; `optional` ones that this kernel lacks are passed over."""
    for name, value in values.items():
        try:
            write(name, value)
        except FileNotFoundError:
            if not optional:
                raise
