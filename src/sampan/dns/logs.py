"""The log of a server that must not wait for whoever reads it.

A pipe whose reader has stopped is full after 64 KiB, and then a write to it never returns. So lines are written by a
thread of their own; while that is stuck, up to `MOST_WAITING` lines wait, and more are given up and counted. When the
reader goes on, the log says how many are missing.
"""

import logging
import os
import threading
from collections import deque

MOST_WAITING = 4096
CLOSE_SECONDS = 1.0
_BATCH_BYTES = 1 << 16


class LogWriter(logging.Handler):
    """Takes records at any time and writes them to a file descriptor when it can."""

    def __init__(self, file: int = 2, room: int = MOST_WAITING) -> None:
        super().__init__()
        self.lost = 0
        """How many lines were given up so far."""
        self._file, self._room = file, room
        self._waiting: deque[bytes] = deque()
        self._told = 0
        self._ended = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._waiting) >= self._room:
            self.lost += 1
            return
        try:
            line = f"{self.format(record)}\n"
        except Exception:  # as logging's own handlers do: a line that cannot be made harms nobody
            self.lost += 1
            return
        self._waiting.append(line.encode(errors="replace"))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Let what waits be written, but not for longer than a moment."""
        self._ended = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)
        super().close()

    def _write_on(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while lines := self._take():
                self._write(b"".join(lines), len(lines))
            if self._ended:
                return

    def _take(self) -> list[bytes]:
        """Some lines, and behind them how many are missing."""
        lines: list[bytes] = []
        size = 0
        while self._waiting and size < _BATCH_BYTES:
            lines.append(self._waiting.popleft())
            size += len(lines[-1])
        if lines and (missing := self.lost - self._told):
            self._told += missing
            lines.append(f"[WARNING] {missing} lines of this log were dropped: nobody took them in time\n".encode())
        return lines

    def _write(self, data: bytes, lines: int) -> None:
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.lost += lines
            self._told = self.lost


def install(format: str) -> LogWriter:
    """Let everything that is logged go through one, from now on."""
    writer = LogWriter()
    writer.setFormatter(logging.Formatter(format))
    logging.basicConfig(level=logging.INFO, handlers=[writer])
    return writer
