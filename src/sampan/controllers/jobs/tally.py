"""What a job's pods say: pure.

A pod's end is counted exactly once, whenever the controller dies (KEP-2307): its finalizer holds an ended pod; its uid
goes into `uncountedTerminatedPods` before the finalizer goes, and into the counts after. So the total is always the
counts, plus the uncounted, plus the ended pods that are held and not among the uncounted.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.batch_v1 import Job
from sampan.api.core_v1 import Pod
from sampan.controllers.jobs import failure_policy, indexes
from sampan.controllers.jobs.failure_policy import FAIL_JOB, IGNORE
from sampan.machinery import times

FINALIZER = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True)
class Tally:
    """`succeeded` and `failed` are the uids to count now, beyond the status' counts; `held` the pods to let go then."""

    active: tuple[Pod, ...] = ()
    terminating: int = 0
    ready: int = 0
    restarts: int = 0
    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    completed: frozenset[int] = frozenset()
    held: tuple[Pod, ...] = ()
    fail_job: str = ""
    recent_failures: int = 0
    last_failure: float | None = None


def tally(job: Job, found: Iterable[Pod], doomed: Collection[str] = ()) -> Tally:
    """Sort the job's pods into active, terminating and ended ones. `doomed` are those whose deletion was asked for
    although they do not show it yet."""
    found = tuple(found)
    active = tuple(pod for pod in found if pods.is_active(pod) and pod.metadata.uid not in doomed)
    leaving = [pod for pod in found if pods.is_terminating(pod) or pod.metadata.uid in doomed]
    failed, fail_job = _failed(job, found)
    recent, last = _failures(found)
    return Tally(
        active=active,
        terminating=sum(1 for pod in leaving if not pods.is_terminal(pod)),
        ready=sum(1 for pod in active if pods.is_ready(pod)),
        restarts=sum(one.restart_count for pod in active for one in pod.status.container_statuses),
        succeeded=_succeeded(job, found),
        failed=failed,
        completed=_completed(job, found),
        held=tuple(pod for pod in found if _is_held(pod) and (_is_done(pod) or has_failed(job, pod))),
        fail_job=fail_job,
        recent_failures=recent,
        last_failure=last,
    )


def _completed(job: Job, found: Iterable[Pod]) -> frozenset[int]:
    """The completed indexes of an Indexed job: a set, so that counting twice does no harm."""
    if job.spec.completion_mode != "Indexed":
        return frozenset()
    numbers = (indexes.index_of(pod.metadata.annotations) for pod in found if _is_done(pod))
    return frozenset(indexes.parse(job.status.completed_indexes)).union(one for one in numbers if one is not None)


def _succeeded(job: Job, found: Iterable[Pod]) -> tuple[str, ...]:
    known = job.status.uncounted_terminated_pods
    noted = known.succeeded if known else ()
    if job.spec.completion_mode == "Indexed":
        return noted
    new = (pod.metadata.uid for pod in found if _is_done(pod) and _is_held(pod))
    return (*noted, *(uid for uid in new if uid not in noted))


def _failed(job: Job, found: Iterable[Pod]) -> tuple[tuple[str, ...], str]:
    """The failed pods to count, and why the whole job must fail, if the policy says so."""
    known = job.status.uncounted_terminated_pods
    failed = list(known.failed) if known else []
    fail_job = ""
    for pod in found:
        if not has_failed(job, pod):
            continue
        action, message = failure_policy.action(job.spec.pod_failure_policy, pod)
        fail_job = fail_job or (message if action == FAIL_JOB else "")
        counts = action != IGNORE and not job.spec.suspend
        if _is_held(pod) and counts and pod.metadata.uid not in failed:
            failed.append(pod.metadata.uid)
    return tuple(failed), fail_job


def _is_done(pod: Pod) -> bool:
    return pod.status.phase == "Succeeded"


def _is_held(pod: Pod) -> bool:
    return FINALIZER in pod.metadata.finalizers


def has_failed(job: Job, pod: Pod) -> bool:
    """Pods on their way out count as failed at once, unless the job replaces only what really failed."""
    if pod.status.phase == "Failed":
        return True
    replaces_early = job.spec.pod_replacement_policy != "Failed"
    return replaces_early and pods.is_terminating(pod) and pod.status.phase != "Succeeded"


def _failures(found: Iterable[Pod]) -> tuple[int, float | None]:
    """How many pods failed since the last one succeeded, and when the last did."""
    good, bad = [0.0], []
    for pod in found:
        moment = _ended_at(pod)
        if pod.status.phase == "Succeeded":
            good.append(moment)
        elif pod.status.phase == "Failed":
            bad.append(moment)
    recent = [moment for moment in bad if moment > max(good)]
    return len(recent), max(recent, default=None)


def _ended_at(pod: Pod) -> float:
    moments = [
        times.epoch(one.state.terminated.finished_at)
        for one in pod.status.container_statuses
        if one.state.terminated and one.state.terminated.finished_at
    ]
    created = pod.metadata.creation_timestamp
    return max(moments, default=times.epoch(created) if created else 0.0)
