"""The pods of this node: one worker for each, from the first time it is seen until nothing of it is left.

Fed by the watch of pods with this node's name and by the runtime's exits. After a restart it takes over every pod
that left a checkpoint, those included that were deleted from the API meanwhile.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from sampan.api import core_v1
from sampan.api.core_v1 import Pod
from sampan.api.pods import is_terminal, is_terminating
from sampan.client.resources import NODES, PODS
from sampan.machinery import times
from sampan.machinery.errors import StatusError
from sampan.node import admission, leftovers
from sampan.node.checkpoints import Checkpoint
from sampan.node.node import Node
from sampan.node.runtime.types import ContainerState
from sampan.node.status import PodFate, rejected_status
from sampan.node.worker import PodWorker

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0


class PodManager:
    """All workers of the node, by pod uid."""

    def __init__(self, node: Node) -> None:
        self.workers: dict[str, PodWorker] = {}
        self._node = node
        self._labels = node.labels
        self._tasks: dict[str, asyncio.Task[None]] = {}
        node.runtime.add_exit_listener(self._container_ended)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """The informer's handler."""
        if new is not None:
            worker = self.workers.get(new.metadata.uid)
            if worker:
                worker.update(new)
            else:
                self._admit(new)
        elif old is not None and (worker := self.workers.get(old.metadata.uid)):
            worker.remove()

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of the newest pod of that name."""
        found = [
            worker
            for worker in self.workers.values()
            if worker.pod.metadata.name == name and worker.pod.metadata.namespace == namespace
        ]
        return found[-1] if found else None

    def adopt_orphans(self, present: Iterable[Pod]) -> None:
        """End pods that left something here but are no longer in the API, whatever stage of their life they are in."""
        known = {*self.workers, *(pod.metadata.uid for pod in present)}
        for uid in leftovers.of_unknown_pods(self._node, known):
            pod = Checkpoint(self._node.options.pods / uid).load_pod()
            if pod is not None:
                self._start(pod).remove()
            else:
                self._run(uid, leftovers.clear(self._node, uid))

    async def sweep(self) -> None:
        """Remove what pods that are over have left, again and again, until cancelled."""
        await leftovers.sweep(self._node, lambda: {*self.workers, *self._tasks})

    async def keep_statuses(self) -> None:
        """Compare every pod's status with the API server's copy now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._node.options.sync_seconds)
            for worker in list(self.workers.values()):
                worker.reconcile_status()

    async def leave(self) -> None:
        """Stop all work and leave every pod as it is."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(worker.leave() for worker in self.workers.values()))

    # --- admitting

    def _admit(self, pod: Pod) -> None:
        known_here = (self._node.options.pods / pod.metadata.uid).is_dir()
        if not known_here and not is_terminal(pod) and not is_terminating(pod):
            if any(self._labels.get(key) != value for key, value in pod.spec.node_selector.items()):
                self._run(f"admit {pod.metadata.uid}", self._admit_with_fresh_labels(pod))
                return
            if fate := self._refusal(pod):
                self._run(f"reject {pod.metadata.uid}", self._reject(pod, fate))
                return
        self._start(pod)

    async def _admit_with_fresh_labels(self, pod: Pod) -> None:
        """The node's labels may have changed just before the scheduler used them: ask before refusing."""
        try:
            own = await self._node.client.get(NODES, self._node.options.node_name, None, core_v1.Node)
            self._labels = own.metadata.labels
        except (StatusError, OSError) as error:
            log.warning("labels of node %s: %s", self._node.options.node_name, error)
        if fate := self._refusal(pod):
            await self._reject(pod, fate)
        elif pod.metadata.uid not in self.workers:
            self._start(pod)

    def _refusal(self, pod: Pod) -> PodFate | None:
        others = [worker.pod for worker in self.workers.values()]
        return admission.refusal(pod, others, self._labels, self._node.allocatable)

    def _start(self, pod: Pod) -> PodWorker:
        uid = pod.metadata.uid
        worker = self.workers[uid] = PodWorker(self._node, pod)
        self._run(uid, self._work(uid, worker))
        return worker

    async def _work(self, uid: str, worker: PodWorker) -> None:
        """Run a pod's worker to the pod's end. One that fails is followed by another, which adopts what is there."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                await worker.run()
                return
            except Exception:
                log.exception("%s: its worker failed; the next one starts in %.0f s", worker.pod.metadata.key, delay)
            await worker.leave()
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)
            worker = self.workers[uid] = worker.successor()

    async def _reject(self, pod: Pod, fate: PodFate) -> None:
        self._node.event(pod, "Warning", fate.reason, fate.message)
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": rejected_status(pod, fate, times.now())}
        try:
            await self._node.client.patch(
                PODS, pod.metadata.name, patch, pod.metadata.namespace, type="strategic", subresource="status"
            )
        except (StatusError, OSError) as error:
            log.warning("rejecting %s: %s", pod.metadata.key, error)

    # --- tasks

    def _run(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[key] = asyncio.create_task(work, name=f"pod {key}")
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            worker = self.workers.pop(key, None)
            if error := task.exception():
                log.error("%s", worker.pod.metadata.key if worker else key, exc_info=error)

    def _container_ended(self, state: ContainerState) -> None:
        worker = self.workers.get(state.pod_uid)
        if worker:
            worker.container_ended(state)
