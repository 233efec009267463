"""The status of a Deployment: its counts, and the conditions Available, Progressing and ReplicaFailure."""

from collections.abc import Iterable

from msgspec import structs

from sampan.api.apps_v1 import Deployment, DeploymentStatus, ReplicaSet
from sampan.api.meta_v1 import Condition
from sampan.controllers import conditions
from sampan.controllers.deployments import rolling
from sampan.controllers.deployments.revisions import World
from sampan.machinery import times
from sampan.machinery.objects import Object

AVAILABLE, PROGRESSING, REPLICA_FAILURE = "Available", "Progressing", "ReplicaFailure"
TIMED_OUT = "ProgressDeadlineExceeded"
NEW_AVAILABLE = "NewReplicaSetAvailable"
NO_DEADLINE = 2**31 - 1


def decide(world: World, base: tuple[Condition, ...], now: float, *, rollout: bool) -> DeploymentStatus:
    """The status now. `base` are the conditions to start from; without `rollout` (paused, being scaled or deleted)
    progress is not judged."""
    status = _counts(world, base, now)
    if rollout:
        found = _judge_progress(world, status, now)
        failures = [c for one in world.all for c in one.status.conditions if c.type == REPLICA_FAILURE]
        found = conditions.without(found, REPLICA_FAILURE)
        status = structs.replace(status, conditions=(*found, *failures[-1:]))
    return status


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether every pod is of the new template, available, and no other is left."""
    wanted = deployment.spec.replicas
    return (
        status.updated_replicas == wanted
        and status.replicas == wanted
        and status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def base_conditions(world: World, now: float) -> tuple[Condition, ...]:
    """The Deployment's conditions, with what pausing, resuming and finding a ReplicaSet add."""
    deployment = world.deployment
    found = deployment.status.conditions
    if deployment.spec.progress_deadline_seconds == NO_DEADLINE:
        return found
    progressing = conditions.find(found, PROGRESSING)
    if world.new is not None and progressing is None:
        found = with_progress(found, "True", "FoundNewReplicaSet", f'Found new replica set "{_name(world.new)}"', now)
    if progressing is not None and progressing.reason == TIMED_OUT:
        return found
    was_paused = progressing is not None and progressing.reason == "DeploymentPaused"
    if deployment.spec.paused and not was_paused:
        return with_progress(found, "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if not deployment.spec.paused and was_paused:
        return with_progress(found, "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    return found


def with_progress(
    found: Iterable[Condition], status: str, reason: str, message: str, now: float
) -> tuple[Condition, ...]:
    """Set the Progressing condition."""
    return conditions.with_condition(found, _condition(PROGRESSING, status, reason, message, now))


def seconds_until_timeout(deployment: Deployment, status: DeploymentStatus, now: float) -> float | None:
    """When to look again whether progress has stopped; None when there is nothing to wait for."""
    progressing = conditions.find(status.conditions, PROGRESSING)
    deadline = deployment.spec.progress_deadline_seconds
    if progressing is None or deadline == NO_DEADLINE or not progressing.last_update_time:
        return None
    if is_complete(deployment, status) or progressing.reason == TIMED_OUT:
        return None
    return max(1.0, times.epoch(progressing.last_update_time) + deadline - now + 1)


def to_object(status: DeploymentStatus) -> Object:
    """The status as a merge patch: zeros and empty lists are absent on the wire."""
    return {
        "observedGeneration": status.observed_generation or None,
        "replicas": status.replicas or None,
        "updatedReplicas": status.updated_replicas or None,
        "readyReplicas": status.ready_replicas or None,
        "availableReplicas": status.available_replicas or None,
        "unavailableReplicas": status.unavailable_replicas or None,
        "terminatingReplicas": status.terminating_replicas,
        "conditions": [conditions.to_object(one) for one in status.conditions] or None,
        "collisionCount": status.collision_count,
    }


def _counts(world: World, base: tuple[Condition, ...], now: float) -> DeploymentStatus:
    every, deployment = world.all, world.deployment
    available = sum(one.status.available_replicas for one in every)
    total = sum(one.spec.replicas for one in every)
    if available >= rolling.min_available(deployment):
        message = "Deployment has minimum availability."
        minimum = _condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    else:
        message = "Deployment does not have minimum availability."
        minimum = _condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(one.status.replicas for one in every),
        updated_replicas=world.new.status.replicas if world.new else 0,
        ready_replicas=sum(one.status.ready_replicas for one in every),
        available_replicas=available,
        unavailable_replicas=max(0, total - available),
        terminating_replicas=sum(one.status.terminating_replicas or 0 for one in every),
        conditions=conditions.with_condition(base, minimum),
        collision_count=deployment.status.collision_count,
    )


def _judge_progress(world: World, status: DeploymentStatus, now: float) -> tuple[Condition, ...]:
    deployment = world.deployment
    if deployment.spec.progress_deadline_seconds == NO_DEADLINE:
        return conditions.without(status.conditions, PROGRESSING)
    current = conditions.find(status.conditions, PROGRESSING)
    done_before = current is not None and current.reason == NEW_AVAILABLE
    if done_before and status.replicas == status.updated_replicas:
        return status.conditions
    what = f'ReplicaSet "{_name(world.new)}"' if world.new else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        message = f"{what} has successfully progressed."
        return with_progress(status.conditions, "True", NEW_AVAILABLE, message, now)
    if _moved(deployment.status, status):
        return _progressing(status.conditions, current, f"{what} is progressing.", now)
    if _timed_out(deployment, current, now):
        message = f"{what} has timed out progressing."
        return with_progress(status.conditions, "False", TIMED_OUT, message, now)
    return status.conditions


def _progressing(
    found: tuple[Condition, ...], current: Condition | None, message: str, now: float
) -> tuple[Condition, ...]:
    """Progress was made: a new update time, and the old transition time while the status stays True."""
    new = _condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now)
    if current is not None and current.status == "True":
        new = structs.replace(new, last_transition_time=current.last_transition_time)
    return (*conditions.without(found, PROGRESSING), new)


def _moved(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def _timed_out(deployment: Deployment, current: Condition | None, now: float) -> bool:
    if current is None or current.reason == NEW_AVAILABLE:
        return False
    if current.reason == TIMED_OUT:
        return True
    since = times.epoch(current.last_update_time) if current.last_update_time else now
    return since + deployment.spec.progress_deadline_seconds < now


def _condition(kind: str, status: str, reason: str, message: str, now: float) -> Condition:
    moment = times.from_epoch(now)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_update_time=moment,
        last_transition_time=moment,
    )


def _name(replica_set: ReplicaSet) -> str:
    return replica_set.metadata.name
