"""The Job controller's shell."""

import asyncio
import time

from sampan.api.batch_v1 import Job, UncountedTerminatedPods
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.events import EventRecorder
from sampan.client.resources import JOBS, PODS
from sampan.controllers import conditions
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.jobs import indexes
from sampan.controllers.jobs.decision import COMPLETE, FAILED, SUSPENDED, Verdict, decide, ending
from sampan.controllers.jobs.tally import FINALIZER, Tally, tally
from sampan.controllers.ownership import PodOwnership
from sampan.controllers.podcontrol import PodControl, slow_start
from sampan.controllers.references import reference
from sampan.machinery import times
from sampan.machinery.errors import NotFound, StatusError
from sampan.machinery.objects import Object
from sampan.machinery.selectors import LabelSelector, from_label_selector


class JobController(QueueController):
    name = "job"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._jobs = context.jobs
        self._recorder = EventRecorder(context.client, "job-controller")
        self._pod_writes: OwnWrites[str] = OwnWrites(context.pods)
        self._job_writes: OwnWrites[str] = OwnWrites(self._jobs)
        self._pods = PodControl(context.client, self._recorder, JOBS, self._pod_writes)
        self._ownership = PodOwnership(context, self._jobs, _selector, self._pod_writes)
        self._jobs.add_handler(self._job_changed)
        self._ownership.wake(self.queue)

    # --- events

    def _job_changed(self, old: Job | None, new: Job | None) -> None:
        self.enqueue(old, new)
        if new is None and old is not None:
            for pod in self.context.pods.by_index("controller", old.metadata.uid):
                self.queue.add(f"{pod.metadata.namespace}/{old.metadata.name}")

    # --- reconciling

    async def sync(self, key: str) -> None:
        job = self._jobs.get(*split(key))
        if job is None:
            await self._release_all(key)
            return
        if job.spec.managed_by not in (None, "kubernetes.io/job-controller"):
            return
        if not (self._pod_writes.seen(key) and self._job_writes.seen(key)):
            self.queue.add_after(key, STALE_SECONDS)
            return
        mine = await self._ownership.claim(job)
        seen = tally(job, mine, {pod.metadata.uid for pod in mine if self._pod_writes.is_doomed(pod)})
        if ending(job.status.conditions) is not None:
            await self._finish(job, seen)
        elif not job.metadata.deletion_timestamp:
            await self._advance(job, seen)
        else:
            await self._release(job.metadata, tuple(mine))

    async def _advance(self, job: Job, seen: Tally) -> None:
        now = time.time()
        verdict = decide(job, seen, now)
        await self._count(job, seen)
        error = await self._pods.delete_all(job.metadata, verdict.delete)
        error = error or await self._create(job, verdict)
        await self._write_status(job, seen, verdict, now)
        self._tell(job, verdict)
        if verdict.wait is not None:
            self.queue.add_after(job.metadata.key, verdict.wait)
        if error is not None and not is_namespace_terminating(error):
            raise error

    async def _count(self, job: Job, seen: Tally) -> None:
        """Note whose end is being counted, then let these pods go; the counts follow with the rest of the status."""
        known = job.status.uncounted_terminated_pods or UncountedTerminatedPods()
        if (seen.succeeded, seen.failed) != (known.succeeded, known.failed):
            uncounted = {"succeeded": list(seen.succeeded), "failed": list(seen.failed)}
            await self._patch_status(job, {"uncountedTerminatedPods": uncounted})
        await self._release(job.metadata, seen.held)

    async def _create(self, job: Job, verdict: Verdict) -> StatusError | None:
        wanted = verdict.create

        async def create(number: int) -> None:
            await self._pods.create(job.metadata, self._pod(job, wanted[number]))

        _, error = await slow_start(len(wanted), create)
        return error

    def _pod(self, job: Job, index: int | None) -> Object:
        pod = self._pods.pod(job.metadata, job.spec.template)
        metadata = pod["metadata"]
        metadata["finalizers"] = [*metadata.get("finalizers", ()), FINALIZER]
        if index is not None:
            metadata["annotations"][indexes.COMPLETION_INDEX] = str(index)
            metadata["labels"][indexes.COMPLETION_INDEX] = str(index)
            metadata["generateName"] = f"{job.metadata.name}-{index}-"
            pod["spec"] = _with_index(pod["spec"], job.metadata.name, index)
        return pod

    async def _write_status(self, job: Job, seen: Tally, verdict: Verdict, now: float) -> None:
        active = len(seen.active) + len(verdict.create) - len(verdict.delete)
        status: Object = {
            "active": active or None,
            "ready": 0 if verdict.delete else seen.ready,
            "terminating": seen.terminating + len(verdict.delete),
            "succeeded": verdict.succeeded or None,
            "failed": verdict.failed or None,
            "completedIndexes": indexes.render(seen.completed) or None,
            "conditions": [conditions.to_object(one) for one in verdict.conditions] or None,
            "uncountedTerminatedPods": {"succeeded": None, "failed": None},
        }
        if job.spec.suspend:
            status["startTime"] = None
        elif not job.status.start_time:
            status["startTime"] = times.from_epoch(now)
        if verdict.end is not None and verdict.end.type == COMPLETE:
            status["completionTime"] = times.from_epoch(now)
        if seen.succeeded or seen.failed or _differs(job, status):
            await self._patch_status(job, status)

    async def _patch_status(self, job: Job, status: Object) -> None:
        meta = job.metadata
        patch = {"status": status}
        try:
            written = await self.client.patch(JOBS, meta.name, patch, meta.namespace, subresource="status")
        except NotFound:
            return
        self._job_writes.wrote(meta.key, written)

    async def _finish(self, job: Job, seen: Tally) -> None:
        """After the end: let go of the pods, and of the job itself when its time is up."""
        await self._pods.delete_all(job.metadata, seen.active)
        await self._release(job.metadata, seen.held)
        ttl, end = job.spec.ttl_seconds_after_finished, ending(job.status.conditions)
        if ttl is None or end is None or not end.last_transition_time or job.metadata.deletion_timestamp:
            return
        wait = times.epoch(end.last_transition_time) + ttl - time.time()
        if wait > 0:
            self.queue.add_after(job.metadata.key, wait)
            return
        meta = job.metadata
        try:
            await self.client.delete(JOBS, meta.name, meta.namespace, uid=meta.uid, propagation="Foreground")
        except NotFound:
            return

    def _tell(self, job: Job, verdict: Verdict) -> None:
        """Events for what the conditions say for the first time."""
        about = reference(JOBS, job.metadata)
        for one in verdict.conditions:
            before = conditions.find(job.status.conditions, one.type)
            if before is not None and before.status == one.status:
                continue
            if one.type == COMPLETE:
                self._recorder.event(about, "Normal", "Completed", "Job completed")
            elif one.type == FAILED:
                self._recorder.event(about, "Warning", one.reason, one.message)
            elif one.type == SUSPENDED:
                self._recorder.event(about, "Normal", one.reason.removeprefix("Job"), one.message)

    # --- finalizers

    async def _release(self, owner: ObjectMeta, counted: tuple[Pod, ...]) -> None:
        """Pods whose end is noted need to be held no longer."""
        await asyncio.gather(*(self._drop_finalizer(owner.key, pod) for pod in counted))

    async def _release_all(self, key: str) -> None:
        """The job is gone; nobody else would let its pods go."""
        namespace, name = split(key)
        for pod in self.context.pods.by_index("namespace", namespace):
            controller = pod.metadata.controller
            if controller is not None and controller.kind == JOBS.kind and controller.name == name:
                await self._drop_finalizer(key, pod)

    async def _drop_finalizer(self, key: str, pod: Pod) -> None:
        if FINALIZER not in pod.metadata.finalizers:
            return
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
        try:
            written = await self.client.patch(PODS, meta.name, patch, meta.namespace, type="strategic")
        except NotFound:
            return
        self._pod_writes.wrote(key, written)


def _with_index(spec: Object, name: str, index: int) -> Object:
    """The pod's spec with a hostname of its own and the index in the environment."""
    variable = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{indexes.COMPLETION_INDEX}']"}},
    }
    result = dict(spec)
    for part in ("containers", "initContainers"):
        if result.get(part):
            result[part] = [{**one, "env": [*(one.get("env") or ()), variable]} for one in result[part]]
    result.setdefault("hostname", f"{name}-{index}")
    return result


def _differs(job: Job, status: Object) -> bool:
    """Whether any field to be written is not what the status says."""
    found = job.status
    current = {
        "active": found.active or None,
        "ready": found.ready,
        "terminating": found.terminating,
        "succeeded": found.succeeded or None,
        "failed": found.failed or None,
        "completedIndexes": found.completed_indexes or None,
        "conditions": [conditions.to_object(one) for one in found.conditions] or None,
        "startTime": found.start_time,
        "completionTime": found.completion_time,
    }
    return any(value != current[name] for name, value in status.items() if name in current)


def _selector(job: Job) -> LabelSelector:
    return from_label_selector(job.spec.selector)
