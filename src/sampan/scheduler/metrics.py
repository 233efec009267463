"""What the scheduler tells about itself, under upstream's names."""

from sampan.http.metrics import Counter, Gauge, Histogram, Registry
from sampan.scheduler.queue import SchedulingQueue

SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"

_ATTEMPT_SECONDS = tuple(0.001 * 2.0**power for power in range(15))
_VICTIMS = tuple(2.0**power for power in range(7))


class Metrics:
    """All figures of one scheduler."""

    def __init__(self, profile: str, queue: SchedulingQueue) -> None:
        self.registry = Registry()
        self._profile = profile
        add, labels = self.registry.add, ("profile", "result")
        self._attempts = add(
            Counter("scheduler_schedule_attempts_total", "Number of attempts to schedule pods, by the result.", labels)
        )
        self._seconds = add(
            Histogram(
                "scheduler_scheduling_attempt_duration_seconds",
                "Scheduling attempt latency in seconds (scheduling algorithm, without binding).",
                labels,
                _ATTEMPT_SECONDS,
            )
        )
        self.victims = add(
            Histogram("scheduler_preemption_victims", "Number of selected preemption victims", buckets=_VICTIMS)
        )
        pending = add(Gauge("scheduler_pending_pods", "Number of pending pods, by the queue type.", ("queue",)))
        pending.read(lambda: queue.active, "active")
        pending.read(lambda: len(queue) - queue.active, "unschedulable")

    def attempt(self, result: str, seconds: float) -> None:
        """A pod was tried."""
        self._attempts.add(self._profile, result)
        self._seconds.observe(seconds, self._profile, result)
