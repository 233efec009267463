"""The DaemonSet controller's shell."""

import time

import msgspec

from sampan.api import pods
from sampan.api.apps_v1 import ControllerRevision, DaemonSet, DaemonSetStatus
from sampan.api.core_v1 import Node, Pod, PodSpec
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.events import EventRecorder
from sampan.client.resources import DAEMON_SETS
from sampan.controllers import history
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.daemonsets.decision import Plan, World, by_node, decide, decide_status
from sampan.controllers.daemonsets.placement import tied_to
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.ownership import PodOwnership, controllers_of
from sampan.controllers.podcontrol import PodControl, slow_start
from sampan.controllers.references import reference
from sampan.machinery.errors import NotFound
from sampan.machinery.objects import Object
from sampan.machinery.selectors import LabelSelector, from_label_selector

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 900.0


class DaemonSetController(QueueController):
    name = "daemonset"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets, self._revisions, self._nodes = context.daemon_sets, context.controller_revisions, context.nodes
        self._recorder = EventRecorder(context.client, "daemonset-controller")
        self._pod_writes: OwnWrites[str] = OwnWrites(context.pods)
        self._history_writes: OwnWrites[str] = OwnWrites(self._revisions)
        self._pods = PodControl(context.client, self._recorder, DAEMON_SETS, self._pod_writes)
        self._ownership = PodOwnership(context, self._sets, _selector, self._pod_writes)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self._sets.add_handler(self.enqueue)
        self._nodes.add_handler(self._node_changed)
        self._revisions.add_handler(self._revision_changed)
        self._ownership.wake(self.queue)

    # --- events

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is not None and _matters(old) == _matters(new):
            return
        for one in self._sets.items():
            self.queue.add(one.metadata.key)

    def _revision_changed(self, old: ControllerRevision | None, new: ControllerRevision | None) -> None:
        for key in controllers_of(DAEMON_SETS, old, new):
            self.queue.add(key)

    # --- reconciling

    async def sync(self, key: str) -> None:
        found = self._sets.get(*split(key))
        if found is None:
            return
        if not (self._pod_writes.seen(key) and self._history_writes.seen(key)):
            self.queue.add_after(key, STALE_SECONDS)
            return
        if _selector(found).empty:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._recorder.event(reference(DAEMON_SETS, found.metadata), "Warning", "SelectingAll", message)
            return
        mine = await self._ownership.claim(found)
        revision = await self._remember(found)
        world = self._observe(found, mine, revision.hash if revision else "")
        if revision is not None and not found.metadata.deletion_timestamp:
            await self._apply(world, decide(world))
            await self._forget_surplus(found, mine, revision.hash)
        collided = revision is None
        await self._write_status(found, decide_status(world), collided=collided)
        self._look_again(world)

    async def _remember(self, found: DaemonSet) -> history.Revision | None:
        """The current revision, written down; None when its hash clashed with another's."""
        known = self._revisions.by_index("controller", found.metadata.uid)
        revision = history.current_revision(found.metadata, found.spec.template, known, found.status.collision_count)
        if found.metadata.deletion_timestamp:
            return revision
        labels = (found.spec.template.get("metadata") or {}).get("labels") or {}
        kept = await history.remember(self.client, self._history_writes, DAEMON_SETS, found.metadata, revision, labels)
        return revision if kept else None

    async def _forget_surplus(self, found: DaemonSet, mine: list[Pod], current: str) -> None:
        used = {pod.metadata.labels.get(history.HASH_LABEL, "") for pod in mine} | {current}
        known = self._revisions.by_index("controller", found.metadata.uid)
        await history.forget(self.client, history.surplus(known, used, found.spec.revision_history_limit))

    def _observe(self, found: DaemonSet, mine: list[Pod], hash_: str) -> World:
        spec = msgspec.convert(found.spec.template.get("spec") or {}, PodSpec, strict=False)
        kept = [pod for pod in mine if not self._pod_writes.is_doomed(pod)]
        return World(found, spec, tuple(self._nodes.items()), by_node(kept), hash_, time.time())

    async def _apply(self, world: World, plan: Plan) -> None:
        owner = world.daemon_set.metadata
        ended = {pod.metadata.uid for pod in plan.ended}
        due = [pod for pod in plan.delete if pod.metadata.uid not in ended or self._may_replace(world, pod)]
        error = await self._pods.delete_all(owner, due)
        pod = self._pods.pod(owner, world.daemon_set.spec.template)
        pod["metadata"]["labels"] = {**pod["metadata"]["labels"], history.HASH_LABEL: world.hash}
        targets = plan.create

        async def create(index: int) -> None:
            await self._pods.create(owner, tied_to(pod, targets[index], world.spec))

        _, failed = await slow_start(len(targets), create)
        error = error or (None if failed is not None and is_namespace_terminating(failed) else failed)
        if error is not None:
            raise error

    def _may_replace(self, world: World, pod: Pod) -> bool:
        """Ended pods are replaced later and later while they keep ending on the same node."""
        owner = world.daemon_set.metadata
        place = (owner.uid, pod.spec.node_name)
        count, last = self._failures.get(place, (0, 0.0))
        delay = min(FIRST_RETRY_SECONDS * 2.0**count, LAST_RETRY_SECONDS) if count else 0.0
        if world.now < last + delay:
            self.queue.add_after(owner.key, last + delay - world.now)
            return False
        self._failures[place] = (count + 1, world.now)
        self._tell_ended(owner, pod)
        return True

    def _tell_ended(self, owner: ObjectMeta, pod: Pod) -> None:
        about, where = reference(DAEMON_SETS, owner), f"{pod.metadata.key} on node {pod.spec.node_name}"
        if pod.status.phase == "Failed":
            message = f"Found failed daemon pod {where}, will try to kill it"
            self._recorder.event(about, "Warning", "FailedDaemonPod", message)
        else:
            message = f"Found succeeded daemon pod {where}, will try to delete it"
            self._recorder.event(about, "Normal", "SucceededDaemonPod", message)

    def _look_again(self, world: World) -> None:
        """Come back when the next pod becomes available."""
        least = world.daemon_set.spec.min_ready_seconds
        waits = [pods.available_in(pod, least, world.now) for there in world.pods.values() for pod in there]
        wait = min((one for one in waits if one), default=None)
        if wait is not None:
            self.queue.add_after(world.daemon_set.metadata.key, wait)

    async def _write_status(self, found: DaemonSet, status: DaemonSetStatus, *, collided: bool) -> None:
        if collided:
            status = msgspec.structs.replace(status, collision_count=(found.status.collision_count or 0) + 1)
        if status == found.status:
            return
        meta = found.metadata
        patch = {"status": _status_object(status)}
        try:
            await self.client.patch(DAEMON_SETS, meta.name, patch, meta.namespace, subresource="status")
        except NotFound:
            return


def _status_object(status: DaemonSetStatus) -> Object:
    return {
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "observedGeneration": status.observed_generation or None,
        "updatedNumberScheduled": status.updated_number_scheduled or None,
        "numberAvailable": status.number_available or None,
        "numberUnavailable": status.number_unavailable or None,
        "collisionCount": status.collision_count,
    }


def _matters(node: Node) -> tuple[object, ...]:
    """All of a node that placement depends on."""
    return node.metadata.labels, node.spec.taints, node.spec.unschedulable


def _selector(found: DaemonSet) -> LabelSelector:
    return from_label_selector(found.spec.selector)
