"""Mounting: bind, overlay, tmpfs, propagation, and what is mounted now. Errors are OSErrors that name the target."""

import ctypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel import libc

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    encode = os.fsencode
    about = f"{target} ({kind or 'bind'} of {source})"
    no_data = None if not data else ctypes.c_char_p(data.encode())
    libc.call("mount", encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), no_data, about=about)


def unmount(target: str | Path, *, lazy: bool = False) -> None:
    """umount2(2); `lazy` detaches at once and lets go when nothing uses it any more."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    libc.call("umount2", os.fsencode(target), flags, about=str(target))


def bind(source: str | Path, target: str | Path, *, recursive: bool = False, read_only: bool = False) -> None:
    """Make `source` appear at `target`, which must exist and be of the same sort (file or directory)."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def tmpfs(target: str | Path, *, size: str = "", mode: str = "0755", name: str = "tmpfs") -> None:
    """Mount a file system in memory; `size` as in tmpfs(5), for instance 64m."""
    mount(name, target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode}" + (f",size={size}" if size else ""))


def overlay(lower: Sequence[Path], upper: Path, work: Path, target: Path, *, options: Sequence[str] = ()) -> None:
    """Join directories with overlayfs; `lower` begins with the uppermost."""
    layers = ":".join(_escaped(path) for path in lower)
    data = ",".join((f"lowerdir={layers}", f"upperdir={_escaped(upper)}", f"workdir={_escaped(work)}", *options))
    mount("overlay", target, "overlay", data=data)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def make_private(target: str | Path = "/") -> None:
    """Stop mounts below `target` from spreading to other namespaces, and theirs from arriving here."""
    mount("none", target, flags=MS_REC | MS_PRIVATE)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One line of /proc/PID/mountinfo (proc(5))."""

    id: int
    parent: int
    root: str
    target: str
    options: str
    propagation: tuple[str, ...]
    kind: str
    source: str
    super_options: str


def parse(mountinfo: str) -> Iterator[MountPoint]:
    """Read the text of a mountinfo file."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        ident, parent, _device, root, target, options, *optional = before.split(" ")
        kind, source, super_options = after.split(" ", 2)
        yield MountPoint(
            int(ident),
            int(parent),
            _plain(root),
            _plain(target),
            options,
            tuple(optional),
            kind,
            _plain(source),
            super_options,
        )


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


def mounted(pid: int | str = "self") -> list[MountPoint]:
    """Everything mounted in a process's mount namespace, in the order it was mounted."""
    text = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return list(parse(text))


def below(directory: str | Path, pid: int | str = "self") -> list[MountPoint]:
    """What is mounted at or below a directory, innermost last."""
    prefix = str(directory).rstrip("/") + "/"
    return [point for point in mounted(pid) if (point.target + "/").startswith(prefix)]


def is_mount(target: str | Path) -> bool:
    """Whether something is mounted exactly here, bind mounts included."""
    text = str(target)
    return any(point.target == text for point in mounted())


def is_read_only(path: str | Path) -> bool:
    """Whether a path is on a mount that nobody can write through."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def unmount_below(directory: str | Path) -> list[OSError]:
    """Unmount everything at or below a directory, lazily, and return what could not be unmounted."""
    errors = []
    for point in reversed(below(directory)):
        try:
            unmount(point.target, lazy=True)
        except OSError as error:
            errors.append(error)
    return errors
