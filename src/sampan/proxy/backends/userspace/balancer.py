"""Which endpoint is next: each in turn, and a client with affinity where it was before. Pure but for the clock."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from sampan.proxy.state import Endpoint

MAX_CLIENTS = 65535
"""How many clients' choices are remembered; beyond that, the one that has not come for longest is forgotten."""


class Balancer:
    """The choice among one listener's endpoints."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._endpoints: tuple[Endpoint, ...] = ()
        self._serving: frozenset[tuple[str, int]] = frozenset()
        self._affinity_seconds = 0
        self._next = 0
        self._clients: OrderedDict[str, tuple[Endpoint, float]] = OrderedDict()

    def update(
        self, endpoints: Sequence[Endpoint], affinity_seconds: int, serving: frozenset[tuple[str, int]] = frozenset()
    ) -> None:
        """Choose among these from now on; what clients chose stays as far as it is still there.

        `serving` are addresses that flows under way may keep, although new ones do not go there.
        """
        self._endpoints = tuple(endpoints)
        self._serving = serving
        self._affinity_seconds = affinity_seconds
        known = set(endpoints) if affinity_seconds else set()
        for client in [client for client, (chosen, _) in self._clients.items() if chosen not in known]:
            del self._clients[client]

    def serves(self, endpoint: Endpoint) -> bool:
        return endpoint in self._endpoints or (endpoint.ip, endpoint.port) in self._serving

    def pick(self, client: str, avoided: Collection[Endpoint] = ()) -> Endpoint | None:
        """The endpoint for a client's next connection; none of those that were just tried in vain.

        None if nothing is left.
        """
        if self._affinity_seconds and not avoided:
            chosen, until = self._clients.get(client, (None, 0.0))
            if chosen is not None and until > self._clock():
                self._remember(client, chosen)
                return chosen
        for _ in self._endpoints:
            chosen = self._endpoints[self._next % len(self._endpoints)]
            self._next = (self._next + 1) % len(self._endpoints)
            if chosen not in avoided:
                if self._affinity_seconds:
                    self._remember(client, chosen)
                return chosen
        return None

    def _remember(self, client: str, chosen: Endpoint) -> None:
        self._clients[client] = (chosen, self._clock() + self._affinity_seconds)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
