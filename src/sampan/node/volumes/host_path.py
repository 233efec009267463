"""hostPath volumes: a path of the node's own root file system.

A node's root is the machine's own, read-only, with a writable layer of the node above it (what the `host` image is),
so that pods can share files through their node, for as long as it exists, while the machine stays as it was. Kernel
interfaces (/dev, /proc, /sys) are the machine's real ones.
"""

import stat
from pathlib import Path

from sampan.api.core_v1 import HostPathSource
from sampan.node.volumes.errors import VolumeError

_KERNEL = ("dev", "proc", "sys")


def resolve(source: HostPathSource, node_root: Path) -> Path:
    """Where the path is for this node; made if its type says so. Raises VolumeError. Blocks shortly."""
    relative = source.path.lstrip("/")
    top = relative.split("/", 1)[0]
    path = Path("/", relative) if top in _KERNEL else node_root / relative
    if ".." in path.parts:
        raise VolumeError(f"invalid path: {source.path}")
    if source.type in ("", "DirectoryOrCreate") and not path.exists() and top not in _KERNEL:
        path.mkdir(parents=True, mode=0o755)
    elif source.type == "FileOrCreate" and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644)
    _check(source, path)
    return path


def _check(source: HostPathSource, path: Path) -> None:
    check = _CHECKS.get(source.type)
    if check is None:
        return
    test, noun = check
    if not path.exists() or not test(path.stat().st_mode):
        raise VolumeError(f"hostPath type check failed: {source.path} is not a {noun}")


_CHECKS = {
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}
