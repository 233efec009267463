"""Scaling a Deployment, also in the middle of a rollout: every ReplicaSet gets its share of the difference."""

from collections.abc import Sequence

from sampan.api.apps_v1 import Deployment, ReplicaSet
from sampan.controllers.deployments import rolling
from sampan.controllers.deployments.revisions import DESIRED_REPLICAS, MAX_REPLICAS, World, by_age, revision
from sampan.controllers.deployments.rolling import Sizes


def is_scaling_event(world: World) -> bool:
    """Whether the Deployment's size is not the one its ReplicaSets were last scaled for."""
    wanted = str(world.deployment.spec.replicas)
    desired = (one.metadata.annotations.get(DESIRED_REPLICAS) for one in _active(world.all))
    return any(size is not None and size != wanted for size in desired)


def decide_sizes(world: World) -> Sizes:
    """The size of each ReplicaSet for the Deployment's size."""
    only = _active_or_latest(world)
    if only is not None:
        return {only.metadata.uid: world.deployment.spec.replicas}
    if _is_saturated(world):
        return {one.metadata.uid: 0 for one in _active(world.old)}
    if world.deployment.spec.strategy.type == "RollingUpdate":
        return _proportional(world)
    return {}


def _active(replica_sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    return [one for one in replica_sets if one.spec.replicas > 0]


def _active_or_latest(world: World) -> ReplicaSet | None:
    active = _active(world.all)
    if len(active) == 1:
        return active[0]
    if active or not world.all:
        return None
    return world.new or max(world.old, key=lambda one: revision(one.metadata.annotations))


def _is_saturated(world: World) -> bool:
    """Whether the new ReplicaSet is as large as the Deployment, and all of it available."""
    if world.new is None:
        return False
    wanted = world.deployment.spec.replicas
    desired = world.new.metadata.annotations.get(DESIRED_REPLICAS)
    size, available = world.new.spec.replicas, world.new.status.available_replicas
    return desired == str(wanted) and size == wanted and available == wanted


def _proportional(world: World) -> Sizes:
    """Spread the difference over the active ReplicaSets by their sizes; the largest takes what rounding leaves."""
    deployment, active = world.deployment, _active(world.all)
    allowed = rolling.max_replicas(deployment) if deployment.spec.replicas > 0 else 0
    to_add = allowed - sum(one.spec.replicas for one in active)
    active.sort(key=by_age, reverse=to_add > 0)
    active.sort(key=lambda one: -one.spec.replicas)
    sizes: Sizes = {}
    added = 0
    for one in active:
        share = _share(one, deployment, to_add, added)
        sizes[one.metadata.uid] = one.spec.replicas + share
        added += share
    if active and to_add:
        largest = active[0].metadata.uid
        sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _share(one: ReplicaSet, deployment: Deployment, to_add: int, added: int) -> int:
    if not one.spec.replicas or to_add in (0, added):
        return 0
    fraction, left = _fraction(one, deployment), to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(one: ReplicaSet, deployment: Deployment) -> int:
    """By how much this ReplicaSet would change if it kept its part of the whole."""
    if deployment.spec.replicas == 0:
        return -one.spec.replicas
    text = one.metadata.annotations.get(MAX_REPLICAS, "")
    before = int(text) if text.isdigit() else deployment.status.replicas
    if not before:
        return 0
    now = rolling.max_replicas(deployment)
    return (2 * one.spec.replicas * now + before) // (2 * before) - one.spec.replicas
