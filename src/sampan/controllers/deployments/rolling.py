"""The arithmetic of a rolling update: how far the new ReplicaSet may grow and the old ones may shrink right now.

Never more than replicas + maxSurge pods in all, never fewer than replicas - maxUnavailable of them available. Sizes
are decided from the specs (what was asked for) and availability from the statuses (what is there).
"""

from collections.abc import Sequence

from sampan.api.apps_v1 import Deployment, ReplicaSet
from sampan.machinery.intstr import scaled

Sizes = dict[str, int]
"""Wanted replicas by ReplicaSet uid."""


def bounds(deployment: Deployment) -> tuple[int, int]:
    """maxSurge (rounded up) and maxUnavailable (rounded down) as numbers; they are never both zero."""
    spec = deployment.spec
    if spec.strategy.type != "RollingUpdate":
        return 0, 0
    rolling = spec.strategy.rolling_update
    surge = scaled(rolling.max_surge if rolling else "25%", spec.replicas, round_up=True)
    unavailable = scaled(rolling.max_unavailable if rolling else "25%", spec.replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, spec.replicas)


def max_replicas(deployment: Deployment) -> int:
    return deployment.spec.replicas + bounds(deployment)[0]


def min_available(deployment: Deployment) -> int:
    return deployment.spec.replicas - bounds(deployment)[1]


def new_size(deployment: Deployment, current: int, total: int) -> int:
    """The size of the new ReplicaSet, which is `current` while all together are `total`."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or current >= wanted:
        return wanted
    room = max_replicas(deployment) - total
    return current + min(room, wanted - current) if room > 0 else current


def old_sizes(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> Sizes:
    """The sizes of old ReplicaSets that shrink now: first what is unavailable anyway, then what others can spare."""
    total = new.spec.replicas + sum(one.spec.replicas for one in old)
    least = min_available(deployment)
    spare = total - least - max(0, new.spec.replicas - new.status.available_replicas)
    if spare <= 0:
        return {}
    before = {one.metadata.uid: one.spec.replicas for one in old}
    healthy = {one.metadata.uid: _available(one) for one in old}
    after = _shrink(before, healthy, spare)
    spare -= sum(before.values()) - sum(after.values())
    available = _available(new) + sum(healthy.values())
    after = _shrink(after, dict.fromkeys(after, 0), min(spare, available - least))
    return {uid: size for uid, size in after.items() if size != before[uid]}


def _available(one: ReplicaSet) -> int:
    """What will stay available of a ReplicaSet: its status may still count pods that it was told to delete."""
    return min(one.status.available_replicas, one.spec.replicas)


def _shrink(sizes: Sizes, floors: Sizes, spare: int) -> Sizes:
    """Take `spare` replicas away, one ReplicaSet after the other, none below its floor."""
    shrunk: Sizes = {}
    for uid, size in sizes.items():
        drop = max(0, min(size - floors[uid], spare))
        shrunk[uid] = size - drop
        spare -= drop
    return shrunk
