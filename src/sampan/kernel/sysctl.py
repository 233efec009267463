"""Kernel parameters below /proc/sys; those of the network are of the namespace that the calling thread is in."""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path("/proc/sys")


def path_of(name: str) -> Path:
    """The file of a parameter; both `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.1/rp_filter` are understood."""
    return ROOT / (name if "/" in name else name.replace(".", "/"))


def read(name: str) -> str:
    """The value of a parameter. Raises FileNotFoundError if the kernel has none of that name."""
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
