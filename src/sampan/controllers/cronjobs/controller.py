"""The CronJob controller's shell."""

from datetime import UTC, datetime, tzinfo

from sampan.api.batch_v1 import CronJob, Job
from sampan.client.events import EventRecorder
from sampan.client.resources import CRON_JOBS, JOBS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.cronjobs import schedule
from sampan.controllers.cronjobs.decision import Due, decide, job_of, surplus
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.jobs.decision import COMPLETE, ending
from sampan.controllers.references import reference
from sampan.machinery import times
from sampan.machinery.errors import AlreadyExists, NotFound, StatusError
from sampan.machinery.objects import Object, name


class CronJobController(QueueController):
    name = "cronjob"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cron_jobs, self._jobs = context.cron_jobs, context.jobs
        self._recorder = EventRecorder(context.client, "cronjob-controller")
        self._job_writes: OwnWrites[str] = OwnWrites(self._jobs)
        self._own_writes: OwnWrites[str] = OwnWrites(self._cron_jobs)
        self._cron_jobs.add_handler(self.enqueue)
        self._jobs.add_handler(self._job_changed)

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        for job in (old, new):
            controller = job.metadata.controller if job else None
            if job is not None and controller is not None and controller.kind == CRON_JOBS.kind:
                self.queue.add(f"{job.metadata.namespace}/{controller.name}")

    async def sync(self, key: str) -> None:
        found = self._cron_jobs.get(*split(key))
        if found is None:
            return
        if not (self._job_writes.seen(key) and self._own_writes.seen(key)):
            self.queue.add_after(key, STALE_SECONDS)
            return
        owned = self._jobs.by_index("controller", found.metadata.uid)
        await self._note_ends(found, owned)
        for job in surplus(found, owned):
            await self._delete(found, job)
        try:
            line = schedule.parse(found.spec.schedule, _zone(found.spec.time_zone))
        except ValueError as error:
            self._tell(
                found, "Warning", "UnparseableSchedule", f'unparseable schedule "{found.spec.schedule}" : {error}'
            )
            return
        active = [job for job in owned if ending(job.status.conditions) is None]
        now = datetime.now(UTC)
        due = decide(found, line, active, now)
        await self._start(found, due, active)
        if due.look_again is not None:
            self.queue.add_after(key, (due.look_again - now).total_seconds() + 0.01)

    async def _start(self, found: CronJob, due: Due, active: list[Job]) -> None:
        if due.note is not None:
            self._tell(found, due.note.type, due.note.reason, due.note.message)
        for job in due.replace:
            await self._delete(found, job)
        kept = [job for job in active if job not in due.replace]
        references = [_reference(job.metadata.name, job.metadata.namespace, job.metadata.uid) for job in kept]
        if due.at is None:
            await self._write_active(found, references)
            return
        created = await self._create(found, job_of(found, due.at))
        if created is not None:
            meta = created["metadata"]
            references.append(_reference(meta["name"], meta["namespace"], meta["uid"]))
        status = {"active": references or None, "lastScheduleTime": times.format_time(due.at)}
        await self._patch_status(found, status)

    async def _create(self, found: CronJob, job: Object) -> Object | None:
        try:
            created = await self.client.create(JOBS, job, found.metadata.namespace)
        except AlreadyExists:
            return None
        except StatusError as error:
            if is_namespace_terminating(error):
                return None
            self._tell(found, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        self._job_writes.wrote(found.metadata.key, created)
        self._tell(found, "Normal", "SuccessfulCreate", f"Created job {name(created)}")
        return created

    async def _note_ends(self, found: CronJob, owned: list[Job]) -> None:
        """Take finished Jobs off the list of active ones, and say so."""
        listed = {one.uid for one in found.status.active}
        successes = []
        for job in owned:
            end = ending(job.status.conditions)
            if end is None:
                continue
            if end.type == COMPLETE and job.status.completion_time:
                successes.append(job.status.completion_time)
            if job.metadata.uid in listed:
                message = f"Saw completed job: {job.metadata.name}, condition: {end.type}"
                self._tell(found, "Normal", "SawCompletedJob", message)
        last = max(successes, default=None)
        if last is not None and last != found.status.last_successful_time:
            await self._patch_status(found, {"lastSuccessfulTime": last})

    async def _write_active(self, found: CronJob, references: list[Object]) -> None:
        if {one.uid for one in found.status.active} != {one["uid"] for one in references}:
            await self._patch_status(found, {"active": references or None})

    async def _delete(self, found: CronJob, job: Job) -> None:
        meta = job.metadata
        try:
            await self.client.delete(JOBS, meta.name, meta.namespace, uid=meta.uid, propagation="Background")
        except NotFound:
            return
        self._tell(found, "Normal", "SuccessfulDelete", f"Deleted job {meta.name}")

    async def _patch_status(self, found: CronJob, status: Object) -> None:
        meta = found.metadata
        patch = {"status": status}
        try:
            written = await self.client.patch(CRON_JOBS, meta.name, patch, meta.namespace, subresource="status")
        except NotFound:
            return
        self._own_writes.wrote(meta.key, written)

    def _tell(self, found: CronJob, kind: str, reason: str, message: str) -> None:
        about = reference(CRON_JOBS, found.metadata)
        self._recorder.event(about, "Warning" if kind == "Warning" else "Normal", reason, message)


def _reference(job: str, namespace: str, uid: str) -> Object:
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "name": job, "namespace": namespace, "uid": uid}


def _zone(zone: str | None) -> tzinfo:
    """The time zone by name; UTC when there is none. Raises ValueError."""
    if not zone:
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(zone)
    except ZoneInfoNotFoundError as error:
        raise ValueError(f"unknown time zone {zone}") from error
