"""Send a container's log as it was asked for, and go on sending while it grows if that was asked for too."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sampan.kernel import inotify
from sampan.node.logs import reader
from sampan.node.logs.reader import LogOptions

BLOCK = 256 * 1024
LOOK_AGAIN_SECONDS = 1.0


async def read(path: Path, options: LogOptions, running: Callable[[], bool] | None = None) -> AsyncIterator[bytes]:
    """The wanted text in blocks. With `running`, follow until it says no and everything has been sent."""
    left = options.limit_bytes
    async for text in _blocks(path, options, running):
        if left is None:
            yield text
            continue
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return


async def _blocks(path: Path, options: LogOptions, running: Callable[[], bool] | None) -> AsyncIterator[bytes]:
    if running is None:
        source = _Source(path, options)
        while text := source.read():
            yield text
        source.close()
        return
    growth = _Growth(path.parent)
    source = _Source(path, options)
    try:
        while True:
            alive = running()
            while text := source.read():
                yield text
            if not alive and not source.rotated():
                return
            if alive:
                await growth.wait()
    finally:
        source.close()
        growth.close()


class _Source:
    """A log file being read from where the options begin."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self._path = path
        self._options = options
        self._rest = b""
        self._file = path.open("rb")
        if options.tail_lines is not None:
            self._file.seek(reader.tail_position(path, options.tail_lines))

    def read(self) -> bytes:
        """The next rendered text; b"" when there is none for now."""
        while True:
            block = self._file.read(BLOCK)
            if not block and not self._switch():
                return b""
            *lines, self._rest = (self._rest + block).split(b"\n")
            entries = reader.selected(lines, self._options)
            text = b"".join(entry.render(self._options.timestamps) for entry in entries)
            if text:
                return text

    def rotated(self) -> bool:
        """Whether the path leads to another file by now."""
        try:
            return self._path.stat().st_ino != _inode(self._file.fileno())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self._file.close()

    def _switch(self) -> bool:
        """After the end of a rotated file, go on with its successor."""
        if not self.rotated():
            return False
        self._file.close()
        self._file = self._path.open("rb")
        self._rest = b""
        return True


class _Growth:
    """Wakes up when a file of a directory was written to, and now and then in any case."""

    def __init__(self, directory: Path) -> None:
        self._watch = inotify.Watch(directory, inotify.IN_MODIFY | inotify.COMPLETED)
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def close(self) -> None:
        self._task.cancel()

    async def _listen(self) -> None:
        try:
            async for _ in self._watch.names():
                self._changed.set()
        finally:
            self._watch.close()


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino
