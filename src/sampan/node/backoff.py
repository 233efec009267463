"""Exponential back-off for containers that keep ending and images that cannot be pulled.

The delay starts at 10 s, doubles at every further failure up to 5 minutes, and is forgotten after twice that without
one. Values are frozen: `plan.py` and `containers.py` keep the newest.
"""

from dataclasses import dataclass

INITIAL_SECONDS = 10.0
MAX_SECONDS = 300.0
FORGET_AFTER_SECONDS = 2 * MAX_SECONDS


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait after the next failure. The zero value means: not at all."""

    delay: float = 0.0
    updated: float = 0.0

    def expired(self, event: float) -> bool:
        return event - self.updated > FORGET_AFTER_SECONDS

    def retry_at(self, event: float) -> float:
        """When to try again after a failure at `event` (epoch seconds)."""
        return event if self.expired(event) else event + self.delay

    def grown(self, event: float, now: float) -> "BackOff":
        """The back-off after one more attempt, which follows a failure at `event`."""
        fresh = not self.delay or self.expired(event)
        return BackOff(INITIAL_SECONDS if fresh else min(self.delay * 2, MAX_SECONDS), now)


NO_BACKOFF = BackOff()


def go_duration(seconds: float) -> str:
    """Whole seconds as Go prints them: `10s`, `1m20s`, `5m0s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
