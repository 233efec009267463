"""Replace the files of a volume all at once, so that a reader sees either the old set or the new one.

The layout is upstream's: a directory with the time in its name holds the files, the symbolic link `..data` points to
it and is renamed over the old one, and what users see are links through `..data`. Files a user never touches keep
their inode path, so programs that watch the link notice.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

DATA_LINK = "..data"
DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int = DEFAULT_MODE


def write(target: Path, files: Mapping[str, File], *, group: int | None = None) -> bool:
    """Have exactly `files` (relative path → file) in `target`. Returns whether anything changed. Blocks shortly."""
    target.mkdir(parents=True, exist_ok=True)
    if _current(target, files):
        return False
    prefix = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime())
    fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=target))
    fresh.chmod(0o755)
    for path, file in files.items():
        _write_file(fresh / path, file, group)
    old = _switch(target, fresh.name)
    _link(target, files)
    _unlink_obsolete(target, files)
    if old:
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def is_safe(path: str) -> bool:
    """Whether a path stays inside the volume."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and not path.startswith("..")


def _current(target: Path, files: Mapping[str, File]) -> bool:
    data = target / DATA_LINK
    if not data.exists():
        return False
    present = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    return present == set(files) and all(
        (data / path).read_bytes() == file.content and (data / path).stat().st_mode & 0o777 == file.mode
        for path, file in files.items()
    )


def _write_file(path: Path, file: File, group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(file.mode)
    if group is not None:
        os.chown(path, -1, group)


def _switch(target: Path, fresh: str) -> str:
    """Point `..data` at the fresh directory; returns the name of the one before."""
    link = target / DATA_LINK
    old = os.readlink(link) if link.is_symlink() else ""
    temporary = target / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh)
    temporary.rename(link)
    return old


def _link(target: Path, files: Mapping[str, File]) -> None:
    for top in {PurePosixPath(path).parts[0] for path in files}:
        visible = target / top
        if not visible.is_symlink():
            visible.symlink_to(f"{DATA_LINK}/{top}")


def _unlink_obsolete(target: Path, files: Mapping[str, File]) -> None:
    wanted = {PurePosixPath(path).parts[0] for path in files}
    for entry in target.iterdir():
        if entry.is_symlink() and entry.name != DATA_LINK and entry.name not in wanted:
            entry.unlink()
