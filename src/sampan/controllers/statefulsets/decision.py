"""Which pod of a StatefulSet to make or delete next, and what the status says: pure.

With OrderedReady, one thing happens at a time: each pod waits until all before it are ready, and the last is removed
first. With Parallel, creations and deletions do not wait for each other; updates still go one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.apps_v1 import StatefulSet, StatefulSetStatus
from sampan.api.core_v1 import Pod
from sampan.controllers.history import HASH_LABEL
from sampan.controllers.statefulsets.identity import ordinal_of, start_of
from sampan.machinery.intstr import scaled


@dataclass(frozen=True)
class World:
    """A StatefulSet, its pods, and the names of the revisions it is moving from and to."""

    stateful_set: StatefulSet
    pods: tuple[Pod, ...]
    current: str
    update: str
    now: float

    @property
    def ordinals(self) -> range:
        start = start_of(self.stateful_set)
        return range(start, start + self.stateful_set.spec.replicas)

    @property
    def ordered(self) -> bool:
        return self.stateful_set.spec.pod_management_policy != "Parallel"

    def revision_of(self, pod: Pod) -> str:
        return pod.metadata.labels.get(HASH_LABEL, "")

    def is_healthy(self, pod: Pod) -> bool:
        """Running, ready for as long as is asked, and staying."""
        least = self.stateful_set.spec.min_ready_seconds
        running = pod.status.phase == "Running" and not pods.is_terminating(pod)
        return running and pods.is_available(pod, least, self.now)


@dataclass(frozen=True)
class Plan:
    """Pods to create, as (ordinal, revision), and to delete."""

    create: tuple[tuple[int, str], ...] = ()
    delete: tuple[Pod, ...] = ()


def decide(world: World) -> Plan:
    """The next step."""
    name = world.stateful_set.metadata.name
    by_ordinal = {ordinal_of(name, pod): pod for pod in world.pods}
    plan, settled = _fill(world, by_ordinal)
    if not settled:
        return plan
    condemned = [pod for number, pod in sorted(by_ordinal.items(), reverse=True) if number not in world.ordinals]
    shrink, settled = _shrink(world, condemned, list(by_ordinal.values()))
    plan = Plan(plan.create, (*plan.delete, *shrink))
    if not settled or plan != Plan():
        return plan
    return Plan(delete=_update(world, by_ordinal))


def _fill(world: World, by_ordinal: dict[int, Pod]) -> tuple[Plan, bool]:
    """Make what is missing and remove what ended; whether the rest may go on."""
    create: list[tuple[int, str]] = []
    delete: list[Pod] = []
    for number in world.ordinals:
        pod = by_ordinal.get(number)
        if pod is None:
            create.append((number, _revision_for(world, number)))
        elif pods.is_terminal(pod) and not pods.is_terminating(pod):
            delete.append(pod)
        elif world.is_healthy(pod) or not world.ordered:
            continue
        else:
            return Plan(tuple(create), tuple(delete)), False
        if world.ordered:
            return Plan(tuple(create), tuple(delete)), False
    return Plan(tuple(create), tuple(delete)), True


def _shrink(world: World, condemned: Sequence[Pod], everyone: Sequence[Pod]) -> tuple[tuple[Pod, ...], bool]:
    """Remove pods beyond the wanted number, highest first; whether the rest may go on."""
    if not world.ordered:
        return tuple(pod for pod in condemned if not pods.is_terminating(pod)), True
    for pod in condemned:
        unhealthy = [one for one in everyone if not world.is_healthy(one)]
        if pods.is_terminating(pod) or (unhealthy and unhealthy != [pod]):
            return (), False
        return (pod,), False
    return (), True


def _update(world: World, by_ordinal: dict[int, Pod]) -> tuple[Pod, ...]:
    """The pods to replace by the new revision, from the highest down to the partition."""
    strategy = world.stateful_set.spec.update_strategy
    if strategy.type != "RollingUpdate":
        return ()
    rolling = strategy.rolling_update
    partition = start_of(world.stateful_set) + (rolling.partition if rolling else 0)
    share = rolling.max_unavailable if rolling and rolling.max_unavailable is not None else 1
    room = max(1, scaled(share, world.stateful_set.spec.replicas, round_up=True))
    delete: list[Pod] = []
    for number in reversed(world.ordinals):
        pod = by_ordinal.get(number)
        if number < partition or room <= 0:
            break
        if pod is None:
            room -= 1
        elif world.revision_of(pod) != world.update and not pods.is_terminating(pod):
            delete.append(pod)
            room -= 1
        elif not world.is_healthy(pod):
            room -= 1
    return tuple(delete)


def _revision_for(world: World, number: int) -> str:
    """Pods below the partition, or not reached by the update yet, are made as they were."""
    if world.current == world.update:
        return world.update
    strategy = world.stateful_set.spec.update_strategy
    start = start_of(world.stateful_set)
    if strategy.type != "RollingUpdate":
        return world.current
    partition = strategy.rolling_update.partition if strategy.rolling_update else 0
    below = partition or world.stateful_set.status.current_replicas
    return world.current if number < start + below else world.update


def decide_status(world: World) -> StatefulSetStatus:
    """The counts; when every pod is of the new revision and ready, that becomes the current one."""
    alive = [pod for pod in world.pods if not pods.is_terminating(pod)]
    ready = sum(1 for pod in alive if pod.status.phase == "Running" and pods.is_ready(pod))
    updated = sum(1 for pod in alive if world.revision_of(pod) == world.update)
    current = sum(1 for pod in alive if world.revision_of(pod) == world.current)
    before, wanted = world.stateful_set.status, world.stateful_set.spec.replicas
    revision = world.current
    rolls = world.stateful_set.spec.update_strategy.type == "RollingUpdate"
    if rolls and updated == len(world.pods) == wanted and ready == wanted:
        revision, current = world.update, updated
    return StatefulSetStatus(
        observed_generation=world.stateful_set.metadata.generation,
        replicas=len(world.pods),
        ready_replicas=ready,
        current_replicas=current,
        updated_replicas=updated,
        available_replicas=sum(1 for pod in alive if world.is_healthy(pod)),
        current_revision=revision,
        update_revision=world.update,
        collision_count=before.collision_count if before.collision_count is not None else 0,
        conditions=before.conditions,
    )
