"""What to do next about a job, given the tally of its pods: pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.batch_v1 import Job
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import Condition
from sampan.controllers import conditions
from sampan.controllers.jobs import indexes
from sampan.controllers.jobs.tally import Tally
from sampan.machinery import times

MAX_CREATED = 500
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 10.0, 600.0
COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"

_BEFORE = {COMPLETE: "SuccessCriteriaMet", FAILED: "FailureTarget"}
_AFTER = {before: after for after, before in _BEFORE.items()}


@dataclass(frozen=True)
class Verdict:
    """The pods to make (by completion index, None where pods have none) and to delete, and the new conditions."""

    succeeded: int
    failed: int
    conditions: tuple[Condition, ...]
    create: tuple[int | None, ...] = ()
    delete: tuple[Pod, ...] = ()
    wait: float | None = None

    @property
    def end(self) -> Condition | None:
        return ending(self.conditions)


def ending(found: Iterable[Condition]) -> Condition | None:
    """The condition that says the job is finished."""
    return next((one for one in found if one.type in _BEFORE and one.status == "True"), None)


def decide(job: Job, seen: Tally, now: float) -> Verdict:
    """The next step of a job that has not finished."""
    indexed = job.spec.completion_mode == "Indexed"
    succeeded = len(seen.completed) if indexed else job.status.succeeded + len(seen.succeeded)
    failed = job.status.failed + len(seen.failed)
    target = _target(job, seen, succeeded, failed, now)
    if target is not None:
        return Verdict(succeeded, failed, _ended(job, target, seen, now), delete=seen.active)
    found = _suspension(job, now)
    if job.spec.suspend:
        return Verdict(succeeded, failed, found, delete=seen.active)
    deadline, backoff = _deadline(job, now), _backoff(seen, now)
    wait = min((one for one in (deadline, backoff) if one), default=None)
    if backoff and len(seen.active) < _wanted(job, succeeded):
        return Verdict(succeeded, failed, found, wait=wait)
    create, delete = _balance(job, seen, succeeded)
    return Verdict(succeeded, failed, found, create, delete, wait)


def _target(job: Job, seen: Tally, succeeded: int, failed: int, now: float) -> Condition | None:
    """The end the job is heading for, as its final condition; the first one decided stays."""
    for one in job.status.conditions:
        if one.type in _AFTER and one.status == "True":
            return _condition(_AFTER[one.type], "True", one.reason, one.message, now)
    if seen.fail_job:
        return _condition(FAILED, "True", "PodFailurePolicy", seen.fail_job, now)
    restarts = seen.restarts if _restarts_in_place(job) else 0
    limit = job.spec.backoff_limit
    if failed > limit or (restarts > limit or (restarts == limit == 0 and seen.restarts > 0)):
        message = "Job has reached the specified backoff limit"
        return _condition(FAILED, "True", "BackoffLimitExceeded", message, now)
    deadline = _deadline(job, now)
    if deadline is not None and deadline <= 0:
        message = "Job was active longer than specified deadline"
        return _condition(FAILED, "True", "DeadlineExceeded", message, now)
    if _is_complete(job, seen, succeeded):
        message = "Reached expected number of succeeded pods"
        return _condition(COMPLETE, "True", "CompletionsReached", message, now)
    return None


def _is_complete(job: Job, seen: Tally, succeeded: int) -> bool:
    if job.spec.completions is None:
        return succeeded > 0 and not seen.active and not seen.terminating
    return succeeded >= job.spec.completions


def _restarts_in_place(job: Job) -> bool:
    return bool((job.spec.template.get("spec") or {}).get("restartPolicy") == "OnFailure")


def _ended(job: Job, target: Condition, seen: Tally, now: float) -> tuple[Condition, ...]:
    """First the decision; when the last pod is gone, the end."""
    before = _condition(_BEFORE[target.type], "True", target.reason, target.message, now)
    found = conditions.with_condition(job.status.conditions, before)
    if seen.active or seen.terminating:
        return found
    return conditions.with_condition(found, target)


def _suspension(job: Job, now: float) -> tuple[Condition, ...]:
    """The conditions with Suspended as it must be; a job that never was suspended has none."""
    if not job.spec.suspend and conditions.find(job.status.conditions, SUSPENDED) is None:
        return job.status.conditions
    if job.spec.suspend:
        new = _condition(SUSPENDED, "True", "JobSuspended", "Job suspended", now)
    else:
        new = _condition(SUSPENDED, "False", "JobResumed", "Job resumed", now)
    return conditions.with_condition(job.status.conditions, new)


def _deadline(job: Job, now: float) -> float | None:
    """Seconds until activeDeadlineSeconds have passed."""
    if job.spec.active_deadline_seconds is None or not job.status.start_time or job.spec.suspend:
        return None
    return times.epoch(job.status.start_time) + job.spec.active_deadline_seconds - now


def _backoff(seen: Tally, now: float) -> float:
    """Seconds until the next try after failures: 10, 20, 40, … up to 600."""
    if seen.last_failure is None:
        return 0.0
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(seen.recent_failures - 1, 10), LAST_BACKOFF_SECONDS)
    return max(0.0, seen.last_failure + delay - now)


def _wanted(job: Job, succeeded: int) -> int:
    """How many pods should be active."""
    if job.spec.completions is None:
        return 0 if succeeded else job.spec.parallelism
    return max(0, min(job.spec.parallelism, job.spec.completions - succeeded))


def _balance(job: Job, seen: Tally, succeeded: int) -> tuple[tuple[int | None, ...], tuple[Pod, ...]]:
    """What to create and what to delete, so that as many pods are active as should be."""
    if job.spec.completions is None and succeeded:
        return (), ()
    wanted = _wanted(job, succeeded)
    if len(seen.active) > wanted:
        return (), _least_needed(seen.active)[: len(seen.active) - wanted]
    missing = min(wanted - len(seen.active), MAX_CREATED)
    if job.spec.pod_replacement_policy == "Failed":
        missing = max(0, missing - seen.terminating)
    if job.spec.completion_mode != "Indexed":
        return (None,) * missing, ()
    numbers = (indexes.index_of(pod.metadata.annotations) for pod in seen.active)
    taken = seen.completed.union(number for number in numbers if number is not None)
    free = [index for index in range(job.spec.completions or 0) if index not in taken]
    return tuple(free[:missing]), ()


def _least_needed(active: Sequence[Pod]) -> tuple[Pod, ...]:
    """Pods that have done least, first."""
    return tuple(
        sorted(
            active,
            key=lambda pod: (bool(pod.spec.node_name), pod.status.phase == "Running", pods.is_ready(pod)),
        )
    )


def _condition(kind: str, status: str, reason: str, message: str, now: float) -> Condition:
    moment = times.from_epoch(now)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_probe_time=moment,
        last_transition_time=moment,
    )
