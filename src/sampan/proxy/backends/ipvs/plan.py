"""From what virtual servers are and should be to commands for the kernel. Pure.

A real server that should go is not torn away from its connections: in TCP its weight becomes 0, so that it gets no new
ones, and it is removed when it has none left, or after a time (`GRACE_SECONDS`, upstream's). UDP and SCTP have no end
to wait for: their real servers go at once, and the kernel sends the next packet elsewhere.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sampan.kernel.ipvs import Command, Key, Real, RealState, Service, Verb
from sampan.proxy.backends.ipvs.pieces import VirtualServer

GRACE_SECONDS = 900.0


class Present(NamedTuple):
    """A virtual server in the kernel, with its real servers' weights."""

    service: Service
    weights: dict[Real, int]


class Servers:
    """What the kernel holds of ours, as far as we know: our own commands are taken as done when they are given out."""

    def __init__(self, found: Mapping[Key, Present]) -> None:
        self._present = dict(found)
        self._draining: dict[Key, dict[Real, float]] = {}

    @property
    def keys(self) -> set[Key]:
        return set(self._present)

    @property
    def draining(self) -> list[Key]:
        """Virtual servers that have real servers waiting for the end of their connections."""
        return list(self._draining)

    def bring(self, wanted: Mapping[Key, VirtualServer | None], now: float) -> list[Command]:
        """The commands that make virtual servers what is wanted (None: absent)."""
        commands: list[Command] = []
        for key in sorted(wanted):
            server, found = wanted[key], self._present.get(key)
            if server is None:
                commands += self._remove(key)
            elif found is None:
                commands += self._add(key, server)
            else:
                commands += self._change(key, found, server, now)
        return commands

    def ended(self, key: Key, states: Mapping[Real, RealState], now: float) -> list[Command]:
        """The commands that remove draining real servers which have no connections left or have had their time."""
        waiting, weights = self._draining.get(key, {}), self._present[key].weights
        over = [
            real
            for real, deadline in waiting.items()
            if real not in states or deadline <= now or not (states[real].active or states[real].inactive)
        ]
        for real in over:
            del waiting[real], weights[real]
        if not waiting:
            self._draining.pop(key, None)
        return [Command(Verb.DELETE_REAL, key, real=real) for real in over if real in states]

    def _remove(self, key: Key) -> Iterator[Command]:
        self._draining.pop(key, None)
        if self._present.pop(key, None):
            yield Command(Verb.DELETE_SERVICE, key)

    def _add(self, key: Key, server: VirtualServer) -> Iterator[Command]:
        self._present[key] = Present(server.service, dict.fromkeys(server.reals, 1))
        yield Command(Verb.ADD_SERVICE, key, server.service)
        for real in sorted(server.reals):
            yield Command(Verb.ADD_REAL, key, real=real)

    def _change(self, key: Key, found: Present, server: VirtualServer, now: float) -> Iterator[Command]:
        weights = found.weights
        if found.service != server.service:
            self._present[key] = Present(server.service, weights)
            yield Command(Verb.EDIT_SERVICE, key, server.service)
        for real in sorted(server.reals):
            if weights.get(real) != 1:
                yield Command(Verb.EDIT_REAL if real in weights else Verb.ADD_REAL, key, real=real)
            weights[real] = 1
        waiting = self._draining.setdefault(key, {})
        for real in server.reals:
            waiting.pop(real, None)
        for real in sorted(set(weights) - server.reals):
            yield from self._retire(key, real, weights, waiting, now)
        if not waiting:
            del self._draining[key]

    @staticmethod
    def _retire(
        key: Key, real: Real, weights: dict[Real, int], waiting: dict[Real, float], now: float
    ) -> Iterator[Command]:
        if key.protocol != "TCP":
            del weights[real]
            yield Command(Verb.DELETE_REAL, key, real=real)
            return
        waiting.setdefault(real, now + GRACE_SECONDS)
        if weights[real]:
            weights[real] = 0
            yield Command(Verb.EDIT_REAL, key, real=real, weight=0)
