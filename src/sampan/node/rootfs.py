"""The root file system of a container: an image's layers below, a directory of its own on top, joined by overlayfs.

What a container writes lives in `upper`; directories that the image hides are masked by a layer that all containers
of the image share (`mask_layers.py`). The runtime gets the path of the joined directory.
"""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sampan.kernel import mounts
from sampan.node.images.types import Image, ImageError
from sampan.node.mask_layers import make_parents, mask_layer
from sampan.node.options import NodeMount

_ONE_DEVICE = ("xino=auto",)
"""Layers of several file systems show as one, as `tar --one-file-system` and the like expect."""


def mount_rootfs(image: Image, directory: Path, *, mask_layers: Path | None = None, keep: bool = False) -> Path:
    """Mount a root file system below `directory` and return its path. Blocks shortly; repeatable.

    It is fresh, or, with `keep`, has what was written into it when it was mounted before. `mask_layers` is the
    directory of mask layers that all containers share; by default this one gets its own. Raises ImageError if overlayfs
    is not usable.
    """
    merged = directory / "rootfs"
    if os.path.ismount(merged):
        return merged
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    merged.mkdir(exist_ok=True)
    try:
        _join(image, directory, merged, mask_layers or directory / "masks", keep=keep)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
        _join_in_memory(image, directory, merged, error)
    return merged


def _join(image: Image, directory: Path, merged: Path, mask_layers: Path, *, keep: bool = False) -> None:
    upper, work = directory / "upper", directory / "work"
    for one in (work,) if keep else (upper, work):
        if one.exists():
            shutil.rmtree(one)
    work.mkdir(mode=0o755)
    if not upper.exists():
        upper.mkdir(mode=0o755)
        shutil.copystat(image.layers[0], upper)
    _place(image, Path("/"), upper, image.layers)
    hiding = mask_layer(mask_layers, image.hidden, image.layers)
    layers = (hiding, *image.layers) if hiding else image.layers
    mounts.overlay(layers, upper, work, merged, options=_ONE_DEVICE)
    for path in image.separate:
        _join_separate(image, path, directory, merged / path.relative_to("/"), keep=keep)


def _join_separate(image: Image, path: Path, directory: Path, target: Path, *, keep: bool) -> None:
    """Show a file system of its own below a writable layer, too; as it is and read-only where overlayfs refuses it."""
    own = directory / "separate" / path.name
    if own.exists() and not keep:
        shutil.rmtree(own)
    upper, work = own / "upper", own / "work"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    if not upper.exists():
        upper.mkdir()
        shutil.copystat(path, upper)
    _place(image, path, upper, (path,))
    try:
        mounts.overlay([path], upper, work, target, options=_ONE_DEVICE)
    except OSError:
        mounts.bind(path, target, read_only=True)


def _place(image: Image, root: Path, upper: Path, layers: Sequence[Path]) -> None:
    """Put the image's own files and directories below `root` into its writable layer."""

    def is_here(path: Path) -> bool:
        return root in path.parents and (root != Path("/") or not any(one in path.parents for one in image.separate))

    for directory in image.directories:
        if is_here(Path(directory.path)):
            inside = Path(directory.path).relative_to(root)
            make_parents(inside, upper, layers)
            os.chmod(upper / inside, directory.mode)
            os.chown(upper / inside, directory.owner, directory.owner)
    for name, text in image.files.items():
        if is_here(Path(name)):
            inside = Path(name).relative_to(root)
            make_parents(inside.parent, upper, layers)
            (upper / inside).write_text(text)
            if text.startswith("#!"):
                os.chmod(upper / inside, 0o755)


def _join_in_memory(image: Image, directory: Path, merged: Path, first: OSError) -> None:
    """Put the writable layer into memory, for state directories that are themselves on overlayfs."""
    memory = directory / "memory"
    memory.mkdir(exist_ok=True)
    mounts.tmpfs(memory, name="sampan-upper")
    try:
        _join(image, memory, merged, memory / "masks")
    except OSError as error:
        mounts.unmount(memory, lazy=True)
        raise ImageError(f"cannot make a root file system with overlayfs: {first}; in memory: {error}") from error


def mount_extra(root: Path, extra: NodeMount) -> None:
    """Show a file or directory of the machine in a node's root. Blocks shortly; repeatable. Raises OSError."""
    target = root / extra.target.lstrip("/")
    if mounts.is_mount(target):
        return
    if not target.resolve().is_relative_to(root.resolve()):
        raise OSError(errno.ELOOP, "a link leads out of the node's root", extra.target)
    if extra.source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mounts.bind(extra.source, target, recursive=True, read_only=extra.read_only)


def unmount_rootfs(directory: Path) -> None:
    """Unmount what `mount_rootfs` made and remove the directory with everything the container wrote. Repeatable."""
    for mounted in (directory / "rootfs", directory / "masks", directory / "memory"):
        while os.path.ismount(mounted):
            mounts.unmount(mounted, lazy=True)
    if directory.exists():
        shutil.rmtree(directory)
