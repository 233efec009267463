"""A thread with an event loop of its own that holds all listeners, so that relaying never keeps rules waiting.

The thread is in the network namespace of the thread that makes it. When it is closed its listeners go, but what they
accepted goes on until it ends: the node may be in another mode by then.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from sampan.proxy.backends.userspace.balancer import Balancer
from sampan.proxy.backends.userspace.limits import Limit, Tally, connection_limit
from sampan.proxy.backends.userspace.rules import Listener, ListenerName
from sampan.proxy.backends.userspace.tcp import TCPListener
from sampan.proxy.backends.userspace.udp import UDPListener

log = logging.getLogger(__name__)

T = TypeVar("T")

DRAIN_POLL_SECONDS = 1.0


class Relay:
    """The listeners of one backend, by name. Methods are called from another thread's event loop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._limit: Limit = connection_limit()
        self._listeners: dict[ListenerName, TCPListener | UDPListener] = {}
        self._balancers: dict[ListenerName, Balancer] = {}
        self._tallies: dict[ListenerName, Tally] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="userspace proxy", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """TCP connections that are relayed now."""
        return self._limit.used

    def tallies(self) -> dict[ListenerName, Tally]:
        """What went through each listener."""
        return dict(self._tallies)

    async def open(self, wanted: Mapping[ListenerName, Listener]) -> dict[ListenerName, int]:
        """Make or change listeners; the ports of all. Others stay. Raises OSError if one cannot be made."""
        return await self._inside(lambda: self._open(wanted))

    async def keep(self, wanted: frozenset[ListenerName]) -> None:
        """Close all other listeners."""
        await self._inside(lambda: self._keep(wanted))

    def close(self) -> None:
        """Close all listeners when nobody can be on the way to them any more.

        The thread ends when nothing is relayed any more.
        """
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.call_later, DRAIN_POLL_SECONDS, self._drain)

    async def _inside(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _open(self, wanted: Mapping[ListenerName, Listener]) -> dict[ListenerName, int]:
        for name, listener in wanted.items():
            balancer = self._balancers.setdefault(name, Balancer())
            balancer.update(listener.endpoints, listener.affinity_seconds, listener.serving)
            if name in self._listeners:
                self._listeners[name].endpoints_changed()
            else:
                self._listeners[name] = self._listen(name, listener.protocol, balancer)
        return {name: self._listeners[name].port for name in wanted}

    def _listen(self, name: ListenerName, protocol: str, balancer: Balancer) -> TCPListener | UDPListener:
        tally = self._tallies[name] = Tally()
        if protocol == "UDP":
            return UDPListener(self._loop, self._address, balancer, tally)
        return TCPListener(self._loop, self._address, balancer, tally, self._limit)

    def _keep(self, wanted: frozenset[ListenerName]) -> None:
        for name in self._listeners.keys() - wanted:
            self._listeners.pop(name).close()
            self._balancers.pop(name, None)
            self._tallies.pop(name, None)

    def _drain(self) -> None:
        self._keep(frozenset())
        if self._limit.used:
            self._loop.call_later(DRAIN_POLL_SECONDS, self._drain)
        else:
            self._loop.stop()
