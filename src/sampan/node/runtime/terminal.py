"""The master side of a terminal as asyncio streams.

Loops' own pipe transports do not fit: the one for writing also reads, to notice the other end closing, and would eat
what the terminal says; and a terminal tells its end as an error (EIO).
"""

import asyncio
import errno
import os

from sampan.kernel.descriptors import Descriptor
from sampan.node.runtime import conmon

HIGH_WATER = 65536


class TerminalTransport(asyncio.Transport):
    """Reads feed `reader`; writes are queued until the terminal takes them. Owns the descriptor."""

    def __init__(self, master: Descriptor, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._master = master
        self.protocol = asyncio.streams.FlowControlMixin()
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._queue = bytearray()
        self._paused = False
        os.set_blocking(master.fileno(), False)
        master.watch(self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._master.fileno(), HIGH_WATER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._reader.feed_data(data)
        else:
            self._master.unwatch()
            self._reader.feed_eof()

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size."""
        conmon.set_window(self._master.fileno(), width, height)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._master.closed:
            return
        if not self._queue:
            self._loop.add_writer(self._master.fileno(), self._writable)
        self._queue += data
        if len(self._queue) > HIGH_WATER and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def _writable(self) -> None:
        try:
            del self._queue[: os.write(self._master.fileno(), self._queue)]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._queue.clear()
        if not self._queue:
            self._loop.remove_writer(self._master.fileno())
            if self._paused:
                self._paused = False
                self.protocol.resume_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """End the input as a user does, with Ctrl-D."""
        self.write(b"\x04")

    def is_closing(self) -> bool:
        return self._master.closed

    def close(self) -> None:
        if not self._master.closed:
            self._loop.remove_writer(self._master.fileno())
            self._master.close()
            self._reader.feed_eof()

    def writer(self) -> asyncio.StreamWriter:
        """A stream over this transport's writing side."""
        return asyncio.StreamWriter(self, self.protocol, None, self._loop)
