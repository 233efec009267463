"""emptyDir volumes: a directory of the pod's own, on disk or in memory."""

import os
from pathlib import Path

from sampan.api.core_v1 import EmptyDirSource
from sampan.kernel import mounts
from sampan.machinery import quantity

_MODE = 0o777
_GROUP_MODE = 0o2777


def make(path: Path, source: EmptyDirSource, group: int | None) -> Path:
    """Have the directory, mounted if it lives in memory. Blocks shortly; repeatable. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory" and not mounts.is_mount(path):
        size = "" if source.size_limit is None else str(quantity.parse(source.size_limit).value())
        mounts.tmpfs(path, size=size, mode="0777")
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(_MODE if group is None else _GROUP_MODE)
    return path
