"""The pod garbage collector: pods whose node is gone for good, pods that were never scheduled and are being deleted,
and ended pods beyond a limit.
"""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.core_v1 import Node, Pod
from sampan.client.resources import NODES, PODS
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController
from sampan.machinery import times
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object

ALL = "all"


@dataclass(frozen=True)
class Verdict:
    """Pods to remove at once: `orphaned` are marked as failed first."""

    orphaned: tuple[Pod, ...] = ()
    unscheduled: tuple[Pod, ...] = ()
    surplus: tuple[Pod, ...] = ()


def decide(found: Iterable[Pod], gone_nodes: Collection[str], threshold: int) -> Verdict:
    """`gone_nodes` are known not to exist; at most `threshold` ended pods may stay (0: all may): pure."""
    found = tuple(found)
    orphaned = tuple(pod for pod in found if pod.spec.node_name in gone_nodes)
    unscheduled = tuple(pod for pod in found if not pod.spec.node_name and pods.is_terminating(pod))
    ended = [pod for pod in found if pods.is_terminal(pod) and pod.spec.node_name not in gone_nodes]
    ended.sort(key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name))
    surplus = ended[: max(0, len(ended) - threshold)] if threshold > 0 else []
    return Verdict(orphaned, unscheduled, tuple(surplus))


class PodGarbageCollector(QueueController):
    """One key per node that has disappeared, and one for all pods."""

    name = "podgc"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes, self._pods = context.nodes, context.pods
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None and old is not None:
            self._quarantine(old.metadata.name)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            return
        if not new.spec.node_name:
            if pods.is_terminating(new):
                self.queue.add(ALL)
        elif self._nodes.synced and self._nodes.get(None, new.spec.node_name) is None:
            self._quarantine(new.spec.node_name)
        if pods.is_terminal(new) and (old is None or not pods.is_terminal(old)):
            self.queue.add_after(ALL, 1.0)

    def _quarantine(self, node: str) -> None:
        """A node that has just gone may come back under its name."""
        self.queue.add_after(f"node/{node}", self.context.options.pod_gc_quarantine_seconds)

    async def run(self) -> None:
        await self.context.informers.wait_synced()
        for pod in self._pods.items():
            self._pod_changed(None, pod)
        await super().run()

    async def sync(self, key: str) -> None:
        gone: set[str] = set()
        node = key.removeprefix("node/")
        if node != key and self._nodes.get(None, node) is None and await self._is_gone(node):
            gone.add(node)
        found = self._pods.by_index("node", node) if gone else self._pods.items()
        verdict = decide(found, gone, self.context.options.terminated_pod_threshold)
        await asyncio.gather(*(self._fail(pod) for pod in verdict.orphaned if not pods.is_terminal(pod)))
        await asyncio.gather(
            *(self._remove(pod) for pod in (*verdict.orphaned, *verdict.unscheduled, *verdict.surplus))
        )

    async def _is_gone(self, node: str) -> bool:
        try:
            await self.client.get(NODES, node)
        except NotFound:
            return True
        return False

    async def _fail(self, pod: Pod) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": times.now(),
        }
        await self._patch_status(pod, {"phase": "Failed", "conditions": [condition]})

    async def _patch_status(self, pod: Pod, status: Object) -> None:
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": status}
        try:
            await self.client.patch(PODS, meta.name, patch, meta.namespace, type="strategic", subresource="status")
        except NotFound:
            return

    async def _remove(self, pod: Pod) -> None:
        meta = pod.metadata
        try:
            await self.client.delete(PODS, meta.name, meta.namespace, grace_period=0, uid=meta.uid)
        except NotFound:
            return
