"""Layers that hide directories of an image: made once for each set of directories, shared by all its containers.

A cover holds an empty, opaque directory for each one to hide, and overlayfs puts it between the image's layers and what
the container writes. Making those directories anew for each container would be most of its file system work.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sampan.kernel import mounts

OPAQUE = "trusted.overlay.opaque"


def cover(place: Path, hidden: Sequence[Path], layers: Sequence[Path]) -> Path | None:
    """The layer, kept below `place`, that makes `hidden` empty where the layers have it; None if they have none of it.

    Blocks shortly. Raises OSError, also where the file system of `place` cannot mark directories as opaque.
    """
    found = {path: _find(path.relative_to("/"), layers) for path in hidden}
    below = {path: original for path, original in found.items() if original and not original.is_symlink()}
    if not below:
        return None
    wanted = place / hashlib.sha256(os.fsencode("\n".join(map(str, (*below, "", *layers))))).hexdigest()[:16]
    if not wanted.is_dir():
        _prepare(place, layers)
        _make(wanted, below, layers)
    return wanted


def _prepare(place: Path, layers: Sequence[Path]) -> None:
    """overlayfs takes no layer that lies within another, as everything on the root's file system does."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_dev in {layer.stat().st_dev for layer in layers}:
        mounts.tmpfs(place, name="sampan-covers")


def _make(wanted: Path, below: dict[Path, Path], layers: Sequence[Path]) -> None:
    """It appears by rename, so that nobody sees half of it; whoever comes second takes the first one's."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=wanted.parent))
    try:
        shutil.copystat(layers[0], partial)
        for path, original in below.items():
            inside = path.relative_to("/")
            make_parents(inside.parent, partial, layers)
            (partial / inside).mkdir(exist_ok=True)
            shutil.copystat(original, partial / inside)
            os.setxattr(partial / inside, OPAQUE, b"y")
        partial.rename(wanted)
    except OSError:
        shutil.rmtree(partial)
        if not wanted.is_dir():
            raise


def make_parents(inside: Path, upper: Path, layers: Sequence[Path]) -> None:
    """Make a directory and those above it in `upper`, each looking as it does in the layers."""
    for parent in (*reversed(inside.parents), inside):
        copy = upper / parent
        if not copy.exists():
            copy.mkdir(mode=0o755)
            below = _find(parent, layers)
            if below is not None:
                shutil.copystat(below, copy)


def _find(inside: Path, layers: Sequence[Path]) -> Path | None:
    """A directory as the uppermost layer that has it shows it."""
    return next((layer / inside for layer in layers if (layer / inside).is_dir()), None)
