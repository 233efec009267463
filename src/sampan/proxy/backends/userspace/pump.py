"""Moves bytes from one socket to another without waiting and, where the kernel can, without copying them to us.

    source ──splice──► pipe ──splice──► target

What the target does not take yet waits in the pipe, and then nothing more is read: a slow receiver slows its sender.
The end of the stream is passed on as the end of one direction, so that half-closed connections work.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from functools import cache
from typing import Protocol

from sampan.proxy.backends.userspace.limits import Tally

CHUNK = 1 << 16
"""A pipe's usual capacity."""


class Buffer(Protocol):
    """What lies between two sockets. Both moves raise BlockingIOError when they would have to wait, else OSError."""

    @property
    def pending(self) -> int:
        """Bytes that were taken and not yet given."""

    def take(self, source: socket.socket) -> int:
        """Read; 0 is the end of the stream."""

    def give(self, target: socket.socket) -> None:
        """Write some of what is pending."""

    def close(self) -> None: ...


class SplicedBuffer:
    """A pipe: the bytes never come to this process."""

    def __init__(self) -> None:
        self._pending = 0
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def pending(self) -> int:
        return self._pending

    def take(self, source: socket.socket) -> int:
        count = os.splice(source.fileno(), self._writing, CHUNK, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        self._pending += count
        return count

    def give(self, target: socket.socket) -> None:
        self._pending -= os.splice(
            self._reading, target.fileno(), self._pending, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
        )

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class CopiedBuffer:
    """Memory: for kernels without splice between sockets."""

    def __init__(self) -> None:
        self._data = memoryview(b"")

    @property
    def pending(self) -> int:
        return len(self._data)

    def take(self, source: socket.socket) -> int:
        self._data = memoryview(source.recv(CHUNK))
        return len(self._data)

    def give(self, target: socket.socket) -> None:
        self._data = self._data[target.send(self._data) :]

    def close(self) -> None:
        self._data = memoryview(b"")


@cache
def can_splice() -> bool:
    """Whether this kernel splices from a socket to a socket."""
    first, second = socket.socketpair()
    with first, second:
        try:
            buffer = SplicedBuffer()
        except OSError:
            return False
        try:
            first.send(b"?")
            buffer.take(second)
            buffer.give(second)
        except (OSError, AttributeError):
            return False
        finally:
            buffer.close()
        return first.recv(1) == b"?"


def make_buffer() -> Buffer:
    """Raises OSError when the process may open no more files."""
    return SplicedBuffer() if can_splice() else CopiedBuffer()


class Pump:
    """One direction of a connection. `ended` is called once: with None at the stream's end, or with what went wrong."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        target: socket.socket,
        tally: Tally,
        ended: Callable[[OSError | None], None],
    ) -> None:
        self._loop = loop
        self._source = source
        self._target = target
        self._tally = tally
        self._ended = ended
        self._buffer = make_buffer()
        self._closed = False
        loop.add_reader(source, self._readable)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._source)
            self._loop.remove_writer(self._target)
            self._buffer.close()

    def _readable(self) -> None:
        try:
            if taken := self._buffer.take(self._source):
                self._tally.bytes += taken
                self._flush()
            else:
                self._finish()
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)

    def _flush(self) -> None:
        """Give until all is given or the target is full."""
        try:
            while self._buffer.pending:
                self._buffer.give(self._target)
        except BlockingIOError:
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._target, self._writable)

    def _writable(self) -> None:
        try:
            while self._buffer.pending:
                self._buffer.give(self._target)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        self._loop.remove_writer(self._target)
        self._loop.add_reader(self._source, self._readable)

    def _finish(self) -> None:
        self._target.shutdown(socket.SHUT_WR)
        self._end(None)

    def _end(self, error: OSError | None) -> None:
        self.close()
        self._ended(error)
