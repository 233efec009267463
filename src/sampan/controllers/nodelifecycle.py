"""The node lifecycle controller: a node that no longer reports is Unknown, its taints follow its conditions, and its
pods stop being ready.

A node's heartbeat is its Lease (or its own status); what counts is when *we* saw it change, so that clocks need not
agree. Nothing is polled: each node has a timer that its next heartbeat moves.

A timer that fires proves nothing by itself: this process, the API server or the whole machine may have stood still, and
renewals may wait unread. So a node is given up only on what the API server answers when asked then; and if the timer
fired late, or the answer was long in coming, only when asked once more after the agents had time to renew.
"""

import asyncio
import time
from dataclasses import dataclass

from sampan.api import nodes, pods
from sampan.api.coordination_v1 import Lease
from sampan.api.core_v1 import Node, Pod, Taint
from sampan.client.events import EventRecorder
from sampan.client.resources import LEASES, NODES, PODS
from sampan.controllers.context import NODE_LEASES, Context
from sampan.controllers.controller import QueueController
from sampan.controllers.references import reference
from sampan.machinery import times
from sampan.machinery.errors import NotFound, StatusError
from sampan.machinery.objects import Object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_CONDITION_TAINTS = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_MANAGED = frozenset({*_CONDITION_TAINTS.values(), UNSCHEDULABLE})
LATE_SECONDS = 2.0
"""A timer that fires, or an answer that comes, later than this shows that something stood still."""
SETTLE_SECONDS = 12.0
"""What agents get to renew their Leases after something stood still: a little more than the period of renewals."""
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True)
class Heartbeat:
    """What a node last said, and when we first saw it say so (seconds on a monotonic clock)."""

    said: tuple[str | None, ...]
    seen: float
    before: tuple[str | None, ...] = ()
    """What it said before, which the watch may still show after the API server was asked."""


def said(node: Node, lease: Lease | None) -> tuple[str | None, ...]:
    """All that changes while a node is alive."""
    ready = nodes.condition(node, "Ready")
    beat = (ready.last_heartbeat_time, ready.status) if ready and ready.status != "Unknown" else (None, None)
    return (lease.spec.renew_time if lease else None, *beat)


def desired_taints(node: Node, now: str) -> tuple[Taint, ...]:
    """The node's taints as its conditions and `unschedulable` want them; those that others set stay."""
    wanted = {(key, nodes.NO_SCHEDULE) for key in _condition_keys(node)}
    wanted |= {(key, nodes.NO_EXECUTE) for key in (NOT_READY, UNREACHABLE) if (key, nodes.NO_SCHEDULE) in wanted}
    if node.spec.unschedulable:
        wanted.add((UNSCHEDULABLE, nodes.NO_SCHEDULE))
    kept = [one for one in node.spec.taints if not _is_managed(one) or (one.key, one.effect) in wanted]
    present = {(one.key, one.effect) for one in kept}
    added = [Taint(key=key, effect=effect, time_added=now) for key, effect in sorted(wanted - present)]
    return (*kept, *added)


def _condition_keys(node: Node) -> list[str]:
    pairs = ((one.type, one.status) for one in node.status.conditions)
    return [_CONDITION_TAINTS[pair] for pair in pairs if pair in _CONDITION_TAINTS]


def _is_managed(taint: Taint) -> bool:
    if taint.effect == nodes.NO_EXECUTE:
        return taint.key in (NOT_READY, UNREACHABLE)
    return taint.effect == nodes.NO_SCHEDULE and taint.key in _MANAGED


def unknown_conditions(node: Node, now: str) -> list[Object]:
    """The conditions of a node that has stopped reporting; empty when they say so already."""
    changed = []
    for kind in _REPORTED:
        current = nodes.condition(node, kind)
        if current is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        elif current.status != "Unknown":
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        else:
            continue
        changed.append(
            {"type": kind, "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": now}
        )
    return changed


class NodeLifecycleController(QueueController):
    name = "nodelifecycle"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nodes, self._leases = context.nodes, context.leases
        self._recorder = EventRecorder(context.client, "node-controller")
        self._beats: dict[str, Heartbeat] = {}
        self._settled: dict[str, float] = {}
        """When to judge a node again of which it is doubtful whether its renewals could be read."""
        self._known: set[str] = set()
        self._nodes.add_handler(self._node_changed)
        self._leases.add_handler(self._lease_changed)
        context.pods.add_handler(self._pod_changed)

    # --- events

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._removed(old)
            return
        self.queue.add(new.metadata.name)
        if new.metadata.name not in self._known:
            self._known.add(new.metadata.name)
            name = new.metadata.name
            message = f"Node {name} event: Registered Node {name} in Controller"
            self._recorder.event(reference(NODES, new.metadata), "Normal", "RegisteredNode", message)

    def _removed(self, node: Node) -> None:
        name = node.metadata.name
        self._known.discard(name)
        self._beats.pop(name, None)
        self._settled.pop(name, None)
        message = f"Node {name} event: Removing Node {name} from Controller"
        self._recorder.event(reference(NODES, node.metadata), "Normal", "RemovingNode", message)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        """A renewal only moves the timer, unless the node was given up."""
        if new is None:
            return
        node = self._nodes.get(None, new.metadata.name)
        if node is not None:
            self._beat(node)
            if not nodes.is_ready(node):
                self.queue.add(new.metadata.name)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod that says it is ready on a node that is not."""
        if new is None or not new.spec.node_name or not pods.is_ready(new):
            return
        node = self._nodes.get(None, new.spec.node_name)
        if node is not None and _is_unknown(node):
            self.queue.add(new.spec.node_name)

    # --- reconciling

    async def sync(self, key: str) -> None:
        node = self._nodes.get(None, key)
        if node is None:
            return
        wait = self._due(node) - _clock()
        if wait <= 0 and unknown_conditions(node, ""):
            wait = await self._look_again(node)
        if wait > 0:
            self.queue.add_after(key, wait)
        elif await self._give_up(node):
            return
        await self._set_taints(node)
        if _is_unknown(node):
            await self._mark_pods(node)

    def _due(self, node: Node) -> float:
        """When the node is to be given up if it says nothing more."""
        due = self._beat(node).seen + self._grace(node)
        return max(due, self._settled.get(node.metadata.name, 0.0))

    async def _look_again(self, node: Node) -> float:
        """Ask the API server for the heartbeat of a node that is due; how long to wait before judging, 0 if it may be
        judged now.
        """
        name, asked = node.metadata.name, _clock()
        late = asked - self._due(node) > LATE_SECONDS
        try:
            fresh = await self.client.get(NODES, name, None, Node)
            lease = await self._lease(name)
        except (StatusError, OSError) as error:
            self._settled[name] = _clock() + SETTLE_SECONDS
            if isinstance(error, NotFound):
                return SETTLE_SECONDS
            raise
        before = self._beat(node)
        after = self._heard(name, said(fresh, lease))
        if after is not before:
            return after.seen + self._grace(fresh) - _clock()
        if late or _clock() - asked > LATE_SECONDS:
            self._settled[name] = _clock() + SETTLE_SECONDS
            return SETTLE_SECONDS
        return 0.0

    async def _lease(self, name: str) -> Lease | None:
        try:
            return await self.client.get(LEASES, name, NODE_LEASES, Lease)
        except NotFound:
            return None

    def _beat(self, node: Node) -> Heartbeat:
        """The node's heartbeat, renewed when it said something new."""
        return self._heard(node.metadata.name, said(node, self._leases.get(NODE_LEASES, node.metadata.name)))

    def _heard(self, name: str, now_said: tuple[str | None, ...]) -> Heartbeat:
        beat = self._beats.get(name)
        if beat is None or now_said not in (beat.said, beat.before):
            beat = self._beats[name] = Heartbeat(now_said, _clock(), beat.said if beat else ())
            self._settled.pop(name, None)
        return beat

    def _grace(self, node: Node) -> float:
        options = self.context.options
        reported = nodes.condition(node, "Ready") is not None
        return options.node_monitor_grace_seconds if reported else options.node_startup_grace_seconds

    async def _give_up(self, node: Node) -> bool:
        """Set the node's conditions to Unknown; whether there was anything to set."""
        changed = unknown_conditions(node, times.now())
        if not changed:
            return False
        name = node.metadata.name
        patch = {"status": {"conditions": changed}}
        try:
            await self.client.patch(NODES, name, patch, type="strategic", subresource="status")
        except NotFound:
            return True
        message = f"Node {name} status is now: NodeNotReady"
        self._recorder.event(reference(NODES, node.metadata), "Normal", "NodeNotReady", message)
        return True

    async def _set_taints(self, node: Node) -> None:
        wanted = desired_taints(node, times.now())
        if wanted == node.spec.taints:
            return
        patch = {
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": [taint_object(one) for one in wanted] or None},
        }
        try:
            await self.client.patch(NODES, node.metadata.name, patch)
        except NotFound:
            return

    async def _mark_pods(self, node: Node) -> None:
        ready = [pod for pod in self.context.pods.by_index("node", node.metadata.name) if pods.is_ready(pod)]
        await asyncio.gather(*(self._mark_pod(pod) for pod in ready))

    async def _mark_pod(self, pod: Pod) -> None:
        condition = {"type": "Ready", "status": "False", "lastTransitionTime": times.now()}
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        meta = pod.metadata
        try:
            await self.client.patch(PODS, meta.name, patch, meta.namespace, type="strategic", subresource="status")
        except NotFound:
            return
        self._recorder.event(reference(PODS, meta), "Warning", "NodeNotReady", "Node is not ready")


def taint_object(taint: Taint) -> Object:
    fields = {"key": taint.key, "value": taint.value, "effect": taint.effect, "timeAdded": taint.time_added}
    return {name: value for name, value in fields.items() if value}


def _is_unknown(node: Node) -> bool:
    ready = nodes.condition(node, "Ready")
    return ready is not None and ready.status == "Unknown"


def _clock() -> float:
    return time.monotonic()
