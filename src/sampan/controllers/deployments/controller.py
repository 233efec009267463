"""The Deployment controller's shell: observe, decide a step, carry it out, write the status."""

import time

import msgspec

from sampan.api import pods
from sampan.api.apps_v1 import Deployment, DeploymentStatus, ReplicaSet
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import Condition
from sampan.client.events import EventRecorder
from sampan.client.resources import DEPLOYMENTS, REPLICA_SETS
from sampan.controllers import adoption
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, is_namespace_terminating, split
from sampan.controllers.deployments import decision, revisions, scaling, status
from sampan.controllers.deployments.decision import Change, Create, Delete
from sampan.controllers.deployments.revisions import REVISION, World
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.references import reference
from sampan.machinery.errors import AlreadyExists, NotFound, StatusError
from sampan.machinery.objects import Object, controller_of, name
from sampan.machinery.selectors import from_label_selector


class DeploymentController(QueueController):
    name = "deployment"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deployments = context.deployments
        self._replica_sets = context.replica_sets
        self._recorder = EventRecorder(context.client, "deployment-controller")
        self._set_writes: OwnWrites[str] = OwnWrites(self._replica_sets)
        self._own_writes: OwnWrites[str] = OwnWrites(self._deployments)
        self._deployments.add_handler(self.enqueue)
        self._replica_sets.add_handler(self._replica_set_changed)
        context.pods.add_handler(self._pod_changed)

    # --- events

    def _replica_set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for one in (old, new):
            controller = one.metadata.controller if one else None
            if one is not None and controller is not None and controller.kind == DEPLOYMENTS.kind:
                self.queue.add(f"{one.metadata.namespace}/{controller.name}")
        if new is not None and new.metadata.controller is None and not new.metadata.deletion_timestamp:
            for deployment in self._deployments.by_index("namespace", new.metadata.namespace):
                if from_label_selector(deployment.spec.selector).matches(new.metadata.labels):
                    self.queue.add(deployment.metadata.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A Recreate rollout goes on when the last old pod is gone."""
        controller = old.metadata.controller if old else None
        if new is not None or old is None or controller is None or controller.kind != REPLICA_SETS.kind:
            return
        owner = self._replica_sets.get(old.metadata.namespace, controller.name)
        if owner is not None and owner.metadata.controller is not None:
            self.queue.add(f"{old.metadata.namespace}/{owner.metadata.controller.name}")

    # --- reconciling

    async def sync(self, key: str) -> None:
        deployment = self._deployments.get(*split(key))
        if deployment is None:
            return
        if not (self._own_writes.seen(key) and self._set_writes.seen(key)):
            self.queue.add_after(key, STALE_SECONDS)
            return
        if from_label_selector(deployment.spec.selector).empty:
            await self._refuse(deployment)
            return
        world = revisions.observe(deployment, await self._claim(deployment))
        now = time.time()
        base = status.base_conditions(world, now)
        rollout = not deployment.spec.paused and not scaling.is_scaling_event(world)
        found = status.decide(world, base, now, rollout=rollout and not deployment.metadata.deletion_timestamp)
        step = decision.decide(
            world,
            complete=status.is_complete(deployment, found),
            old_pods_running=self._any_running(world),
        )
        for change in step:
            if isinstance(change, Create):
                found = await self._create(world, change, found, now)
            elif isinstance(change, Change):
                await self._change(deployment, change)
            else:
                await self._delete(deployment, change)
        await self._write_status(world, found)
        wait = status.seconds_until_timeout(deployment, found, now)
        if wait is not None and rollout:
            self.queue.add_after(key, wait)

    async def _refuse(self, deployment: Deployment) -> None:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        self._recorder.event(reference(DEPLOYMENTS, deployment.metadata), "Warning", "SelectingAll", message)
        if deployment.status.observed_generation < deployment.metadata.generation:
            await self._patch_status(deployment, {"status": {"observedGeneration": deployment.metadata.generation}})

    async def _claim(self, deployment: Deployment) -> list[ReplicaSet]:
        meta = deployment.metadata
        candidates = self._replica_sets.by_index("controller", meta.uid)
        candidates += [
            one for one in self._replica_sets.by_index("namespace", meta.namespace) if not one.metadata.controller
        ]
        claims = adoption.claim(meta, from_label_selector(deployment.spec.selector), candidates)
        owner = adoption.controller_reference(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, meta)
        for one in claims.adopt:
            await self._patch_set(deployment, one, adoption.adoption_patch(owner, one.metadata))
        for one in claims.release:
            await self._patch_set(deployment, one, adoption.release_patch(meta, one.metadata))
        return [*claims.owned, *claims.adopt]

    def _any_running(self, world: World) -> bool:
        if world.deployment.spec.strategy.type != "Recreate":
            return False
        by_index = self.context.pods.by_index
        old = (pod for one in world.old for pod in by_index("controller", one.metadata.uid))
        return any(not pods.is_terminal(pod) for pod in old)

    # --- acting

    async def _create(self, world: World, change: Create, found: DeploymentStatus, now: float) -> DeploymentStatus:
        """Create the new ReplicaSet; the status that comes of it. A clash of hashes is counted, to differ next time."""
        deployment = world.deployment
        about = reference(DEPLOYMENTS, deployment.metadata)
        try:
            created = await self.client.create(REPLICA_SETS, change.manifest, deployment.metadata.namespace)
        except AlreadyExists:
            return await self._meet_existing(deployment, name(change.manifest), found)
        except StatusError as error:
            if not is_namespace_terminating(error):
                message = f'Failed to create new replica set "{name(change.manifest)}": {error.message}'
                self._recorder.event(about, "Warning", "ReplicaSetCreateError", message)
                failed = _progress(found, "False", "ReplicaSetCreateError", message, now)
                await self._write_status(world, failed)
            raise
        self._set_writes.wrote(deployment.metadata.key, created)
        replicas = change.manifest["spec"]["replicas"]
        if replicas:
            message = f"Scaled up replica set {name(created)} from 0 to {replicas}"
            self._recorder.event(about, "Normal", "ScalingReplicaSet", message)
        return _progress(found, "True", "NewReplicaSetCreated", f'Created new replica set "{name(created)}"', now)

    async def _meet_existing(self, deployment: Deployment, set_name: str, found: DeploymentStatus) -> DeploymentStatus:
        live = await self.client.get(REPLICA_SETS, set_name, deployment.metadata.namespace)
        controller = controller_of(live) or {}
        if controller.get("uid") == deployment.metadata.uid and revisions.same_template(deployment, live):
            self._set_writes.wrote(deployment.metadata.key, live)
            return found
        collisions = (deployment.status.collision_count or 0) + 1
        return msgspec.structs.replace(found, collision_count=collisions)

    async def _change(self, deployment: Deployment, change: Change) -> None:
        one = change.replica_set
        metadata: Object = {"resourceVersion": one.metadata.resource_version, "annotations": dict(change.annotations)}
        spec: Object = {"replicas": change.replicas} if change.resizes else {}
        if change.min_ready_seconds is not None:
            spec["minReadySeconds"] = change.min_ready_seconds
        await self._patch_set(deployment, one, {"metadata": metadata, "spec": spec})
        if change.resizes:
            way = "up" if change.replicas > one.spec.replicas else "down"
            sizes = f"from {one.spec.replicas} to {change.replicas}"
            message = f"Scaled {way} replica set {one.metadata.name} {sizes}"
            self._recorder.event(reference(DEPLOYMENTS, deployment.metadata), "Normal", "ScalingReplicaSet", message)

    async def _delete(self, deployment: Deployment, change: Delete) -> None:
        meta = change.replica_set.metadata
        try:
            await self.client.delete(REPLICA_SETS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return

    async def _patch_set(self, deployment: Deployment, one: ReplicaSet, patch: Object) -> None:
        meta = one.metadata
        written = await self.client.patch(REPLICA_SETS, meta.name, patch, meta.namespace, type="strategic")
        self._set_writes.wrote(deployment.metadata.key, written)

    async def _write_status(self, world: World, found: DeploymentStatus) -> None:
        """Write the status and the revision annotation, if either changed."""
        deployment = world.deployment
        patch: Object = {}
        if found != deployment.status:
            patch["status"] = status.to_object(found)
        number = world.new.metadata.annotations.get(REVISION) if world.new else None
        if number and deployment.metadata.annotations.get(REVISION) != number:
            patch["metadata"] = {"annotations": {REVISION: number}}
        if patch:
            await self._patch_status(deployment, patch)

    async def _patch_status(self, deployment: Deployment, patch: Object) -> None:
        meta = deployment.metadata
        try:
            written = await self.client.patch(DEPLOYMENTS, meta.name, patch, meta.namespace, subresource="status")
        except NotFound:
            return
        self._own_writes.wrote(meta.key, written)


def _progress(found: DeploymentStatus, word: str, reason: str, message: str, now: float) -> DeploymentStatus:
    progressed: tuple[Condition, ...] = status.with_progress(found.conditions, word, reason, message, now)
    return msgspec.structs.replace(found, conditions=progressed)
