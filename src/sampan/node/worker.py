"""One pod's worker: carries out `plan.py` until the pod is deleted, then takes everything of it down.

The worker owns the records of the pod's containers. What happens (a container ended, a probe's verdict, the pod
changed) updates a record and wakes the loop, which asks for a new plan and publishes the status. Starting and stopping
run as tasks of their own, one per container, so that nothing waits for anything else.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sampan.api.core_v1 import Container, Pod
from sampan.api.meta_v1 import Condition
from sampan.api.pods import is_sidecar, is_terminal, is_terminating
from sampan.machinery import times
from sampan.node import adoption, ending, pulling
from sampan.node import plan as planning
from sampan.node.backoff import NO_BACKOFF, go_duration
from sampan.node.checkpoints import Checkpoint
from sampan.node.container_status import waiting_by_default
from sampan.node.containers import PodContainers, Started
from sampan.node.errors import PullFailure, StartFailure, UnexpectedFailure
from sampan.node.node import Node
from sampan.node.plan import Plan
from sampan.node.pod_resources import PodResources
from sampan.node.records import Record, Role, Waiting, role_of
from sampan.node.runtime.types import ContainerState
from sampan.node.status import PodFate, PodView, pod_status
from sampan.node.status_writer import StatusWriter
from sampan.node.stopping import Patience, Stopper
from sampan.node.supervision import Callbacks, Supervision

log = logging.getLogger(__name__)

SAVE_RETRY_SECONDS = 1.0
FAILURE_PAUSE_SECONDS = 60.0
"""The longest time that a task which keeps failing unexpectedly is not started again."""
IMAGE_ERROR_SECONDS = 2.0
"""How long ErrImagePull is shown before ImagePullBackOff."""


class PodWorker:
    """Keeps one pod as its spec says. `update`, `remove` and `container_ended` are called on the loop."""

    def __init__(self, node: Node, pod: Pod) -> None:
        self.pod = pod
        self.records: dict[str, Record] = {}
        self._node = node
        self._directory = node.options.pods / pod.metadata.uid
        self._checkpoint = Checkpoint(self._directory)
        self._resources = PodResources(node, pod, self._directory)
        self.containers = PodContainers(node, self._resources)
        self._supervision = Supervision(node, pod, Callbacks(self._started, self._readiness, self._restart))
        self._status = StatusWriter(node.client, pod, node.options.sync_seconds)
        self._conditions: tuple[Condition, ...] = pod.status.conditions
        self._start_time = time.time()
        self._fate: PodFate | None = None
        self._over = False
        self._removed = False
        self._stopped = False
        self._patience: Patience | None = None
        self._unsaved = False
        self._failures: dict[str, tuple[int, float]] = {}
        """How often in a row tasks of a key failed unexpectedly, and when (loop time) the next may start."""
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # --- what happens

    def update(self, pod: Pod) -> None:
        """The pod changed in the API."""
        before, self.pod = self.pod, pod
        self._forget_failures_of_other_images(before)
        self._resources.update(pod)
        self._status.observe(pod)
        if pod.status.phase == "Failed" and self._status.phase in ("Pending", "Running"):
            self._fate = self._fate or PodFate(reason=pod.status.reason, message=pod.status.message)
        if self._patience and is_terminating(pod):
            self._patience.shorten(self._grace_seconds())
        self._wake.set()

    def _forget_failures_of_other_images(self, before: Pod) -> None:
        """A container that waits for an image is started at once when another is named."""
        images = {one.name: one.image for one in (*before.spec.init_containers, *before.spec.containers)}
        for one in (*self.pod.spec.init_containers, *self.pod.spec.containers):
            record = self.records.get(one.name)
            if record and not record.running and images.get(one.name) != one.image:
                self.records[one.name] = replace(record, not_before=0.0, waiting=None, backoff=NO_BACKOFF)

    def reconcile_status(self) -> None:
        """Write the status again if the API server's copy differs."""
        self._status.reconcile()

    def remove(self) -> None:
        """The pod is gone from the API."""
        self._removed = True
        self._wake.set()

    def evict(self, fate: PodFate) -> None:
        """End the pod for the node's sake; it stays in the API as Failed."""
        if self._fate is None and not self._over:
            self._fate = fate
            self._node.event(self.pod, "Warning", fate.reason, fate.message)
            self._wake.set()

    def container_ended(self, state: ContainerState) -> None:
        record = self.records.get(state.name)
        if record is None or record.container_id != state.id or not record.running:
            return
        container = self._container(state.name)
        message = self.containers.termination_log(state.name, state.attempt)
        self._supervision.forget(state.name)
        ended = record.end(ending.exit_of(container, state, message))
        self._put(state.name, ended.forget_run() if record.is_outdated(container) else ended)

    def _started(self, name: str) -> None:
        ready = self._container(name).readiness_probe is None
        self._put(name, replace(self.records[name], started=True, ready=ready))

    def _readiness(self, name: str, ready: bool) -> None:
        record = self.records[name]
        if record.running and record.ready != ready:
            self._put(name, replace(record, ready=ready))

    def _restart(self, name: str, message: str) -> None:
        self._stop(name, message)

    def _put(self, name: str, record: Record) -> None:
        self.records[name] = record
        self._wake.set()
        if self._patience:
            self._publish()

    def successor(self) -> "PodWorker":
        """A new worker for the pod after this one has failed and left."""
        fresh = PodWorker(self._node, self.pod)
        fresh._fate, fresh._removed = self._fate, self._removed
        return fresh

    # --- the loop

    async def run(self) -> None:
        """Work until the pod is gone."""
        await self._adopt()
        while not (self._removed or is_terminating(self.pod)):
            self._wake.clear()
            await self._sleep_until(self._step(time.time()))
        await self._end()

    def _step(self, now: float) -> float | None:
        """Do what is to be done now; returns when to look again at the latest."""
        if self._over:
            return None
        limit = planning.deadline(self.pod, self._start_time)
        if limit is not None and limit <= now and self._fate is None:
            message = "Pod was active on the node longer than the specified deadline"
            self._fate = PodFate(reason="DeadlineExceeded", message=message)
            self._node.event(self.pod, "Normal", "DeadlineExceeded", message)
        current = self._plan(now)
        for name in current.start:
            self._spawn(name, self._bring_up(self._container(name)))
        for name, record in self.records.items():
            if record.running and name not in current.stop and record.is_outdated(self._container(name)):
                self._stop(name, f"Container {name} definition changed, will be restarted")
        for name in current.stop:
            self._stop(name, f"Stopping container {name}")
        self._note_back_off(current)
        self._publish()
        if current.over and not self._tasks and not any(record.running for record in self.records.values()):
            self._finish()
        moments = [moment for moment in (current.wake_at, limit) if moment is not None]
        return min(moments, default=None)

    def _plan(self, now: float) -> Plan:
        if self._fate is None:
            return planning.plan(self.pod, self.records, now)
        running = tuple(name for name, record in self.records.items() if record.running)
        return Plan(stop=running, over=True)

    async def _sleep_until(self, moment: float | None) -> None:
        timeout = None if moment is None else max(0.0, moment - time.time()) + 0.001
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _finish(self) -> None:
        """The pod is over: its address is free again; its logs stay until it is deleted."""
        self._over = True
        self._supervision.close()
        self._spawn("", self._resources.release_network(self.pod))
        self._publish()

    def _note_back_off(self, current: Plan) -> None:
        for name, until in current.back_off.items():
            record = self.records[name]
            if record.waiting is None and record.exit:
                pod = f"{self.pod.metadata.name}_{self.pod.metadata.namespace}({self.pod.metadata.uid})"
                delay = go_duration(round(until - record.exit.finished_at))
                message = f"back-off {delay} restarting failed container={name} pod={pod}"
                self.records[name] = replace(record, waiting=Waiting("CrashLoopBackOff", message))
                text = f"Back-off restarting failed container {name} in pod {pod}"
                self._node.event(self.pod, "Warning", "BackOff", text, name, init=self._is_init(name))

    # --- starting

    async def _bring_up(self, container: Container) -> None:
        name, now = container.name, time.time()
        before = self.records.get(name, Record())
        ended = before.exit.finished_at if before.exit else now
        backoff = before.backoff.grown(ended, now) if before.exit else NO_BACKOFF
        attempt = before.restart_count + bool(before.container_id)
        self._resources.begin(self.pod)
        retry_after = before.backoff.grown(now, now).delay
        try:
            init = self._is_init(name)
            image = await pulling.image_for(self._node, self.pod, container, init=init, retry_after=retry_after)
            run = await self.containers.start(self.pod, container, image, attempt, init=init)
        except StartFailure as failure:
            self._failed_to_start(name, before, failure)
            return
        except Exception as error:
            log.exception("%s: starting container %s", self.pod.metadata.key, name)
            self._node.event(
                self.pod, "Warning", "Failed", f"Error: {_error_message(error)}", name, init=self._is_init(name)
            )
            self._failed_to_start(
                name, before, UnexpectedFailure("CreateContainerError", _error_message(error), retry_after)
            )
            return
        begun = before.begin(run.id, run.image, run.image_id, run.at, container.image)
        self._put(name, replace(begun, backoff=backoff))
        try:
            await self._accompany(container, run)
        except Exception:
            log.exception("%s: hook and probes of container %s", self.pod.metadata.key, name)
            self._restart(name, f"Container {name} could not be supervised, will be restarted")
        if before.container_id:
            await self.containers.remove(self.pod, name, before.restart_count, before.container_id)
            self.containers.remove_log(self.pod, name, before.restart_count - 1)

    async def _accompany(self, container: Container, run: Started) -> None:
        """The container runs: hook first, then probes, unless it has ended already."""
        name, ip = container.name, next(iter(self._resources.ips), "")
        if not await self._supervision.post_start(container, self.records[name], ip):
            return
        record = self.records[name]
        if record.container_id == run.id and record.running:
            self._put(name, record.begun(container))
            self._supervision.watch(container, self.records[name], ip)
        state = self._node.runtime.state(run.id)
        if state and state.status == "stopped":
            self.container_ended(state)

    def _failed_to_start(self, name: str, before: Record, failure: StartFailure) -> None:
        now = time.time()
        shown = replace(before, waiting=Waiting(failure.reason, failure.message), not_before=now + failure.retry_after)
        if isinstance(failure, PullFailure | UnexpectedFailure):
            shown = replace(shown, backoff=before.backoff.grown(now, now))
        if isinstance(failure, PullFailure):
            asyncio.get_running_loop().call_later(IMAGE_ERROR_SECONDS, self._image_back_off, name, failure)
        self._put(name, shown)

    def _image_back_off(self, name: str, failure: StartFailure) -> None:
        record = self.records[name]
        if record.waiting is None or record.waiting.reason != failure.reason or self._patience:
            return
        text = f'Back-off pulling image "{self._container(name).image}"'
        waiting = Waiting("ImagePullBackOff", f"{text}: {failure.reason}: {failure.message}")
        self._node.event(self.pod, "Normal", "BackOff", text, name, init=self._is_init(name))
        self._node.event(self.pod, "Warning", "Failed", "Error: ImagePullBackOff", name, init=self._is_init(name))
        self._put(name, replace(record, waiting=waiting))

    # --- stopping

    def _stop(self, name: str, message: str) -> None:
        """Stop a running container in the background, with the pod's whole grace period."""
        if self.records[name].running and not self._patience:
            patience = Patience(self.pod.spec.termination_grace_period_seconds)
            self._spawn(f"stop {name}", self._stop_container(self._container(name), patience, message))

    async def _stop_container(self, container: Container, patience: Patience, message: str) -> None:
        record = self.records[container.name]
        if not record.running:
            return
        self._supervision.wind_down(container.name)
        ip = next(iter(self._resources.ips), "")
        await Stopper(self._node, self.pod).stop(container, record, ip, patience, message)
        state = self._node.runtime.state(record.container_id)
        if state:
            self.container_ended(state)

    async def _end(self) -> None:
        """Stop everything, say so, take everything down, and let the API object go."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._patience = Patience(self._grace_seconds())
        if is_terminating(self.pod):
            self._publish()
        await self._stop_all(self._patience)
        self._stopped = True
        self._publish()
        self._supervision.close()
        await asyncio.gather(self._status.flush(), self._tear_down())
        if not self._removed:
            await self._status.delete_pod()

    async def _stop_all(self, patience: Patience) -> None:
        """Main containers together, then sidecars one after the other, last started first."""

        async def stop(container: Container) -> None:
            if self.records.get(container.name, Record()).running:
                await self._stop_container(container, patience, f"Stopping container {container.name}")

        others = [one for one in self.pod.spec.init_containers if not is_sidecar(one)]
        await asyncio.gather(*(stop(one) for one in (*self.pod.spec.containers, *others)))
        for sidecar in reversed([one for one in self.pod.spec.init_containers if is_sidecar(one)]):
            await stop(sidecar)

    async def _tear_down(self) -> None:
        self._checkpoint.close()
        steps = [
            self.containers.remove(self.pod, name, record.restart_count, record.container_id)
            for name, record in self.records.items()
            if record.container_id
        ]
        for error in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(error, Exception):
                log.warning("%s: removing a container: %s", self.pod.metadata.key, error)
        await self._resources.tear_down(self.pod)

    def _grace_seconds(self) -> float:
        asked = self.pod.metadata.deletion_grace_period_seconds
        return float(self.pod.spec.termination_grace_period_seconds if asked is None else asked)

    # --- adopting what an earlier agent left

    async def _adopt(self) -> None:
        saved = self._checkpoint.load()
        self._over = is_terminal(self.pod)
        if self.pod.status.start_time:
            self._start_time = times.epoch(self.pod.status.start_time)
        if saved is None:
            self._checkpoint.save_pod(self.pod)
            return
        self._start_time = saved.start_time
        states = [one for one in self._node.runtime.list() if one.pod_uid == self.pod.metadata.uid]
        records = adoption.recognized(saved.records, states)
        self.records = adoption.reconcile(self.pod, records, states, self.containers, time.time())
        for stranger in adoption.strangers(records, states):
            await self.containers.remove(self.pod, stranger.name, stranger.attempt, stranger.id)
        if self._over or planning.is_over(self.pod, self.records):
            return
        if self._resources.adopt(self.pod):
            self._resources.begin(self.pod)
        else:
            self.records = adoption.sandbox_lost(self.records)
        for name, record in self.records.items():
            if record.running:
                ip = next(iter(self._resources.ips), "")
                self._supervision.watch(self._container(name), record, ip)

    async def leave(self) -> None:
        """Stop working and leave the pod as it is, for the next agent."""
        self._supervision.close()
        await self._resources.release()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # --- telling

    def _publish(self) -> None:
        if self._over and not self.records:
            return
        view = PodView(
            pod=self.pod,
            records=self.records,
            start_time=self._start_time,
            host_ip=self._node.options.node_ip,
            pod_ips=self._resources.ips or tuple(one.ip for one in self.pod.status.pod_ips),
            sandbox_ready=self._resources.sandbox is not None,
            fate=self._fate,
            stopped=self._stopped,
        )
        status = pod_status(view, self._conditions, times.now())
        self._conditions = msgspec.convert(status["conditions"], tuple[Condition, ...])
        self._save()
        starting = status["phase"] == "Pending" and not any(record.waiting for record in self.records.values())
        self._status.publish(status, hold=starting)

    def _save(self) -> None:
        """Write the checkpoint; what cannot be written now is written when the worker wakes next."""
        try:
            self._checkpoint.save(self._start_time, self.records)
        except OSError as error:
            log.warning("%s: its checkpoint cannot be written: %s", self.pod.metadata.key, error)
            if not self._unsaved:
                asyncio.get_running_loop().call_later(SAVE_RETRY_SECONDS, self._wake.set)
            self._unsaved = True
        else:
            self._unsaved = False

    # --- for the agent's server

    @property
    def network(self) -> Path | None:
        """The pod's network namespace; None: the node's own."""
        return self._resources.sandbox.network if self._resources.sandbox else None

    def waiting_reason(self, container: str) -> str | None:
        """Why a container without a record does not run; None if the pod has no such container."""
        everyone = (*self.pod.spec.containers, *self.pod.spec.init_containers)
        known = any(one.name == container for one in everyone)
        return waiting_by_default(self.pod, self.records) if known else None

    # --- small things

    def _container(self, name: str) -> Container:
        everyone = (*self.pod.spec.containers, *self.pod.spec.init_containers)
        return next(one for one in everyone if one.name == name)

    def _is_init(self, name: str) -> bool:
        return role_of(self.pod, self._container(name)) is not Role.MAIN

    def _spawn(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as the one task of that key; if there is one already, it goes on alone."""
        loop = asyncio.get_running_loop()
        if key in self._tasks or self._failures.get(key, (0, 0.0))[1] > loop.time():
            work.close()
            return
        task = self._tasks[key] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._task_ended(key, done))

    def _task_ended(self, key: str, task: asyncio.Task[None]) -> None:
        """Go on at once, but after an unexpected failure only later each time."""
        self._tasks.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._failures.pop(key, None)
            self._wake.set()
            return
        log.error("%s %s", self.pod.metadata.key, key, exc_info=error)
        loop = asyncio.get_running_loop()
        times_failed = self._failures.get(key, (0, 0.0))[0] + 1
        delay = min(2.0 ** (times_failed - 1), FAILURE_PAUSE_SECONDS)
        self._failures[key] = times_failed, loop.time() + delay
        loop.call_later(delay + 0.001, self._wake.set)


def _error_message(error: Exception) -> str:
    """The message for an unexpected error, with its type."""
    return f"{type(error).__name__}: {error}"
