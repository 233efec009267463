"""openat2(2): opens paths below a directory whose content others may change, resolved by the kernel in one step.

Checking a path before using it is a race: a directory may be replaced by a symbolic link in between (CVE-2017-1002101,
CVE-2021-25741). A descriptor opened here keeps referring to the same file: use it, or its `path`.
"""

import ctypes
import errno
import os
import stat

from sampan.kernel import libc
from sampan.kernel.descriptors import Descriptor

NO_MAGICLINKS = 0x02
BENEATH = 0x08 | NO_MAGICLINKS
"""RESOLVE_BENEATH: no component may leave the directory, even if the path comes back. EXDEV otherwise."""
IN_ROOT = 0x10 | NO_MAGICLINKS
"""RESOLVE_IN_ROOT: the directory acts as the root for absolute links and `..`."""
ATTEMPTS = 64
_OPENAT2 = 437


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in(root: Descriptor, path: str, flags: int, *, resolve: int, mode: int = 0) -> Descriptor:
    """Open `path` below `root`. Raises OSError: EXDEV or ELOOP for what `resolve` forbids."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
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
        except OSError as error:  # EAGAIN: something was renamed during the resolution
            if error.errno != errno.EAGAIN or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def open_or_make(root: Descriptor, path: str, *, resolve: int, mode: int) -> Descriptor:
    """Open `path` below `root` with O_PATH; make it and missing parents as directories if it does not exist."""
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
                    pass  # made concurrently, or a dangling link, for which the next line raises
                current = open_in(root, there, os.O_PATH, resolve=resolve)
    return current


def read_text(root: Descriptor, path: str, *, limit: int) -> str:
    """The text of a regular file, resolved within `root`. Does not block on FIFOs and devices.

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
