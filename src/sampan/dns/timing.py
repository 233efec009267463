"""How long answers from the responder's table took, measured by the batch, and shared out among the zones they are of.

Looking at the clock for each of them would cost as much as the answer.
"""

from bisect import bisect_left
from collections.abc import Mapping

from sampan.dns.metrics import SECONDS
from sampan.http.metrics import Histogram


class Batches:
    """Times of batches by bucket, and how many answers each zone has given that have no time yet."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sums = [0.0] * (len(SECONDS) + 1)
        self._owed: dict[str, int] = {}

    def add(self, seconds: float, times: int) -> None:
        """So many answers took so long together."""
        at = bisect_left(SECONDS, seconds / times)
        self._counts[at] += times
        self._sums[at] += seconds

    def settle(self, answered: Mapping[str, int], histogram: Histogram, server: str) -> None:
        """Give each zone its share of the times, by how many answers were its own; what is not even yet waits."""
        for zone, times in answered.items():
            self._owed[zone] = self._owed.get(zone, 0) + times
        for at, count in enumerate(self._counts):
            given = min(count, sum(self._owed.values()))
            if not given:
                continue
            mean = self._sums[at] / count
            for zone, share in self._shares(given).items():
                histogram.observe(mean, server, zone, "", times=share)
                self._owed[zone] -= share
            self._counts[at] -= given
            self._sums[at] -= mean * given
        self._owed = {zone: times for zone, times in self._owed.items() if times}

    def _shares(self, count: int) -> dict[str, int]:
        """So many, in proportion to what is owed; what remains of a division goes to those owed most."""
        total = sum(self._owed.values())
        shares = {zone: count * owed // total for zone, owed in self._owed.items()}
        left = count - sum(shares.values())
        for zone in sorted(shares, key=lambda zone: shares[zone] - self._owed[zone])[:left]:
            shares[zone] += 1
        return {zone: share for zone, share in shares.items() if share}
