"""A queue of keys to reconcile: each key is in it once, is worked on by one worker at a time, and is retried later
and later while it fails (from 5 ms up to 1000 s per key, like upstream's default controller rate limiter).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from sampan.client.queue_metrics import QueueMetrics
from sampan.machinery.errors import Conflict, StatusError

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

BASE_DELAY = 0.005
MAX_DELAY = 1000.0


class WorkQueue(Generic[K]):
    """Keys wait here until a worker takes them. All methods are called on the event loop."""

    def __init__(self, name: str, metrics: QueueMetrics | None = None) -> None:
        self.name = name
        self._order: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        self._working: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._metrics = metrics or QueueMetrics()
        self._metrics.follow(name, self.__len__)

    def __len__(self) -> int:
        return len(self._order)

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on; if a worker has it now, once more after that."""
        if key in self._dirty:
            return
        self._dirty[key] = time.monotonic()
        self._metrics.adds.add(self.name)
        if key not in self._working:
            self._append(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add `key` later; the earliest of several requests counts."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        pending = self._timers.get(key)
        if pending is not None:
            if pending.when() <= loop.time() + seconds:
                return
            pending.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def add_rate_limited(self, key: K) -> None:
        """Add `key` after a delay that doubles with each failure since `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._metrics.retries.add(self.name)
        self.add_after(key, min(BASE_DELAY * 2.0 ** min(failures, 40), MAX_DELAY))

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Take the next key; `done` must follow."""
        while not self._order:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        key = self._order.popleft()
        now = self._working[key] = time.monotonic()
        self._metrics.waited.observe(now - self._dirty.pop(key), self.name)
        return key

    def done(self, key: K) -> None:
        self._metrics.worked.observe(time.monotonic() - self._working.pop(key), self.name)
        if key in self._dirty:
            self._append(key)

    def shutdown(self) -> None:
        """Cancel all delayed additions."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _append(self, key: K) -> None:
        self._order.append(key)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


async def run_workers(queue: WorkQueue[K], sync: Callable[[K], Awaitable[None]], workers: int = 1) -> None:
    """Work on the queue's keys until cancelled. A failed key is logged and retried, a conflict only retried."""
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(_work(queue, sync))


async def _work(queue: WorkQueue[K], sync: Callable[[K], Awaitable[None]]) -> None:
    while True:
        key = await queue.get()
        try:
            await sync(key)
        except Conflict:
            queue.add_rate_limited(key)
        except (StatusError, OSError) as error:
            log.log(logging.WARNING if queue.failures(key) else logging.INFO, "%s %s: %s", queue.name, key, error)
            queue.add_rate_limited(key)
        except Exception:
            log.exception("%s %s", queue.name, key)
            queue.add_rate_limited(key)
        else:
            queue.forget(key)
        finally:
            queue.done(key)
