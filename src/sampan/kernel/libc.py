"""System calls that Python 3.11 does not offer, through libc, raising OSError as the os module would."""

import ctypes
import os
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def call(function: str, *arguments: Any, about: str = "") -> int:
    """Call a libc function that gives -1 and errno on failure. `about` becomes the error's file name."""
    result: int = getattr(_libc, function)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about or function)
    return result


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (unshare(2))."""
    call("unshare", flags)


def setns(fd: int, kind: int = 0) -> None:
    """Move the calling thread into the namespace that `fd` refers to (setns(2))."""
    call("setns", fd, kind)


def sethostname(name: str) -> None:
    """Set the host name of the calling thread's UTS namespace."""
    encoded = name.encode()
    call("sethostname", encoded, len(encoded), about=name)


def prctl(option: int, value: int) -> None:
    """Change an attribute of the calling process (prctl(2)) that takes one number."""
    unsigned = ctypes.c_ulong
    call("prctl", option, unsigned(value), unsigned(0), unsigned(0), unsigned(0))
