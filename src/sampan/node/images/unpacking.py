"""Unpacks one layer into the directory that it is started with, which becomes its root first. A program of its own:

    python -m sampan.node.images.unpacking DIRECTORY < LAYER

It prints the digest of the archive, or ends with status 1 and a line that says what is wrong with it. Names with `..`
are refused, links are resolved within the layer, device nodes are left out, as containers get their own /dev, and
whiteouts become what overlayfs expects. What an archive may cost is bounded. Imports little: it starts for each layer.
"""

import gzip
import hashlib
import io
import os
import posixpath
import resource
import shutil
import stat
import sys
import tarfile
from pathlib import Path
from typing import Protocol

WHITEOUT = ".wh."
OPAQUE_MARK = ".wh..wh..opq"
OPAQUE = "trusted.overlay.opaque"
MAX_LINKS = 40
MAX_MEMBERS = 1_000_000
MAX_BYTES = 64 << 30
"""The largest sum of files' sizes, as the archive states them."""
MAX_MEMORY = 2 << 30
"""Of the address space: tarfile keeps extended headers in memory, however long they are said to be."""
_KEPT_ATTRIBUTES = ("security.capability", "user.")
_PAX_ATTRIBUTE = "SCHILY.xattr."


class Refused(Exception):
    """The archive is damaged, or wants what a layer may not have."""


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


def decompressed(source: io.BufferedReader) -> Readable:
    """The archive within a layer blob, by its first bytes. Raises Refused for zstd, which is not read yet."""
    magic = source.peek(4)[:4]
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=source)
    if magic == b"\x28\xb5\x2f\xfd":
        raise Refused("layer is compressed with zstd, which is not supported; push the image with gzip layers")
    return source


def _extract(reader: HashingReader, root: Path) -> None:
    directories: list[tuple[Path, tarfile.TarInfo]] = []
    count = size = 0
    with tarfile.open(fileobj=reader, mode="r|", errorlevel=2) as archive:  # type: ignore[call-overload]
        for member in archive:
            count, size = count + 1, size + (member.size if member.isreg() else 0)
            if count > MAX_MEMBERS or size > MAX_BYTES:
                raise Refused(f"layer has more than {MAX_MEMBERS} members or {MAX_BYTES} bytes")
            path = _place(root, member.name)
            if path is not None:
                _extract_one(archive, member, root, path)
                if member.isdir():
                    directories.append((path, member))
    for path, member in reversed(directories):
        if stat.S_ISDIR(_mode(path)):  # else something replaced it later
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _place(root: Path, name: str) -> Path | None:
    """Where a member goes; None for the root itself. Directories on the way are followed within the root only."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"layer tries to leave its directory: {name!r}")
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
                raise Refused(f"too many links on the way to {name!r}")
            target = os.readlink(path)
            current = [] if target.startswith("/") else current
            pending.extend(reversed(target.split("/")))
            continue
        if not path.exists():
            path.mkdir(mode=0o755)
        elif not path.is_dir():
            raise Refused(f"layer puts {name!r} below a file")
        current.append(part)
    return root.joinpath(*current)


def _extract_one(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, path: Path) -> None:
    if path.name == OPAQUE_MARK:
        os.setxattr(path.parent, OPAQUE, b"y")
    elif path.name.startswith(WHITEOUT + WHITEOUT):
        return  # book-keeping of aufs
    elif path.name.startswith(WHITEOUT):
        name = path.name.removeprefix(WHITEOUT)
        if name in ("", ".", ".."):
            raise Refused(f"invalid whiteout name: {member.name!r}")
        _clear(path.with_name(name), directory=False)
        os.mknod(path.with_name(name), stat.S_IFCHR, os.makedev(0, 0))
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
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _hard_link(member: tarfile.TarInfo, root: Path, path: Path) -> None:
    source = _place(root, posixpath.normpath(member.linkname.lstrip("/")))
    if source is None or not os.path.lexists(source):
        raise Refused(f"layer links {member.name!r} to {member.linkname!r}, which it does not have")
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


def _confine(directory: str) -> None:
    """From here on `directory` is all that there is, and memory is bounded."""
    Path("/proc/self/oom_score_adj").write_text("500")  # not as its starter, which is to be spared
    os.umask(0)
    os.chroot(directory)
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(directory: str) -> int:
    """Unpack standard input; the exit status."""
    _confine(directory)
    try:
        with open(0, "rb", closefd=False) as source:
            reader = HashingReader(decompressed(source))
            _extract(reader, Path("/"))
            print(reader.drain())
    except Exception as error:
        print(str(error) or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
