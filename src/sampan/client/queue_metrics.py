"""What work queues tell about themselves, under the names that client-go gives it."""

from collections.abc import Callable

from sampan.http.metrics import Counter, Gauge, Histogram, Registry

_BUCKETS = tuple(10.0**power for power in range(-8, 2))
_LABELS = ("name",)


class QueueMetrics:
    """The figures of all queues of one component, told apart by the queue's name."""

    def __init__(self, registry: Registry | None = None) -> None:
        add = (registry or Registry()).add
        self._depth = add(Gauge("workqueue_depth", "Current depth of workqueue", _LABELS))
        self.adds = add(Counter("workqueue_adds_total", "Total number of adds handled by workqueue", _LABELS))
        self.waited = add(
            Histogram(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested.",
                _LABELS,
                _BUCKETS,
            )
        )
        self.worked = add(
            Histogram(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes.",
                _LABELS,
                _BUCKETS,
            )
        )
        self.retries = add(Counter("workqueue_retries_total", "Total number of retries handled by workqueue", _LABELS))

    def follow(self, name: str, depth: Callable[[], float]) -> None:
        """Show a queue; `depth` says how many keys wait in it."""
        self._depth.read(depth, name)
        self.adds.add(name, by=0)
        self.retries.add(name, by=0)
