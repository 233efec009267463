"""How many pods a replica controller must create or delete, which ones, and what its status says: all pure.

ReplicaSets and ReplicationControllers are the same controller over two kinds; `Replicated` is what they have in
common. `replicasets.py` and `replicationcontrollers.py` are its two shells.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import Condition, ObjectMeta
from sampan.client.resources import Resource
from sampan.controllers import conditions
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.machinery.selectors import LabelSelector

BURST = 500
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
REPLICA_FAILURE = "ReplicaFailure"

_PHASE_RANK = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True)
class ReplicaCounts:
    """The status fields both kinds share."""

    replicas: int = 0
    fully_labeled: int = 0
    ready: int = 0
    available: int = 0
    terminating: int | None = None
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Replicated:
    """A ReplicaSet or a ReplicationController."""

    resource: Resource
    metadata: ObjectMeta
    replicas: int
    min_ready_seconds: int
    selector: LabelSelector
    template: Object
    status: ReplicaCounts


@dataclass(frozen=True)
class Scale:
    """What to do about the number of pods: create so many, or delete these."""

    create: int = 0
    delete: tuple[Pod, ...] = ()


def decide_scale(owner: Replicated, active: Sequence[Pod], related: Iterable[Pod], now: float) -> Scale:
    """Compare the active pods with the wanted number. `related` are the active pods of the owner's siblings, which
    tell the most crowded nodes."""
    surplus = len(active) - owner.replicas
    if surplus < 0:
        return Scale(create=min(-surplus, BURST))
    if surplus > 0:
        return Scale(delete=rank_for_deletion(active, related, now)[: min(surplus, BURST)])
    return Scale()


def rank_for_deletion(active: Sequence[Pod], related: Iterable[Pod], now: float) -> tuple[Pod, ...]:
    """The pods in the order in which they may go: first those that would be missed least."""
    crowd = Counter(pod.spec.node_name for pod in related if pods.is_active(pod))
    return tuple(sorted(active, key=lambda pod: _deletion_key(pod, crowd[pod.spec.node_name], now)))


def _deletion_key(pod: Pod, crowd: int, now: float) -> tuple[object, ...]:
    created = pod.metadata.creation_timestamp
    return (
        bool(pod.spec.node_name),
        _PHASE_RANK.get(pod.status.phase, 2),
        pods.is_ready(pod),
        deletion_cost(pod),
        -crowd,
        _age_bucket(pods.ready_since(pod), now),
        -pods.restarts(pod),
        _age_bucket(times.epoch(created) if created else None, now),
        pod.metadata.uid,
    )


def deletion_cost(pod: Pod) -> int:
    """The pod's own wish; anything but a 32-bit number counts as 0."""
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    digits = text[1:] if text[:1] == "-" else text
    if not digits.isdigit() or (len(digits) > 1 and digits[0] == "0") or text == "-0":
        return 0
    value = int(text)
    return value if -(2**31) <= value < 2**31 else 0


def _age_bucket(since: float | None, now: float) -> int:
    """Ages that differ by less than a factor of two count as equal, so that the youngest do not always go first."""
    if since is None or since >= now:
        return -1
    return int(math.log2((now - since) * 1e9))


def decide_status(
    owner: Replicated, active: Sequence[Pod], terminating: int | None, failure: Condition | None, now: float
) -> ReplicaCounts:
    """The status that the pods give; `failure` is what went wrong while scaling this time, if anything did."""
    template_labels = ((owner.template.get("metadata") or {}).get("labels") or {}).items()
    found = conditions.without(owner.status.conditions, REPLICA_FAILURE)
    if failure is not None:
        found = conditions.with_condition(owner.status.conditions, failure)
    return ReplicaCounts(
        replicas=len(active),
        fully_labeled=sum(1 for pod in active if template_labels <= pod.metadata.labels.items()),
        ready=sum(1 for pod in active if pods.is_ready(pod)),
        available=sum(1 for pod in active if pods.is_available(pod, owner.min_ready_seconds, now)),
        terminating=terminating,
        observed_generation=max(owner.status.observed_generation, owner.metadata.generation),
        conditions=found,
    )


def decide_failure(scale: Scale, message: str, now: str) -> Condition:
    """The ReplicaFailure condition for a scaling that the server refused."""
    reason = "FailedCreate" if scale.create else "FailedDelete"
    return Condition(type=REPLICA_FAILURE, status="True", reason=reason, message=message, last_transition_time=now)


def status_object(counts: ReplicaCounts, *, with_terminating: bool) -> Object:
    """The status as a merge patch: zeros and empty lists are absent on the wire."""
    status: Object = {
        "replicas": counts.replicas,
        "fullyLabeledReplicas": counts.fully_labeled or None,
        "readyReplicas": counts.ready or None,
        "availableReplicas": counts.available or None,
        "observedGeneration": counts.observed_generation,
        "conditions": [conditions.to_object(one) for one in counts.conditions] or None,
    }
    if with_terminating:
        status["terminatingReplicas"] = counts.terminating
    return status


def next_available(owner: Replicated, active: Iterable[Pod], now: float) -> float | None:
    """Seconds until the next ready pod becomes available, None when none is waiting for that."""
    waits = (pods.available_in(pod, owner.min_ready_seconds, now) for pod in active)
    return min((wait for wait in waits if wait), default=None)
