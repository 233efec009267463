"""The first process of a container: keeps a controller running, so that nginx outlives any of its deaths.

nginx belongs to no controller in particular: a new one takes over the nginx that it finds. What a dead one leaves
behind is reaped here. SIGTERM goes to the controller, which ends nginx in order; where there is no controller just
then, `end` does it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 10.0
STABLE_SECONDS = 30.0
"""A controller that ran this long starts again at once when it ends."""
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)

Child = Callable[[socket.socket], int]


class Parent:
    """Runs `child` in a process of its own. The socket that it is given is for one byte once nginx serves, and ends
    when the parent has gone.
    """

    def __init__(self, child: Child, end: Callable[[], None]) -> None:
        self._child, self._end = child, end
        self._pid = 0
        self._channel: socket.socket | None = None
        self._was_ready = False
        self._retry = FIRST_RETRY_SECONDS
        self._began = 0.0
        self._due: float | None = None

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until a controller gives up before nginx has served; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._start()
        while True:
            timeout = 3600.0 if self._due is None else max(0.0, self._due - time.monotonic())
            got = signal.sigtimedwait(_SIGNALS, timeout)
            if got is not None and got.si_signo != signal.SIGCHLD:
                return self._finish()
            status = self._reap()
            if status is not None and os.WIFEXITED(status) and not self._was_ready:
                return os.WEXITSTATUS(status)
            if self._due is not None and time.monotonic() >= self._due:
                self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._due, self._began = None, time.monotonic()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                ours.close()
                if self._channel is not None:
                    self._channel.close()
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                status = self._child(theirs)
            finally:
                os._exit(status)
        theirs.close()
        self._channel = ours

    def _reap(self) -> int | None:
        """The wait status of the controller if it has ended; when to start the next one is then known."""
        ended = None
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._pid:
                    ended = found[1]
        if ended is not None:
            self._note_end(ended)
        return ended

    def _note_end(self, status: int) -> None:
        self._was_ready = self._was_ready or self._heard_of_ready()
        now = time.monotonic()
        if now - self._began >= STABLE_SECONDS:
            self._retry = FIRST_RETRY_SECONDS
        self._pid, self._due = 0, now + self._retry
        if self._was_ready:
            code = os.waitstatus_to_exitcode(status)
            reason = f"signal {-code}" if code < 0 else f"status {code}"
            print(f"the controller ended with {reason}; another follows in {self._retry:.1f} s", file=sys.stderr)
        self._retry = min(self._retry * 2, LAST_RETRY_SECONDS)

    def _heard_of_ready(self) -> bool:
        assert self._channel is not None
        try:
            return bool(self._channel.recv(1))
        except OSError:
            return False

    def _finish(self) -> int:
        """Let the controller end nginx, or do it in its place."""
        status = 1
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
        while self._pid:
            signal.sigwaitinfo((signal.SIGCHLD,))
            ended = self._reap()
            if ended is not None:
                status = os.waitstatus_to_exitcode(ended)
        if status != 0:
            self._end()
        return 0
