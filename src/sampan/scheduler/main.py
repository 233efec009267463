"""The scheduler's shell: watches pods and nodes, decides for one pod at a time, binds many at once."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.core_v1 import Namespace, Node, Pod
from sampan.client.config import Config
from sampan.client.events import EventRecorder
from sampan.client.informer import Informers
from sampan.client.resources import NAMESPACES, NODES, PODS
from sampan.client.rest import Client
from sampan.http.health import Health
from sampan.machinery import times
from sampan.machinery.errors import Conflict, NotFound, StatusError
from sampan.machinery.objects import Object
from sampan.scheduler import decision, preemption
from sampan.scheduler.decision import Placed, Unplaced
from sampan.scheduler.metrics import ERROR, SCHEDULED, UNSCHEDULABLE, Metrics
from sampan.scheduler.queue import SchedulingQueue
from sampan.scheduler.snapshot import Snapshot

log = logging.getLogger(__name__)

PARALLEL_BINDINGS = 8


@dataclass(frozen=True)
class SchedulerOptions:
    """With `health_port`, health and metrics are served on it, on the loopback address."""

    config: Config
    name: str = "default-scheduler"
    health_port: int | None = None


class Scheduler:
    """Gives every pod that asks for this scheduler a node."""

    def __init__(self, client: Client, options: SchedulerOptions) -> None:
        self._client = client
        self._name = options.name
        self._recorder = EventRecorder(client, options.name)
        self._snapshot = Snapshot()
        self._queue = SchedulingQueue()
        self.metrics = Metrics(options.name, self._queue)
        self._slots = asyncio.Semaphore(PARALLEL_BINDINGS)
        self._told: dict[str, str] = {}
        self.informers = Informers(client)
        self.informers.of(NODES, Node).add_handler(self._node_changed)
        self.informers.of(NAMESPACES, Namespace).add_handler(self._namespace_changed)
        unfinished = "status.phase!=Succeeded,status.phase!=Failed"
        self.informers.of(PODS, Pod, field_selector=unfinished).add_handler(self._pod_changed)

    async def run(self) -> None:
        """Place pods until cancelled."""
        await self.informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            while True:
                pod = await self._queue.pop()
                action = self._try(pod)
                if action is not None:
                    await self._slots.acquire()
                    group.create_task(self._act(action))

    # --- events

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._snapshot.remove_node(old.metadata.name)
            return
        if old is not None and _matters(old) == _matters(new):
            return
        self._snapshot.set_node(new)
        self._queue.retry()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None:
            self._snapshot.namespaces[new.metadata.name] = dict(new.metadata.labels)
        elif old is not None:
            self._snapshot.namespaces.pop(old.metadata.name, None)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            if old is not None:
                self._pod_gone(old)
        elif new.spec.node_name:
            self._pod_placed(old, new)
        elif not self._is_ours(new):
            self._queue.remove(new.metadata.uid)
        elif not self._snapshot.is_assumed(new.metadata.uid):
            if old is None or old.spec != new.spec or old.metadata.labels != new.metadata.labels:
                self._queue.add(new)
            else:
                self._queue.refresh(new)

    def _pod_gone(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        self._queue.remove(uid)
        self._told.pop(uid, None)
        self._snapshot.remove(uid)
        if pod.spec.node_name:
            self._queue.retry()

    def _pod_placed(self, old: Pod | None, new: Pod) -> None:
        self._queue.remove(new.metadata.uid)
        self._told.pop(new.metadata.uid, None)
        if old is not None and _placement(old) == _placement(new):
            return
        self._snapshot.place(new, new.spec.node_name)
        if old is None or not old.spec.node_name:
            self._queue.retry(_minds_company)

    def _is_ours(self, pod: Pod) -> bool:
        if pod.spec.scheduler_name != self._name or pod.spec.scheduling_gates:
            return False
        return pods.is_active(pod)

    # --- placing

    def _try(self, pod: Pod) -> "_Action | None":
        """Decide; a pod that cannot even be understood must not keep the others waiting."""
        started = time.monotonic()
        try:
            action = self._decide(pod)
        except ValueError:
            log.exception("scheduling %s", pod.metadata.key)
            self.metrics.attempt(ERROR, time.monotonic() - started)
            return None
        result = SCHEDULED if isinstance(action.outcome, Placed) else UNSCHEDULABLE
        self.metrics.attempt(result, time.monotonic() - started)
        return action

    def _decide(self, pod: Pod) -> "_Action":
        """Decide, and assume the outcome at once: the next decision counts on it."""
        outcome = decision.decide(pod, self._snapshot, random.choice)
        if isinstance(outcome, Placed):
            self._queue.remove(pod.metadata.uid)
            self._snapshot.place(pod, outcome.node, assumed=True)
            return _Action(pod, outcome)
        return _Action(pod, outcome, preemption.decide(pod, self._snapshot, outcome))

    async def _act(self, action: "_Action") -> None:
        pod = action.pod
        try:
            if isinstance(action.outcome, Placed):
                await self._bind(pod, action.outcome.node)
            else:
                await self._refuse(pod, action.outcome, action.way_out)
        except (StatusError, OSError) as error:
            log.warning("scheduling %s: %s", pod.metadata.key, error)
            self._queue.retry_later(pod)
        finally:
            self._slots.release()

    async def _bind(self, pod: Pod, node: str) -> None:
        meta = pod.metadata
        binding: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, binding, meta.namespace, name=meta.name, subresource="binding")
        except (NotFound, Conflict) as error:
            log.info("binding %s to %s: %s", meta.key, node, error)
            self._snapshot.forget_assumed(meta.uid)
            return
        except (StatusError, OSError):
            self._snapshot.forget_assumed(meta.uid)
            raise
        message = f"Successfully assigned {meta.namespace}/{meta.name} to {node}"
        self._recorder.event(_reference(pod), "Normal", "Scheduled", message)

    async def _refuse(self, pod: Pod, outcome: Unplaced, way_out: preemption.Preemption | None) -> None:
        """Say why the pod has no node, once per reason; make room for it if that helps."""
        message = outcome.message()
        if way_out is not None:
            await self._preempt(pod, way_out)
        if self._told.get(pod.metadata.uid) == message:
            return
        self._told[pod.metadata.uid] = message
        self._recorder.event(_reference(pod), "Warning", "FailedScheduling", message)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": times.now(),
        }
        status: Object = {"conditions": [condition]}
        if way_out is not None:
            status["nominatedNodeName"] = way_out.node
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        try:
            await self._client.patch(PODS, meta.name, patch, meta.namespace, type="strategic", subresource="status")
        except NotFound:
            return

    async def _preempt(self, pod: Pod, way_out: preemption.Preemption) -> None:
        self.metrics.victims.observe(len(way_out.victims))
        for victim in way_out.victims:
            if pods.is_terminating(victim):
                continue
            meta = victim.metadata
            message = f"Preempted by pod {pod.metadata.uid} on node {way_out.node}"
            self._recorder.event(_reference(victim), "Normal", "Preempted", message)
            try:
                await self._client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
            except NotFound:
                continue


@dataclass(frozen=True)
class _Action:
    """What was decided about a pod."""

    pod: Pod
    outcome: Placed | Unplaced
    way_out: preemption.Preemption | None = None


def _minds_company(pod: Pod) -> bool:
    """Whether another pod's arrival can make the pod fit."""
    affinity = pod.spec.affinity
    return bool(affinity and affinity.pod_affinity) or bool(pod.spec.topology_spread_constraints)


def _placement(pod: Pod) -> tuple[object, ...]:
    """All of a placed pod that decisions about others depend on."""
    return pod.spec, pod.metadata.labels, pods.is_terminating(pod)


def _matters(node: Node) -> tuple[object, ...]:
    """All of a node that decisions depend on."""
    return node.metadata.labels, node.spec.taints, node.spec.unschedulable, node.status.allocatable, node.metadata.uid


def _reference(pod: Pod) -> Object:
    meta = pod.metadata
    metadata = {"namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


async def run(options: SchedulerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Run the scheduler until cancelled; `ready` is called when it has seen all nodes and pods."""
    async with AsyncExitStack() as stack:
        client = Client(options.config, user_agent="sampan-scheduler", connections=PARALLEL_BINDINGS + 1)
        stack.push_async_callback(client.close)
        scheduler = Scheduler(client, options)
        if options.health_port is not None:
            synced = {"informer-sync": lambda: not scheduler.informers.missing()}
            server = await Health(scheduler.metrics.registry, ready=synced).serve("127.0.0.1", options.health_port)
            stack.push_async_callback(server.close)
        async with asyncio.TaskGroup() as group:
            group.create_task(scheduler.informers.run())
            group.create_task(scheduler.run())
            await scheduler.informers.wait_synced()
            ready()
