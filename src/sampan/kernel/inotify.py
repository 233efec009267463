"""Changes in directories, told by the kernel (inotify(7)) instead of by looking again and again."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.kernel import libc
from sampan.kernel.descriptors import Descriptor

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_Q_OVERFLOW = 0x4000
OVERFLOW = ""
"""In place of a name: the kernel's queue was full, and names were lost."""
COMPLETED = IN_CLOSE_WRITE | IN_MOVED_TO
_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
_EVENT = struct.Struct("=iIII")


class Watch:
    """Names of files in one directory to which something happened; by default, that they were completely written into
    it, or moved into it."""

    def __init__(self, directory: Path, events: int = COMPLETED) -> None:
        self._queue = Descriptor(libc.call("inotify_init1", _CLOEXEC_NONBLOCK))
        try:
            place = os.fsencode(directory)
            libc.call("inotify_add_watch", self._queue.fileno(), place, events, about=str(directory))
        except OSError:
            self._queue.close()
            raise

    def close(self) -> None:
        """Stop watching, also while `names` is being waited for."""
        self._queue.close()

    async def names(self) -> AsyncIterator[str]:
        """Give names for ever; one may come twice. OVERFLOW says that some were lost: look at the whole directory."""
        ready = asyncio.Event()
        self._queue.watch(ready.set)
        while True:
            await ready.wait()
            ready.clear()
            for name in self._read():
                yield name

    def _read(self) -> list[str]:
        try:
            data = os.read(self._queue.fileno(), 65536)
        except BlockingIOError:
            return []
        names = []
        offset = 0
        while offset < len(data):
            _watch, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            names.append(OVERFLOW if mask & IN_Q_OVERFLOW else name)
            offset += length
        return names
