"""The taint eviction controller: pods leave a node that has a NoExecute taint which they do not tolerate, at once or
after the seconds they tolerate it for.
"""

import time
from collections.abc import Iterable

from sampan.api import nodes, pods
from sampan.api.core_v1 import Node, Pod, Taint
from sampan.client.events import EventRecorder
from sampan.client.resources import PODS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, split
from sampan.controllers.references import reference
from sampan.machinery import times
from sampan.machinery.errors import NotFound


def evict_at(pod: Pod, taints: Iterable[Taint], now: float) -> float | None:
    """The epoch at which the pod must go, None when it may stay for ever: pure.

    A tolerated taint's time runs from when it was added.
    """
    due: float | None = None
    for taint in taints:
        if taint.effect != nodes.NO_EXECUTE:
            continue
        matching = [one for one in pod.spec.tolerations if nodes.tolerates(one, taint)]
        if not matching:
            return now
        seconds = [one.toleration_seconds for one in matching if one.toleration_seconds is not None]
        if seconds:
            added = times.epoch(taint.time_added) if taint.time_added else now
            end = added + max(0, min(seconds))
            due = end if due is None else min(due, end)
    return due


class TaintEvictionController(QueueController):
    name = "taint-eviction-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes, self._pods = context.nodes, context.pods
        self._recorder = EventRecorder(context.client, "taint-eviction-controller")
        self._marked: dict[str, float] = {}
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or (old is not None and old.spec.taints == new.spec.taints):
            return
        if _harmful(new) or (old is not None and _harmful(old)):
            for pod in self._pods.by_index("node", new.metadata.name):
                self.queue.add(pod.metadata.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            self._marked.pop(old.metadata.key if old else "", None)
            return
        node = self._nodes.get(None, new.spec.node_name) if new.spec.node_name else None
        if node is not None and _harmful(node):
            self.queue.add(new.metadata.key)

    async def sync(self, key: str) -> None:
        pod = self._pods.get(*split(key))
        if pod is None or pods.is_terminating(pod):
            return
        node = self._nodes.get(None, pod.spec.node_name) if pod.spec.node_name else None
        if node is None:
            return
        now = time.time()
        due = evict_at(pod, node.spec.taints, now)
        if due is None:
            self._cancel(pod)
        elif due > now:
            self._marked[key] = due
            self.queue.add_after(key, due - now)
        else:
            await self._evict(pod)

    def _cancel(self, pod: Pod) -> None:
        if self._marked.pop(pod.metadata.key, None) is not None:
            message = f"Cancelling deletion of Pod {pod.metadata.key}"
            self._recorder.event(reference(PODS, pod.metadata), "Normal", "TaintManagerEviction", message)

    async def _evict(self, pod: Pod) -> None:
        meta = pod.metadata
        message = f"Marking for deletion Pod {meta.key}"
        self._recorder.event(reference(PODS, meta), "Normal", "TaintManagerEviction", message)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": times.now(),
        }
        patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}}
        try:
            await self.client.patch(PODS, meta.name, patch, meta.namespace, type="strategic", subresource="status")
            await self.client.delete(PODS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return


def _harmful(node: Node) -> bool:
    return any(one.effect == nodes.NO_EXECUTE for one in node.spec.taints)
