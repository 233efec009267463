"""Mask layers: overlayfs lower layers that hide paths of an image, made once and shared by all containers of the image.

A mask layer has an opaque directory for each directory to hide, and a whiteout for each file. overlayfs puts it between
the image's layers and what the container writes. Making one for each container would be most of the file system work
of its start.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from sampan.kernel import mounts

OPAQUE = "trusted.overlay.opaque"
SKELETONS = (Path("/var/lib"), Path("/var/log"))
"""Hidden directories whose subdirectories stay visible but empty, because programs need theirs to start."""


def mask_layer(place: Path, hidden: Sequence[Path], layers: Sequence[Path]) -> Path | None:
    """The layer, kept below `place`, in which directories of `hidden` are empty and files of `hidden` are absent.

    None if the layers have none of these paths.

    Blocks shortly. Raises OSError, also where the file system of `place` cannot mark directories as opaque.
    """
    present = tuple(path for path in hidden if _is_hidable(path, layers))
    if not present:
        return None
    wanted = place / _name(present, tuple(layers))
    if not os.path.isdir(wanted):
        _prepare(place, layers)
        _make(wanted, present, layers)
    return wanted


def _is_hidable(path: Path, layers: Sequence[Path]) -> bool:
    """Whether the path exists and is not a link in the uppermost layer that has it."""
    found = (f"{layer}{path}" for layer in layers)
    original = next((one for one in found if os.path.lexists(one)), None)
    return original is not None and not os.path.islink(original)


@lru_cache(maxsize=256)
def _name(hidden: tuple[Path, ...], layers: tuple[Path, ...]) -> str:
    """The layer's directory name: a hash of what is hidden in which layers, equal in every process."""
    return hashlib.sha256(os.fsencode("\n".join(map(str, (*hidden, "", *layers))))).hexdigest()[:16]


def _prepare(place: Path, layers: Sequence[Path]) -> None:
    """Mount a tmpfs at `place` if it shares a file system with a layer: overlayfs refuses a layer within another."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_dev in {layer.stat().st_dev for layer in layers}:
        mounts.tmpfs(place, name="sampan-masks")


def _make(wanted: Path, hidden: Sequence[Path], layers: Sequence[Path]) -> None:
    """Make the layer and rename it into place, so that it is never seen incomplete. A concurrent maker may win."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=wanted.parent))
    try:
        shutil.copystat(layers[0], partial)
        for path in hidden:
            _hide(path, partial, layers)
        partial.rename(wanted)
    except OSError:
        shutil.rmtree(partial)
        if not wanted.is_dir():
            raise


def _hide(path: Path, partial: Path, layers: Sequence[Path]) -> None:
    inside = path.relative_to("/")
    original = _find(inside, layers)
    if original is None:
        make_parents(inside.parent, partial, layers)
        if not os.path.lexists(partial / inside):
            os.mknod(partial / inside, stat.S_IFCHR, os.makedev(0, 0))
        return
    make_parents(inside, partial, layers)
    os.setxattr(partial / inside, OPAQUE, b"y")
    if path in SKELETONS:
        with os.scandir(original) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    make_parents(inside / entry.name, partial, layers)


def make_parents(inside: Path, upper: Path, layers: Sequence[Path]) -> None:
    """Make a directory and those above it in `upper`, each looking as it does in the layers."""
    for parent in (*reversed(inside.parents), inside):
        copy = upper / parent
        if not copy.exists():
            copy.mkdir(mode=0o755)
            below = _find(parent, layers)
            if below is not None:
                shutil.copystat(below, copy)
                owner = below.stat()
                os.chown(copy, owner.st_uid, owner.st_gid)
                copy.chmod(stat.S_IMODE(owner.st_mode))


def _find(inside: Path, layers: Sequence[Path]) -> Path | None:
    """A directory as the uppermost layer that has it shows it."""
    return next((layer / inside for layer in layers if (layer / inside).is_dir()), None)
