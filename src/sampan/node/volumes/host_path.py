"""hostPath volumes: a path of the node's own root file system.

A node's root is the machine's own, read-only, with a writable layer of the node above it (what the `host` image is),
so that pods can share files through their node, for as long as it exists, while the machine stays as it was. Kernel
interfaces (/dev, /proc, /sys) are the machine's real ones.

Pods make links in the node's root, and Debian's /var/run is one: the kernel resolves every path with the node's root as
its root, and what was found is bound to a place of the agent's own.
"""

import os
import stat
from pathlib import Path

from sampan.api.core_v1 import HostPathSource
from sampan.kernel import mounts, paths
from sampan.kernel.descriptors import Descriptor
from sampan.node.volumes.errors import VolumeError
from sampan.node.volumes.subpath import bind_descriptor

_KERNEL = ("dev", "proc", "sys")


def bind(source: HostPathSource, node_root: Path, target: Path) -> Path:
    """Bind the path to `target`, unless that is done. Raises VolumeError, OSError. Blocks shortly."""
    if mounts.is_mount(target):
        return target
    with find(source, node_root) as found:
        bind_descriptor(found, target)
    return target


def find(source: HostPathSource, node_root: Path) -> Descriptor:
    """What the path is for this node, of its type, made if its type says so. Raises VolumeError, OSError."""
    found = _open(source, node_root)
    try:
        _check(source, os.fstat(found.fileno()).st_mode)
    except VolumeError:
        found.close()
        raise
    return found


def _open(source: HostPathSource, node_root: Path) -> Descriptor:
    """Links in /dev, /proc and /sys may not lead out of them."""
    parts = [part for part in source.path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise VolumeError(f"invalid path: {source.path}")
    top = Path("/", parts.pop(0)) if parts and parts[0] in _KERNEL else None
    resolve = paths.BENEATH if top else paths.IN_ROOT
    relative = "/".join(parts)
    with Descriptor.open(top or node_root, os.O_PATH | os.O_DIRECTORY) as root:
        try:
            return paths.open_in(root, relative, os.O_PATH, resolve=resolve)
        except FileNotFoundError:
            if top is None and source.type in ("", "DirectoryOrCreate"):
                return paths.open_or_make(root, relative, resolve=resolve, mode=0o755)
            if top is None and source.type == "FileOrCreate":
                paths.open_or_make(root, "/".join(parts[:-1]), resolve=resolve, mode=0o755).close()
                return paths.open_in(root, relative, os.O_CREAT | os.O_WRONLY, resolve=resolve, mode=0o644)
            if source.type in _CHECKS:
                _check(source, 0)
            raise


def _check(source: HostPathSource, mode: int) -> None:
    check = _CHECKS.get(source.type)
    if check is not None and not check[0](mode):
        raise VolumeError(f"hostPath type check failed: {source.path} is not a {check[1]}")


_CHECKS = {
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}
