"""Layers of images: tar archives unpacked into directories that overlayfs can use, each only once.

Nothing in an archive may reach outside of its directory: names with `..` are refused, links are resolved within, and
device nodes are left out, as containers get their own /dev. Whiteouts become what overlayfs expects.
"""

import errno
import gzip
import hashlib
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Protocol

from sampan.node.images.types import BadImageArchive

WHITEOUT = ".wh."
OPAQUE_MARK = ".wh..wh..opq"
OPAQUE = "trusted.overlay.opaque"
MAX_LINKS = 40
_KEPT_ATTRIBUTES = ("security.capability", "user.")
_PAX_ATTRIBUTE = "SCHILY.xattr."


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class HashingReader:
    """A stream that computes the digest of what passes through."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> str:
        """Read to the end; the digest of everything."""
        while self.read(1 << 20):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def decompressed(source: IO[bytes]) -> Readable:
    """The archive within a layer blob, by its first bytes. Raises BadImageArchive for zstd, which is not read yet."""
    magic = source.read(4)
    source.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=source)
    if magic == b"\x28\xb5\x2f\xfd":
        raise BadImageArchive("layer is compressed with zstd, which is not supported; push the image with gzip layers")
    return source


def unpack(source: IO[bytes], diff_id: str, directory: Path) -> Path:
    """Unpack a layer to its `layer_path`, unless it is there. The content must have the digest `diff_id`.

    Atomic: the directory appears complete. Raises BadImageArchive. Blocks.
    """
    target = layer_path(directory, diff_id)
    if target.exists():
        return target
    directory.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".unpack-", dir=directory))
    try:
        partial.chmod(0o755)
        reader = HashingReader(decompressed(source))
        _extract(reader, partial)
        digest = reader.drain()
        if digest != diff_id:
            raise BadImageArchive(f"layer has digest {digest}, expected {diff_id}")
        _publish(partial, target)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError) as error:
        raise BadImageArchive(f"layer {diff_id} is damaged: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def layer_path(directory: Path, diff_id: str) -> Path:
    """Where a layer is or would be. The name is half of the digest, as mount(2) takes 4,096 bytes for all layers."""
    return directory / diff_id.removeprefix("sha256:")[:32]


def _publish(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError as error:  # another process was faster
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _extract(reader: HashingReader, root: Path) -> None:
    directories: list[tuple[Path, tarfile.TarInfo]] = []
    with tarfile.open(fileobj=reader, mode="r|", errorlevel=2) as archive:  # type: ignore[call-overload]
        for member in archive:
            path = _place(root, member.name)
            if path is not None:
                _extract_one(archive, member, root, path)
                if member.isdir():
                    directories.append((path, member))
    for path, member in reversed(directories):
        os.utime(path, (member.mtime, member.mtime))


def _place(root: Path, name: str) -> Path | None:
    """Where a member goes; None for the root itself. Directories on the way are followed within the root only."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadImageArchive(f"layer tries to leave its directory: {name!r}")
    if not parts:
        return None
    return resolve(root, "/".join(parts[:-1])) / parts[-1]


def resolve(root: Path, name: str) -> Path:
    """A directory below `root` with every link on the way taken as one within `root`; made if it is not there."""
    current: list[str] = []
    pending = [part for part in reversed(name.split("/")) if part]
    links = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            current = current[:-1]
            continue
        path = root.joinpath(*current, part)
        if path.is_symlink():
            links += 1
            if links > MAX_LINKS:
                raise BadImageArchive(f"too many links on the way to {name!r}")
            target = os.readlink(path)
            current = [] if target.startswith("/") else current
            pending.extend(reversed(target.split("/")))
            continue
        if not path.exists():
            path.mkdir(mode=0o755)
        elif not path.is_dir():
            raise BadImageArchive(f"layer puts {name!r} below a file")
        current.append(part)
    return root.joinpath(*current)


def _extract_one(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, path: Path) -> None:
    if path.name == OPAQUE_MARK:
        os.setxattr(path.parent, OPAQUE, b"y")
    elif path.name.startswith(WHITEOUT + WHITEOUT):
        return  # book-keeping of aufs
    elif path.name.startswith(WHITEOUT):
        _clear(path.with_name(path.name.removeprefix(WHITEOUT)), directory=False)
        os.mknod(path.with_name(path.name.removeprefix(WHITEOUT)), stat.S_IFCHR, os.makedev(0, 0))
    elif not member.isdev() or member.isfifo():
        _clear(path, directory=member.isdir())
        _write(archive, member, root, path)


def _clear(path: Path, *, directory: bool) -> None:
    """Make room for a member that replaces an earlier one of that name."""
    if path.is_dir() and not path.is_symlink():
        if not directory:
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, path: Path) -> None:
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        return
    elif member.islnk():
        _hard_link(member, root, path)
        return
    elif member.isfifo():
        os.mkfifo(path)
    else:
        _write_file(archive, member, path)
    os.chown(path, member.uid, member.gid)
    path.chmod(member.mode & 0o7777)
    _set_attributes(member, path)
    if not member.isdir():
        os.utime(path, (member.mtime, member.mtime))


def _hard_link(member: tarfile.TarInfo, root: Path, path: Path) -> None:
    source = _place(root, posixpath.normpath(member.linkname.lstrip("/")))
    if source is None or not os.path.lexists(source):
        raise BadImageArchive(f"layer links {member.name!r} to {member.linkname!r}, which it does not have")
    os.link(source, path, follow_symlinks=False)


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    with path.open("xb") as file:
        if content is not None:
            shutil.copyfileobj(content, file, 1 << 20)


def _set_attributes(member: tarfile.TarInfo, path: Path) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_PAX_ATTRIBUTE)
        if name != key and name.startswith(_KEPT_ATTRIBUTES):
            os.setxattr(path, name, value.encode("utf-8", "surrogateescape"))
