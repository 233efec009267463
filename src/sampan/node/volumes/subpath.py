"""subPath: mount one file or directory of a volume instead of the whole, and never anything outside of it.

A container that writes into the volume may swap what lies there at any moment, so the path is resolved by the kernel,
beneath the volume, and what was found is bound to a place of the agent's own (CVE-2017-1002101, CVE-2021-25741).
"""

import os
import stat
from pathlib import Path

from sampan.kernel import mounts, paths
from sampan.kernel.descriptors import Descriptor
from sampan.node.volumes.errors import VolumeError


def bind(volume: Path, sub_path: str, target: Path) -> Path:
    """Bind `sub_path` of a volume to `target`, which is made. Raises VolumeError, OSError. Blocks shortly."""
    with find(volume, sub_path) as found:
        bind_descriptor(found, target)
    return target


def find(volume: Path, sub_path: str) -> Descriptor:
    """What `sub_path` is in a volume; made as a directory if there is nothing. Raises VolumeError."""
    if Path(sub_path).is_absolute() or ".." in Path(sub_path).parts:
        raise VolumeError(f'subPath "{sub_path}" must be a relative path without ".."')
    try:
        with Descriptor.open(volume, os.O_PATH) as root:
            mode = stat.S_IMODE(os.fstat(root.fileno()).st_mode) & 0o777
            return paths.open_or_make(root, sub_path, resolve=paths.BENEATH, mode=mode)
    except OSError as error:
        raise VolumeError(f'subPath "{sub_path}" cannot be mounted: {error.strerror}') from error


def bind_descriptor(found: Descriptor, target: Path) -> None:
    """Bind what a descriptor has open to a path of the same sort, which is made; what was bound there goes."""
    if stat.S_ISDIR(os.fstat(found.fileno()).st_mode):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.touch(mode=0o600)
    while mounts.is_mount(target):
        mounts.unmount(target, lazy=True)
    mounts.bind(found.path, target, recursive=True)
