"""A pool of numbered places, each given out at most once, by choice or at random.

The lower part is a static band: automatic choices use it only when the rest is taken, so that addresses which people
write into manifests (such as the cluster DNS's) are seldom gone. The allocators of addresses and ports are pools with
names for the places (`allocators.py`). All methods are synchronous: on one event loop, each is atomic.
"""

import secrets
from itertools import chain


class PoolFull(Exception):
    """No place is left."""


class Pool:
    """Places 0 to size - 1, of which the first `static` are spared."""

    def __init__(self, size: int, static: int = 0) -> None:
        self.size = max(size, 0)
        self._static = min(static, self.size)
        self._taken: set[int] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, place: int) -> bool:
        return place in self._taken

    def take(self, place: int) -> bool:
        """Take one place; false when it is taken already."""
        if place in self._taken:
            return False
        self._taken.add(place)
        return True

    def take_any(self) -> int:
        """Take a free place at random, from the dynamic band while it lasts. Raises PoolFull."""
        place = self._find(self._static, self.size)
        if place is None:
            place = self._find(0, self._static)
        if place is None:
            raise PoolFull
        self._taken.add(place)
        return place

    def release(self, place: int) -> None:
        """Give a place back; one that is free already stays free."""
        self._taken.discard(place)

    def _find(self, low: int, high: int) -> int | None:
        """A free place from a random start on, wrapping around."""
        if low >= high:
            return None
        start = low + secrets.randbelow(high - low)
        places = chain(range(start, high), range(low, start))
        return next((place for place in places if place not in self._taken), None)


def static_band(size: int, least: int, most: int, step: int) -> int:
    """How many places to spare: one in `step`, at most `most`, none in a pool too small for `least` (KEP-3070)."""
    share = size // step
    return 0 if share < least else min(share, most)
