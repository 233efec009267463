"""When the change that a slice or Endpoints object shows was made: the time for the annotation from which clients
measure how long a change took to reach them.
"""

from collections.abc import Iterable

from sampan.api import pods
from sampan.api.core_v1 import Pod, Service

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """Remembers, per Service, the times already accounted for."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def update(self, service: Service, selected: Iterable[Pod]) -> str | None:
        """The earliest change that was not accounted for yet; None when there is no new one."""
        key = service.metadata.key
        before = self._known.get(key, {})
        now = {pod.metadata.name: moment for pod in selected if (moment := _changed(pod))}
        now[""] = service.metadata.creation_timestamp or ""
        self._known[key] = now
        return min((moment for name, moment in now.items() if moment and moment > before.get(name, "")), default=None)

    def forget(self, key: str) -> None:
        self._known.pop(key, None)


def _changed(pod: Pod) -> str | None:
    ready = pods.condition(pod, "Ready")
    return ready.last_transition_time if ready else None
