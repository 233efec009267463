"""The box's first process: starts the components, starts them again when they end, reaps orphans.

A plain select loop without asyncio, because it forks: every component is a child of this process and shares the
modules it has imported; those of later ones while the first start. It decides nothing; what happens is told to the
supervisor over the channel (`messages.py`). When it dies, the kernel ends everything else in the box; when the
supervisor dies, it dies.
"""

from __future__ import annotations

import gc
import heapq
import importlib
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sampan.cluster import lan, view
from sampan.cluster.components import Component, Context
from sampan.cluster.messages import Channel, Exited, Message, Note, Ready, SocketMade, SocketWanted, Started
from sampan.cluster.process import become
from sampan.kernel import netns

REPORT = 4096
"""Bytes that are read at once, and that a line of a report may have."""
FIRST_RETRY = 0.1
LAST_RETRY = 10.0
STABLE = 30.0
"""A component that ran this long starts again without delay when it ends."""


@dataclass(slots=True)
class _Child:
    """A running component: its report pipe while that is `heard`, what of a line has been read, when it began."""

    component: Component
    report: int
    began: float
    heard: bool = True
    partial: bytes = b""


@dataclass(slots=True)
class _Fate:
    """What is remembered of a component across its processes."""

    retry: float = FIRST_RETRY
    started: bool = False
    was_ready: bool = False


@dataclass(order=True, slots=True)
class _Timer:
    due: float
    component: Component = field(compare=False)


class Init:
    """Runs until it is killed or the supervisor is gone."""

    def __init__(self, components: Sequence[Component], context: Context, channel: Channel) -> None:
        self._components = components
        self._context = context
        self._channel = channel
        self._children: dict[int, _Child] = {}
        self._fates = {component.name: _Fate() for component in components}
        self._timers: list[_Timer] = []
        self._to_import = deque(dict.fromkeys(component.module for component in components))
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._woken = socket.socketpair()

    def run(self) -> None:
        self._listen()
        self._start_possible()
        while True:
            for key, _ in self._selector.select(self._patience()):
                react: Callable[[], object] = key.data
                react()
            self._run_timers()
            if self._to_import:
                importlib.import_module(self._to_import.popleft())

    def _patience(self) -> float | None:
        """How long there is nothing to do but wait; None: for ever."""
        if self._to_import:
            return 0.0
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else None

    def _listen(self) -> None:
        for end in (self._wakeup, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)
        self._selector.register(self._channel, selectors.EVENT_READ, self._obey)

    def _start_possible(self) -> None:
        """Starts every component that has not been started and whose predecessors have all been ready."""
        for component in self._components:
            fate = self._fates[component.name]
            if not fate.started and all(self._fates[name].was_ready for name in component.after):
                fate.started = True
                self._start(component)

    def _start(self, component: Component) -> None:
        importlib.import_module(component.module)
        gc.freeze()  # or the collector of each child would touch, and so copy, all that they share
        reading, writing = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._leave_to_child()
            become(component, self._context, writing)
        os.close(writing)
        os.set_blocking(reading, False)
        child = self._children[pid] = _Child(component, reading, time.monotonic())
        self._selector.register(reading, selectors.EVENT_READ, lambda: self._hear(child))
        self._tell(Started(component.name, pid))

    def _leave_to_child(self) -> None:
        """In a new child: closes what belongs to the parent."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._channel.close()
        self._wakeup.close()
        self._woken.close()
        for child in self._children.values():
            if child.heard:
                os.close(child.report)

    def _hear(self, child: _Child) -> bool:
        """Reads some of a component's report; False when there is nothing more for now."""
        if not child.heard:  # it was still to be heard when this turn of the loop began
            return False
        try:
            data = os.read(child.report, REPORT)
        except BlockingIOError:
            return False
        if not data:
            self._stop_hearing(child)
            return False
        *lines, rest = (child.partial + data).split(b"\n")
        child.partial = rest[:REPORT]
        for line in lines:
            if line:
                self._tell(Note(child.component.name, line.decode(errors="replace")))
            else:
                self._fates[child.component.name].was_ready = True
                self._tell(Ready(child.component.name))
                self._start_possible()
        return True

    def _reap(self) -> None:
        self._woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._ended(self._children.pop(pid), os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        while self._hear(child):
            pass
        self._stop_hearing(child)
        if (child.component.once or child.component.optional) and status == 0:
            self._tell(Exited(child.component.name, status, None))
            return
        fate = self._fates[child.component.name]
        if time.monotonic() - child.began > STABLE:
            fate.retry = FIRST_RETRY
        heapq.heappush(self._timers, _Timer(time.monotonic() + fate.retry, child.component))
        self._tell(Exited(child.component.name, status, fate.retry))
        fate.retry = min(fate.retry * 2, LAST_RETRY)

    def _stop_hearing(self, child: _Child) -> None:
        if child.heard:
            child.heard = False
            self._selector.unregister(child.report)
            os.close(child.report)

    def _run_timers(self) -> None:
        while self._timers and self._timers[0].due <= time.monotonic():
            self._start(heapq.heappop(self._timers).component)

    def _obey(self) -> None:
        try:
            message, _ = self._channel.receive()
        except (EOFError, ConnectionError):
            os._exit(0)
        if isinstance(message, SocketWanted):
            self._make_socket(message)

    def _make_socket(self, wanted: SocketWanted) -> None:
        kind = socket.SOCK_DGRAM if wanted.datagram else socket.SOCK_STREAM

        def make() -> socket.socket:
            return socket.socket(socket.AF_INET, kind)

        try:
            made = netns.run_in(lan.namespace(view.RUN, wanted.node), make) if wanted.node else make()
        except OSError as error:
            self._tell(SocketMade(wanted.number, str(error)))
            return
        self._tell(SocketMade(wanted.number), made.fileno())
        made.close()

    def _tell(self, message: Message, descriptor: int | None = None) -> None:
        try:
            self._channel.send(message, descriptor)
        except ConnectionError:
            os._exit(0)
