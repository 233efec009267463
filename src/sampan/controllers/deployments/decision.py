"""What to do next about a Deployment: one small step, decided from what is there.

A step is a list of changes to ReplicaSets. When they have taken effect, the watch brings the controller back for the
next one; so a rollout is a chain of steps, and a controller that dies between two of them loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sampan.api.apps_v1 import ReplicaSet
from sampan.controllers.deployments import revisions, rolling, scaling
from sampan.controllers.deployments.revisions import World
from sampan.controllers.deployments.rolling import Sizes
from sampan.machinery.objects import Object


@dataclass(frozen=True)
class Create:
    """Make the new ReplicaSet."""

    manifest: Object


@dataclass(frozen=True)
class Change:
    """Give a ReplicaSet another size, other annotations or another minReadySeconds."""

    replica_set: ReplicaSet
    replicas: int
    annotations: Mapping[str, str]
    min_ready_seconds: int | None = None

    @property
    def resizes(self) -> bool:
        return self.replicas != self.replica_set.spec.replicas


@dataclass(frozen=True)
class Delete:
    """Forget an old revision."""

    replica_set: ReplicaSet


Step = tuple[Create | Change | Delete, ...]


def decide(world: World, *, complete: bool, old_pods_running: bool = False) -> Step:
    """The next step. `complete` says that the status shows a finished rollout; `old_pods_running`, which matters to
    Recreate alone, that pods of old ReplicaSets have not ended."""
    spec = world.deployment.spec
    if world.deployment.metadata.deletion_timestamp:
        return ()
    refreshed = _refresh_new(world)
    if refreshed:
        return refreshed
    if spec.paused:
        return (*_resize(world, scaling.decide_sizes(world)), *_clean_up(world))
    if scaling.is_scaling_event(world):
        return _resize(world, scaling.decide_sizes(world))
    step = _recreate(world, old_pods_running) if spec.strategy.type == "Recreate" else _roll(world)
    return step or (_clean_up(world) if complete else ())


def _roll(world: World) -> Step:
    total = sum(one.spec.replicas for one in world.all)
    if world.new is None:
        return _create(world, rolling.new_size(world.deployment, 0, total))
    size = rolling.new_size(world.deployment, world.new.spec.replicas, total)
    if size != world.new.spec.replicas:
        return _resize(world, {world.new.metadata.uid: size})
    return _resize(world, rolling.old_sizes(world.deployment, world.new, world.old))


def _recreate(world: World, old_pods_running: bool) -> Step:
    down = _resize(world, {one.metadata.uid: 0 for one in world.old if one.spec.replicas})
    if down or old_pods_running:
        return down
    wanted = world.deployment.spec.replicas
    if world.new is None:
        return _create(world, wanted)
    return _resize(world, {world.new.metadata.uid: wanted} if world.new.spec.replicas != wanted else {})


def _create(world: World, replicas: int) -> Step:
    return (Create(revisions.manifest(world, replicas, rolling.max_replicas(world.deployment))),)


def _refresh_new(world: World) -> Step:
    """Keep the new ReplicaSet's annotations and minReadySeconds as the Deployment's."""
    if world.new is None:
        return ()
    annotations = revisions.new_annotations(world)
    ready = world.deployment.spec.min_ready_seconds
    if not annotations and world.new.spec.min_ready_seconds == ready:
        return ()
    return (Change(world.new, world.new.spec.replicas, annotations, ready),)


def _resize(world: World, sizes: Sizes) -> Step:
    """The changes that give ReplicaSets these sizes and note what they were scaled for; none where nothing differs."""
    wanted = revisions.size_annotations(world.deployment, rolling.max_replicas(world.deployment))
    changes = []
    for one in world.all:
        size = sizes.get(one.metadata.uid)
        if size is None:
            continue
        annotations = {k: v for k, v in wanted.items() if one.metadata.annotations.get(k) != v}
        if annotations or size != one.spec.replicas:
            changes.append(Change(one, size, annotations))
    return tuple(changes)


def _clean_up(world: World) -> Step:
    """Old revisions beyond the history limit that nothing uses."""
    alive = [one for one in world.old if not one.metadata.deletion_timestamp]
    surplus = len(alive) - world.deployment.spec.revision_history_limit
    alive.sort(key=lambda one: revisions.revision(one.metadata.annotations))
    return tuple(Delete(one) for one in alive[: max(0, surplus)] if _is_unused(one))


def _is_unused(one: ReplicaSet) -> bool:
    observed = one.metadata.generation <= one.status.observed_generation
    return one.spec.replicas == 0 and one.status.replicas == 0 and observed
