"""The root file system of a container: an image's layers below, a directory of its own on top, joined by overlayfs.

What a container writes lives in `upper`; directories that the image hides are made there beforehand, opaque, so that
nothing of the lower layers shows through. The runtime gets the path of the joined directory.
"""

import errno
import os
import shutil
from pathlib import Path

from sampan.kernel import mounts
from sampan.node.images.types import Image, ImageError

OPAQUE = "trusted.overlay.opaque"


def mount_rootfs(image: Image, directory: Path, *, keep: bool = False) -> Path:
    """Mount a root file system below `directory` and return its path. Blocks shortly; repeatable.

    It is fresh, or, with `keep`, has what was written into it when it was mounted before. Raises ImageError if
    overlayfs cannot be had at all.
    """
    merged = directory / "rootfs"
    if os.path.ismount(merged):
        return merged
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    merged.mkdir(exist_ok=True)
    try:
        _join(image, directory, merged, keep=keep)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
        _join_in_memory(image, directory, merged, error)
    return merged


def _join(image: Image, directory: Path, merged: Path, *, keep: bool = False) -> None:
    upper, work = directory / "upper", directory / "work"
    for one in (work,) if keep else (upper, work):
        if one.exists():
            shutil.rmtree(one)
    work.mkdir(mode=0o755)
    if not upper.exists():
        upper.mkdir(mode=0o755)
        shutil.copystat(image.layers[0], upper)
    for path in image.hidden:
        _hide(path, upper, image.layers)
    for name, text in image.files.items():
        inside = Path(name).relative_to("/")
        _make_parents(inside.parent, upper, image.layers)
        (upper / inside).write_text(text)
    mounts.overlay(image.layers, upper, work, merged)


def _join_in_memory(image: Image, directory: Path, merged: Path, first: OSError) -> None:
    """Put the writable layer into memory, for state directories that are themselves on overlayfs."""
    memory = directory / "memory"
    memory.mkdir(exist_ok=True)
    mounts.tmpfs(memory, name="sampan-upper")
    try:
        _join(image, memory, merged)
    except OSError as error:
        mounts.unmount(memory, lazy=True)
        raise ImageError(f"cannot make a root file system with overlayfs: {first}; in memory: {error}") from error


def _hide(path: Path, upper: Path, layers: tuple[Path, ...]) -> None:
    """Make an empty directory in `upper` that covers those of the layers; nothing to do if they have none."""
    inside = path.relative_to("/")
    below = next((layer / inside for layer in layers if (layer / inside).is_dir()), None)
    if below is None or below.is_symlink():
        return
    _make_parents(inside.parent, upper, layers)
    cover = upper / inside
    cover.mkdir(exist_ok=True)
    shutil.copystat(below, cover)
    os.setxattr(cover, OPAQUE, b"y")


def _make_parents(inside: Path, upper: Path, layers: tuple[Path, ...]) -> None:
    for parent in (*reversed(inside.parents), inside):
        copy = upper / parent
        if not copy.exists():
            copy.mkdir(mode=0o755)
            below = next((layer / parent for layer in layers if (layer / parent).is_dir()), None)
            if below is not None:
                shutil.copystat(below, copy)


def unmount_rootfs(directory: Path) -> None:
    """Unmount what `mount_rootfs` made and remove the directory with everything the container wrote. Repeatable."""
    for mounted in (directory / "rootfs", directory / "memory"):
        while os.path.ismount(mounted):
            mounts.unmount(mounted, lazy=True)
    if directory.exists():
        shutil.rmtree(directory)
