"""Which ReplicaSet stands for which revision of a Deployment, and the annotations that say so.

The new ReplicaSet is the one with the Deployment's template; all others are old. Revisions are 64-bit numbers in
annotations: the next is the largest plus one. `decision.py` uses this to find its way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.api.apps_v1 import Deployment, ReplicaSet
from sampan.api.meta_v1 import LabelSelector
from sampan.client.resources import DEPLOYMENTS
from sampan.controllers import hashing
from sampan.controllers.adoption import controller_reference
from sampan.machinery.objects import Object

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
TEMPLATE_HASH = "pod-template-hash"

_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)


@dataclass(frozen=True)
class World:
    """A Deployment and its ReplicaSets, oldest first, at one moment."""

    deployment: Deployment
    new: ReplicaSet | None
    old: tuple[ReplicaSet, ...]

    @property
    def all(self) -> tuple[ReplicaSet, ...]:
        return self.old if self.new is None else (*self.old, self.new)


def observe(deployment: Deployment, owned: Iterable[ReplicaSet]) -> World:
    """Tell the new ReplicaSet from the old ones; of several with the template, the oldest is the new one."""
    ordered = sorted(owned, key=by_age)
    wanted = _bare(deployment.spec.template)
    new = next((one for one in ordered if _bare(one.spec.template) == wanted), None)
    return World(deployment, new, tuple(one for one in ordered if one is not new))


def by_age(replica_set: ReplicaSet) -> tuple[str, str]:
    return replica_set.metadata.creation_timestamp or "", replica_set.metadata.name


def revision(metadata_annotations: Mapping[str, str]) -> int:
    text = metadata_annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def next_revision(old: Iterable[ReplicaSet]) -> int:
    return max((revision(one.metadata.annotations) for one in old), default=0) + 1


def copied_annotations(deployment: Deployment) -> dict[str, str]:
    """The Deployment's annotations that belong to a revision too (kubernetes.io/change-cause among them)."""
    return {key: value for key, value in deployment.metadata.annotations.items() if key not in _NOT_COPIED}


def new_annotations(world: World) -> dict[str, str]:
    """What the new ReplicaSet's annotations must be changed to; empty when they are right."""
    assert world.new is not None
    current = world.new.metadata.annotations
    changes = {k: v for k, v in copied_annotations(world.deployment).items() if current.get(k) != v}
    had, wanted = revision(current), next_revision(world.old)
    if had < wanted:
        changes[REVISION] = str(wanted)
        if had:
            history = current.get(REVISION_HISTORY)
            changes[REVISION_HISTORY] = f"{history},{had}" if history else str(had)
    return changes


def manifest(world: World, replicas: int, max_replicas: int) -> Object:
    """The ReplicaSet to create for the Deployment's template."""
    deployment = world.deployment
    template = deployment.spec.template
    hash_ = hashing.object_hash(_bare(template), deployment.status.collision_count)
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), TEMPLATE_HASH: hash_}
    spec: Object = {
        "replicas": replicas,
        "selector": _selector(deployment, hash_),
        "template": {**template, "metadata": {**metadata, "labels": labels}},
    }
    if deployment.spec.min_ready_seconds:
        spec["minReadySeconds"] = deployment.spec.min_ready_seconds
    numbers = {REVISION: str(next_revision(world.old)), **size_annotations(deployment, max_replicas)}
    return {
        "metadata": {
            "name": f"{deployment.metadata.name}-{hash_}",
            "namespace": deployment.metadata.namespace,
            "labels": labels,
            "annotations": {**copied_annotations(deployment), **numbers},
            "ownerReferences": [controller_reference(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, deployment.metadata)],
        },
        "spec": spec,
    }


def _selector(deployment: Deployment, hash_: str) -> Object:
    """The Deployment's selector, narrowed to the pods of one template."""
    selector = deployment.spec.selector or LabelSelector()
    found: Object = {"matchLabels": {**selector.match_labels, TEMPLATE_HASH: hash_}}
    if selector.match_expressions:
        found["matchExpressions"] = [
            {"key": one.key, "operator": one.operator, "values": list(one.values)} for one in selector.match_expressions
        ]
    return found


def size_annotations(deployment: Deployment, max_replicas: int) -> dict[str, str]:
    """The sizes that a ReplicaSet was last scaled for: how a scaling is told from a rollout, and proportions kept."""
    return {DESIRED_REPLICAS: str(deployment.spec.replicas), MAX_REPLICAS: str(max_replicas)}


def same_template(deployment: Deployment, replica_set: Object) -> bool:
    """Whether a ReplicaSet, as the server has it, is of the Deployment's template."""
    return bool(_bare(replica_set.get("spec", {}).get("template") or {}) == _bare(deployment.spec.template))


def _bare(template: Object) -> Object:
    """The template without what does not make a revision: the hash label and a null creation time."""
    metadata = dict(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != TEMPLATE_HASH}
    metadata.pop("creationTimestamp", None)
    metadata.pop("labels", None)
    return {**template, "metadata": {**metadata, "labels": labels} if labels else metadata}
