"""Conditions as every status keeps them: one per type, with the time of the last change of its status."""

from collections.abc import Iterable

from msgspec import structs

from sampan.api.meta_v1 import Condition
from sampan.machinery.objects import Object


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    return next((one for one in conditions if one.type == kind), None)


def without(conditions: Iterable[Condition], kind: str) -> tuple[Condition, ...]:
    return tuple(one for one in conditions if one.type != kind)


def with_condition(conditions: Iterable[Condition], new: Condition) -> tuple[Condition, ...]:
    """Set one condition. Nothing changes when status and reason are what they were; the transition time is kept when
    only the reason differs."""
    conditions = tuple(conditions)
    current = find(conditions, new.type)
    if current is not None and same(current, new):
        return conditions
    if current is not None and current.status == new.status:
        new = structs.replace(new, last_transition_time=current.last_transition_time)
    return (*without(conditions, new.type), new)


def same(left: Condition, right: Condition) -> bool:
    """Whether they say the same; messages are for people."""
    return (left.status, left.reason) == (right.status, right.reason)


def to_object(condition: Condition) -> Object:
    """The condition as it goes over the wire, without what is empty."""
    fields = {
        "type": condition.type,
        "status": condition.status,
        "lastHeartbeatTime": condition.last_heartbeat_time,
        "lastProbeTime": condition.last_probe_time,
        "lastUpdateTime": condition.last_update_time,
        "lastTransitionTime": condition.last_transition_time,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.observed_generation,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}
