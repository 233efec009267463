"""Paths below a directory that others may change meanwhile, resolved by the kernel in one step (openat2(2)).

Checking a path first and using it afterwards loses the race against whoever swaps a directory for a link in between
(CVE-2017-1002101, CVE-2021-25741). What is opened here stays what it is: use the descriptor, or its `path`.
"""

import ctypes
import errno
import os
import stat

from sampan.kernel import libc
from sampan.kernel.descriptors import Descriptor

NO_MAGICLINKS = 0x02
BENEATH = 0x08 | NO_MAGICLINKS
"""Nothing on the way may lead out of the directory, not even to come back: EXDEV."""
IN_ROOT = 0x10 | NO_MAGICLINKS
"""The directory is the root: absolute links and `..` stay within it."""
ATTEMPTS = 64
_OPENAT2 = 437


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in(root: Descriptor, path: str, flags: int, *, resolve: int, mode: int = 0) -> Descriptor:
    """Open `path` below `root`. Raises OSError: EXDEV or ELOOP for what `resolve` forbids."""
    how = _How(flags | os.O_CLOEXEC, mode, resolve)
    relative = os.fsencode(path.lstrip("/") or ".")
    for attempt in range(ATTEMPTS):
        try:
            number = libc.call(
                "syscall",
                ctypes.c_long(_OPENAT2),
                ctypes.c_int(root.fileno()),
                relative,
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
                about=path,
            )
            return Descriptor(number)
        except OSError as error:  # somebody renamed something on the way
            if error.errno != errno.EAGAIN or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def open_or_make(root: Descriptor, path: str, *, resolve: int, mode: int) -> Descriptor:
    """Open `path` below `root` as it is (O_PATH), made as a directory, with those above it, if it is not there."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    current = open_in(root, ".", os.O_PATH | os.O_DIRECTORY, resolve=resolve)
    for number, name in enumerate(parts, 1):
        above, there = current, "/".join(parts[:number])
        with above:
            try:
                current = open_in(root, there, os.O_PATH, resolve=resolve)
            except FileNotFoundError:
                try:
                    os.mkdir(name, mode, dir_fd=above.fileno())
                except FileExistsError:
                    pass  # by somebody else, or a link that leads nowhere, which the next line tells
                current = open_in(root, there, os.O_PATH, resolve=resolve)
    return current


def read_text(root: Descriptor, path: str, *, limit: int) -> str:
    """The text of a regular file, with `root` as its root. Never blocks on what the file is.

    Raises OSError, EINVAL for anything but a regular file, EFBIG for one of more than `limit` bytes.
    """
    with open_in(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=IN_ROOT) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if found.st_size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        with open(file.fileno(), "rb", closefd=False) as content:
            return content.read(limit).decode("utf-8", errors="replace")
