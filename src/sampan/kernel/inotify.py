"""Changes in directories, told by the kernel (inotify(7)) instead of by looking again and again."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.kernel import libc

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
COMPLETED = IN_CLOSE_WRITE | IN_MOVED_TO
_CLOEXEC_NONBLOCK = os.O_CLOEXEC | os.O_NONBLOCK
_EVENT = struct.Struct("=iIII")


class Watch:
    """Names of files in one directory to which something happened; by default, that they were completely written into
    it, or moved into it."""

    def __init__(self, directory: Path, events: int = COMPLETED) -> None:
        self._fd = libc.call("inotify_init1", _CLOEXEC_NONBLOCK)
        try:
            libc.call(
                "inotify_add_watch",
                self._fd,
                os.fsencode(directory),
                events,
                about=str(directory),
            )
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)

    async def names(self) -> AsyncIterator[str]:
        """Give names for ever; one may come twice."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._fd, ready.set)
        try:
            while True:
                await ready.wait()
                ready.clear()
                for name in self._read():
                    yield name
        finally:
            loop.remove_reader(self._fd)

    def _read(self) -> list[str]:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return []
        names = []
        offset = 0
        while offset < len(data):
            _watch, _mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            names.append(os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
            offset += length
        return names
