"""What to do next with a pod's containers: a pure function of the pod, the records of its containers and the time.

Init containers run one after the other, sidecars stay up beside what follows them, main containers run together; what
ended is restarted as the restart policy says, after a back-off. `worker.py` carries the plan out and asks again
whenever something happened or `wake_at` has come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.api.core_v1 import Container, Pod
from sampan.api.pods import is_sidecar
from sampan.node.records import Record, restart_policy

Records = Mapping[str, Record]


@dataclass(frozen=True, slots=True)
class Plan:
    """Containers to start and to stop now, those that wait (name → epoch seconds), and whether the pod is over."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    back_off: Mapping[str, float] = field(default_factory=dict)
    over: bool = False

    @property
    def wake_at(self) -> float | None:
        return min(self.back_off.values(), default=None)


def plan(pod: Pod, records: Records, now: float) -> Plan:
    """The next actions. When the pod is over, what still runs (sidecars) is to be stopped, last started first."""
    if is_over(pod, records):
        running = [init.name for init in pod.spec.init_containers if _record(records, init).running]
        return Plan(stop=tuple(reversed(running)), over=True)
    return _Planner(pod, records, now).run()


def is_over(pod: Pod, records: Records) -> bool:
    """Whether no container but sidecars runs or will run again: the pod has succeeded or failed."""
    if init_failed(pod, records):
        return not any(_record(records, main).running for main in pod.spec.containers)
    if not initialized(pod, records) and not _any_main_ran(pod, records):
        return False
    return all(_finished(pod, main, _record(records, main)) for main in pod.spec.containers)


def init_failed(pod: Pod, records: Records) -> bool:
    """Whether an init container failed in a pod that does not restart."""
    if pod.spec.restart_policy != "Never":
        return False
    return any(
        not is_sidecar(init) and (ended := _record(records, init).exit) is not None and ended.code != 0
        for init in pod.spec.init_containers
    )


def initialized(pod: Pod, records: Records) -> bool:
    """Whether every init container has succeeded and every sidecar has started (main containers may run)."""
    return all(_init_done(init, _record(records, init)) for init in pod.spec.init_containers)


def deadline(pod: Pod, start_time: float | None) -> float | None:
    """When `activeDeadlineSeconds` ends the pod, in epoch seconds."""
    seconds = pod.spec.active_deadline_seconds
    return None if seconds is None or start_time is None else start_time + seconds


def _record(records: Records, container: Container) -> Record:
    return records.get(container.name) or Record()


def _init_done(init: Container, record: Record) -> bool:
    return record.started if is_sidecar(init) else record.succeeded


def _any_main_ran(pod: Pod, records: Records) -> bool:
    return any(_record(records, main).running or _record(records, main).exit for main in pod.spec.containers)


def _finished(pod: Pod, container: Container, record: Record) -> bool:
    """Whether a container has ended and stays so."""
    return record.exit is not None and not _restarts(pod, container, record)


def _restarts(pod: Pod, container: Container, record: Record) -> bool:
    policy = restart_policy(pod, container)
    return policy == "Always" or (policy == "OnFailure" and not record.succeeded)


class _Planner:
    """Collects starts and waits while walking the containers in their order."""

    def __init__(self, pod: Pod, records: Records, now: float) -> None:
        self.pod = pod
        self.records = records
        self.now = now
        self.start: list[str] = []
        self.back_off: dict[str, float] = {}

    def run(self) -> Plan:
        if self._initialize():
            for main in self.pod.spec.containers:
                record = _record(self.records, main)
                if not record.running and (record.exit is None or _restarts(self.pod, main, record)):
                    self._start(main, record)
        return Plan(start=tuple(self.start), back_off=self.back_off)

    def _initialize(self) -> bool:
        """Bring the init containers on; true when the main ones may run."""
        past = _any_main_ran(self.pod, self.records)
        for init in self.pod.spec.init_containers:
            record = _record(self.records, init)
            if _init_done(init, record):
                continue
            if not record.running and (is_sidecar(init) or not past):
                self._start(init, record)
            if not past:
                return False
        return True

    def _start(self, container: Container, record: Record) -> None:
        """Start now, or note until when the container has to wait."""
        wait_until = record.not_before
        if record.exit:
            wait_until = max(wait_until, record.backoff.retry_at(record.exit.finished_at))
        if wait_until > self.now:
            self.back_off[container.name] = wait_until
        else:
            self.start.append(container.name)
