"""Which daemon pods to make and which to delete, and what the status says: pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.apps_v1 import DaemonSet, DaemonSetStatus
from sampan.api.core_v1 import Node, Pod, PodSpec
from sampan.controllers.daemonsets.placement import node_of, wants
from sampan.controllers.history import HASH_LABEL
from sampan.machinery.intstr import scaled


@dataclass(frozen=True)
class World:
    """A DaemonSet, the nodes, and its pods by node; `hash` marks the pods of the current template."""

    daemon_set: DaemonSet
    spec: PodSpec
    nodes: tuple[Node, ...]
    pods: Mapping[str, Sequence[Pod]]
    hash: str
    now: float

    def is_new(self, pod: Pod) -> bool:
        return pod.metadata.labels.get(HASH_LABEL) == self.hash

    def is_available(self, pod: Pod) -> bool:
        return pods.is_available(pod, self.daemon_set.spec.min_ready_seconds, self.now)


@dataclass(frozen=True)
class Plan:
    """Nodes that get a pod, pods to delete, and those among them that ended by themselves."""

    create: tuple[str, ...] = ()
    delete: tuple[Pod, ...] = ()
    ended: tuple[Pod, ...] = ()


def by_node(found: Iterable[Pod]) -> dict[str, list[Pod]]:
    grouped: dict[str, list[Pod]] = {}
    for pod in sorted(found, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name)):
        grouped.setdefault(node_of(pod), []).append(pod)
    return grouped


def decide(world: World) -> Plan:
    """Bring every node to one pod; when all have it, go on with the rolling update."""
    plan = _populate(world)
    strategy = world.daemon_set.spec.update_strategy
    if plan != Plan() or strategy.type != "RollingUpdate":
        return plan
    return _roll(world)


def _populate(world: World) -> Plan:
    create: list[str] = []
    delete: list[Pod] = []
    ended: list[Pod] = []
    known = set()
    for node in world.nodes:
        name = node.metadata.name
        known.add(name)
        there = world.pods.get(name, ())
        runs, stays = wants(world.spec, node)
        if runs and not there:
            create.append(name)
        elif not stays:
            delete += [pod for pod in there if not pods.is_terminating(pod)]
        else:
            alive = [pod for pod in there if not pods.is_terminating(pod)]
            ended += [pod for pod in alive if pods.is_terminal(pod)]
            delete += _doubles(world, [pod for pod in alive if not pods.is_terminal(pod)])
    for name in world.pods.keys() - known:
        delete += [pod for pod in world.pods[name] if not pod.spec.node_name and not pods.is_terminating(pod)]
    return Plan(tuple(create), (*delete, *ended), tuple(ended))


def _doubles(world: World, alive: Sequence[Pod]) -> list[Pod]:
    """All but the oldest pod of a node; during a surge the oldest of each template may stay."""
    if len(alive) < 2:
        return []
    if not _bounds(world)[0]:
        return list(alive[1:])
    old = [pod for pod in alive if not world.is_new(pod)]
    new = [pod for pod in alive if world.is_new(pod)]
    return [*old[1:], *new[1:]]


def _roll(world: World) -> Plan:
    surge, unavailable = _bounds(world)
    if surge:
        return _roll_with_surge(world, surge)
    down = 0
    candidates: list[Pod] = []
    broken: list[Pod] = []
    for node in world.nodes:
        if not wants(world.spec, node)[0]:
            continue
        alive = [pod for pod in world.pods.get(node.metadata.name, ()) if not pods.is_terminating(pod)]
        if not alive:
            down += 1
            continue
        (pod, *_) = alive
        if not world.is_available(pod):
            down += 1
            if not world.is_new(pod):
                broken.append(pod)
        elif not world.is_new(pod):
            candidates.append(pod)
    room = max(0, unavailable - down)
    return Plan(delete=(*broken, *candidates[:room]))


def _roll_with_surge(world: World, surge: int) -> Plan:
    """New pods beside old ones; an old one goes when its successor is available."""
    create: list[str] = []
    delete: list[Pod] = []
    surging = 0
    waiting: list[tuple[str, Pod]] = []
    for node in world.nodes:
        if not wants(world.spec, node)[0]:
            continue
        alive = [pod for pod in world.pods.get(node.metadata.name, ()) if not pods.is_terminating(pod)]
        old = [pod for pod in alive if not world.is_new(pod)]
        new = [pod for pod in alive if world.is_new(pod)]
        if old and new:
            if world.is_available(new[0]):
                delete += old
            else:
                surging += 1
        elif old:
            waiting.append((node.metadata.name, old[0]))
    for name, pod in waiting:
        if not world.is_available(pod) or surging < surge:
            create.append(name)
            surging += world.is_available(pod)
    return Plan(tuple(create), tuple(delete))


def _bounds(world: World) -> tuple[int, int]:
    """maxSurge and maxUnavailable, both rounded up, of the number of nodes that want a pod."""
    rolling = world.daemon_set.spec.update_strategy.rolling_update
    desired = sum(1 for node in world.nodes if wants(world.spec, node)[0])
    surge = scaled(rolling.max_surge if rolling else 0, desired, round_up=True)
    unavailable = scaled(rolling.max_unavailable if rolling else 1, desired, round_up=True)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def decide_status(world: World) -> DaemonSetStatus:
    """The counts over nodes."""
    desired = current = misscheduled = ready = available = updated = 0
    for node in world.nodes:
        alive = [pod for pod in world.pods.get(node.metadata.name, ()) if not pods.is_terminating(pod)]
        runs = wants(world.spec, node)[0]
        desired += runs
        if not runs:
            misscheduled += bool(alive)
            continue
        if alive:
            current += 1
            pod = next((one for one in alive if world.is_new(one)), alive[0])
            updated += world.is_new(pod)
            ready += any(pods.is_ready(one) for one in alive)
            available += any(world.is_available(one) for one in alive)
    before = world.daemon_set.status
    return DaemonSetStatus(
        current_number_scheduled=current,
        number_misscheduled=misscheduled,
        desired_number_scheduled=desired,
        number_ready=ready,
        observed_generation=world.daemon_set.metadata.generation,
        updated_number_scheduled=updated,
        number_available=available,
        number_unavailable=desired - available,
        collision_count=before.collision_count,
        conditions=before.conditions,
    )
