"""ControllerRevisions: how DaemonSets and StatefulSets remember the templates they had. The decisions are pure.

A revision holds the patch that restores a template. Its name and its `controller-revision-hash` label, which the pods
made from it carry, come from the template's hash.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sampan.api.apps_v1 import ControllerRevision
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.resources import CONTROLLER_REVISIONS, Resource
from sampan.client.rest import Client
from sampan.controllers import hashing
from sampan.controllers.adoption import controller_reference
from sampan.controllers.freshness import OwnWrites
from sampan.machinery.errors import AlreadyExists, NotFound
from sampan.machinery.objects import Object

HASH_LABEL = "controller-revision-hash"


@dataclass(frozen=True)
class Revision:
    """The revision of the current template: `existing` if it is remembered already, with the number it must have."""

    name: str
    hash: str
    number: int
    data: Object
    existing: ControllerRevision | None


def current_revision(
    owner: ObjectMeta, template: Object, known: Iterable[ControllerRevision], collisions: int | None
) -> Revision:
    """The revision that stands for a template. One that was current before gets a new number."""
    known = sorted(known, key=lambda one: (one.revision, one.metadata.creation_timestamp or ""))
    data: Object = {"spec": {"template": {"$patch": "replace", **template}}}
    equal = [one for one in known if one.data == data]
    last = known[-1].revision if known else 0
    if equal:
        found = equal[-1]
        number = found.revision if found.revision == last else last + 1
        hash_ = found.metadata.labels.get(HASH_LABEL, found.metadata.name.removeprefix(f"{owner.name}-"))
        return Revision(found.metadata.name, hash_, number, data, found)
    hash_ = hashing.object_hash(data, collisions)
    return Revision(f"{owner.name}-{hash_}", hash_, last + 1, data, None)


def manifest(resource: Resource, owner: ObjectMeta, revision: Revision, labels: Object) -> Object:
    metadata = {
        "name": revision.name,
        "namespace": owner.namespace,
        "labels": {**labels, HASH_LABEL: revision.hash},
        "ownerReferences": [controller_reference(resource.api_version, resource.kind, owner)],
    }
    return {"metadata": metadata, "data": revision.data, "revision": revision.number}


def surplus(known: Iterable[ControllerRevision], used: Collection[str], limit: int) -> tuple[ControllerRevision, ...]:
    """The oldest revisions beyond the limit that no pod (by hash or name) uses."""
    unused = [
        one
        for one in sorted(known, key=lambda one: one.revision)
        if one.metadata.name not in used and one.metadata.labels.get(HASH_LABEL) not in used
    ]
    return tuple(unused[: max(0, len(unused) - limit)])


async def remember(
    client: Client, writes: OwnWrites[str], resource: Resource, owner: ObjectMeta, revision: Revision, labels: Object
) -> bool:
    """Write the revision down; False when its name is taken by another template (then the collision counts)."""
    if revision.existing is None:
        try:
            body = manifest(resource, owner, revision, labels)
            created = await client.create(CONTROLLER_REVISIONS, body, owner.namespace)
        except AlreadyExists:
            live = await client.get(CONTROLLER_REVISIONS, revision.name, owner.namespace)
            return bool(live.get("data") == revision.data)
        writes.wrote(owner.key, created)
    elif revision.existing.revision != revision.number:
        patch = {"revision": revision.number}
        written = await client.patch(CONTROLLER_REVISIONS, revision.name, patch, owner.namespace)
        writes.wrote(owner.key, written)
    return True


async def forget(client: Client, revisions: Iterable[ControllerRevision]) -> None:
    for one in revisions:
        meta = one.metadata
        try:
            await client.delete(CONTROLLER_REVISIONS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            continue
