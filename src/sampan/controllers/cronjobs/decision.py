"""Whether a CronJob's next Job is due, and which old ones to clear away: pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sampan.api.batch_v1 import CronJob, Job
from sampan.client.resources import CRON_JOBS
from sampan.controllers.adoption import controller_reference
from sampan.controllers.cronjobs.schedule import Schedule
from sampan.controllers.jobs.decision import COMPLETE, ending
from sampan.machinery import times
from sampan.machinery.objects import Object

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MANY_MISSED = 100


@dataclass(frozen=True)
class Note:
    """An event to tell."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Due:
    """The time for which a Job is due now, if it is; the Jobs it replaces; when to look again."""

    at: datetime | None = None
    replace: tuple[Job, ...] = ()
    look_again: datetime | None = None
    note: Note | None = None


def decide(cron_job: CronJob, schedule: Schedule, active: Sequence[Job], now: datetime) -> Due:
    """Whether to start a Job now."""
    spec, upcoming = cron_job.spec, schedule.after(now)
    if spec.suspend or cron_job.metadata.deletion_timestamp:
        return Due()
    due, missed = _last_missed(cron_job, schedule, now)
    if due is None:
        return Due(look_again=upcoming)
    deadline = spec.starting_deadline_seconds
    if deadline is not None and due + timedelta(seconds=deadline) < now:
        message = f"Missed scheduled time to start a job: {_long(due)}"
        return Due(look_again=upcoming, note=Note("Warning", "MissSchedule", message))
    if spec.concurrency_policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return Due(look_again=upcoming, note=Note("Normal", "JobAlreadyActive", message))
    note = None
    if missed > MANY_MISSED:
        advice = "Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        note = Note("Warning", "TooManyMissedTimes", f"too many missed start times: {missed}. {advice}")
    replaced = tuple(active) if spec.concurrency_policy == "Replace" else ()
    return Due(due, replaced, upcoming, note)


def _last_missed(cron_job: CronJob, schedule: Schedule, now: datetime) -> tuple[datetime | None, int]:
    """The latest due time that had no Job, and how many there were."""
    since = times.parse(cron_job.status.last_schedule_time or cron_job.metadata.creation_timestamp or times.now())
    deadline = cron_job.spec.starting_deadline_seconds
    if deadline is not None:
        since = max(since, now - timedelta(seconds=deadline))
    found: datetime | None = None
    count = 0
    moment = schedule.after(since)
    while moment is not None and moment <= now:
        found, count = moment, count + 1
        if count > MANY_MISSED:
            return _skip_ahead(schedule, moment, now), count
        moment = schedule.after(moment)
    return found, count


def _skip_ahead(schedule: Schedule, last: datetime, now: datetime) -> datetime:
    """The latest due time up to now, looked for backwards in growing steps."""
    step = timedelta(minutes=1)
    while now - step > last:
        moment = schedule.after(now - step)
        if moment is not None and moment <= now:
            following = schedule.after(moment)
            while following is not None and following <= now:
                moment, following = following, schedule.after(following)
            return moment
        step *= 2
    return last


def surplus(cron_job: CronJob, owned: Iterable[Job]) -> tuple[Job, ...]:
    """Finished Jobs beyond the history limits, oldest first."""
    good: list[Job] = []
    bad: list[Job] = []
    for job in sorted(owned, key=lambda job: (job.status.start_time or "", job.metadata.name)):
        end = ending(job.status.conditions)
        if end is not None:
            (good if end.type == COMPLETE else bad).append(job)
    keep_good, keep_bad = cron_job.spec.successful_jobs_history_limit, cron_job.spec.failed_jobs_history_limit
    return (*good[: max(0, len(good) - keep_good)], *bad[: max(0, len(bad) - keep_bad)])


def job_of(cron_job: CronJob, due: datetime) -> Object:
    """The Job for a due time: its name is the same however often it is tried."""
    template, meta = cron_job.spec.job_template, cron_job.metadata
    source = template.get("metadata") or {}
    metadata = {
        "name": f"{meta.name}-{int(due.timestamp()) // 60}",
        "namespace": meta.namespace,
        "labels": dict(source.get("labels") or {}),
        "annotations": {**(source.get("annotations") or {}), SCHEDULED_AT: due.isoformat().replace("+00:00", "Z")},
        "ownerReferences": [controller_reference(CRON_JOBS.api_version, CRON_JOBS.kind, meta)],
    }
    return {"metadata": metadata, "spec": template.get("spec") or {}}


def _long(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
