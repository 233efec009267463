"""Deletion: at once, after a grace period, or when the last finalizer is gone.

The rules are upstream's (`rest.BeforeDelete`): a second deletion can only shorten the grace period; `Foreground` and
`Orphan` propagation are finalizers that the garbage collector takes off again.
"""

import time
from dataclasses import dataclass, field

from sampan.apiserver.engine import MAX_ATTEMPTS
from sampan.apiserver.options import invalid
from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery import times
from sampan.machinery.errors import BadRequest, FieldError
from sampan.machinery.objects import Object, metadata
from sampan.store.interface import Entry, KeyMissing, RevisionMismatch, Store
from sampan.store.stamp import stamp

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_PROPAGATION = {"Orphan": ORPHAN, "Foreground": FOREGROUND, "Background": ""}


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object as it last was, and whether it is gone already."""

    value: bytes
    gone: bool


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """meta/v1 DeleteOptions, as far as it concerns one deletion. `raw` is what the strategy is given."""

    grace_period: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    raw: Object = field(default_factory=dict)


def parse_options(raw: Object) -> DeleteOptions:
    """Raises BadRequest or Invalid."""
    grace, preconditions = raw.get("gracePeriodSeconds"), raw.get("preconditions") or {}
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise BadRequest("gracePeriodSeconds must be an integer")
    if not isinstance(preconditions, dict):
        raise BadRequest("preconditions must be an object")
    propagation = raw.get("propagationPolicy") or ""
    if propagation and raw.get("orphanDependents") is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        raise invalid("DeleteOptions", [FieldError.invalid("propagationPolicy", propagation, detail)])
    if not propagation and isinstance(raw.get("orphanDependents"), bool):
        propagation = "Orphan" if raw["orphanDependents"] else "Background"
    if propagation and propagation not in _PROPAGATION:
        error = FieldError.not_supported("propagationPolicy", propagation, ("Foreground", "Background", "Orphan"))
        raise invalid("DeleteOptions", [error])
    return DeleteOptions(
        grace_period=1 if grace is not None and grace < 0 else grace,
        propagation=propagation,
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run="All" in (raw.get("dryRun") or ()),
        raw=raw,
    )


async def delete(store: Store, served: Served, request: RequestInfo, options: DeleteOptions) -> Deleted:
    """Delete the named object. Raises StatusError: NotFound, Conflict (preconditions) and what the strategy raises."""
    key = served.key(request.namespace, request.name)
    for _ in range(MAX_ATTEMPTS):
        entry = store.peek(key)
        if entry is None:
            raise served.not_found(request.name)
        try:
            return await _delete_entry(store, served, request, options, entry)
        except (RevisionMismatch, KeyMissing):
            continue
    raise served.conflict(request.name)


async def _delete_entry(
    store: Store, served: Served, request: RequestInfo, options: DeleteOptions, entry: Entry
) -> Deleted:
    obj = served.decode(entry)
    _check_preconditions(served, obj, options)
    await served.strategy.before_delete(obj, request)
    before = served.decode(entry)
    stays = begin_deletion(served, obj, options)
    if stays:
        served.strategy.prepare_delete(obj, request)
    if request.dry_run or options.dry_run:
        return Deleted(stamp(served.encode(obj), entry.revision), gone=not stays)
    if not stays:
        gone = await store.delete(entry.key, entry.revision)
        await served.strategy.after_delete(obj, request)
        return Deleted(gone.value, gone=True)
    if obj == before:
        return Deleted(entry.value, gone=False)
    updated = await store.update(entry.key, served.encode(obj), entry.revision)
    return Deleted(updated.value, gone=False)


def _check_preconditions(served: Served, obj: Object, options: DeleteOptions) -> None:
    meta = metadata(obj)
    name = str(meta.get("name"))
    if options.uid and options.uid != meta.get("uid"):
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {meta.get('uid')}"
        raise served.conflict(name, why)
    if options.resource_version and options.resource_version != meta.get("resourceVersion"):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {meta.get('resourceVersion')}"
        )
        raise served.conflict(name, why)


def begin_deletion(served: Served, obj: Object, options: DeleteOptions, now: float | None = None) -> bool:
    """Mark the object as being deleted, as far as it stays; False if nothing keeps it."""
    meta = metadata(obj)
    if options.propagation:
        _set_propagation(meta, options.propagation)
    seconds = _grace(served, obj, options)
    if not seconds and served.strategy.is_finalized(obj):
        return False
    already = meta.get("deletionTimestamp")
    if not already:
        moment = time.time() if now is None else now
        meta["deletionTimestamp"] = times.from_epoch(moment + seconds)
        meta["deletionGracePeriodSeconds"] = seconds
        if meta.get("generation"):
            meta["generation"] += 1
    elif seconds < (before := int(meta.get("deletionGracePeriodSeconds") or 0)):
        meta["deletionTimestamp"] = times.from_epoch(times.epoch(already) - before + seconds)
        meta["deletionGracePeriodSeconds"] = seconds
    return True


def _grace(served: Served, obj: Object, options: DeleteOptions) -> int:
    """How long the object stays from the moment that its deletion began."""
    meta = metadata(obj)
    if meta.get("deletionTimestamp"):
        pending = int(meta.get("deletionGracePeriodSeconds") or 0)
        return pending if options.grace_period is None else min(options.grace_period, pending)
    return served.strategy.deletion_grace_period(obj, options.raw) or 0


def _set_propagation(meta: Object, propagation: str) -> None:
    wanted = _PROPAGATION[propagation]
    others = [name for name in meta.get("finalizers") or () if name not in (ORPHAN, FOREGROUND)]
    finalizers = [*others, wanted] if wanted else others
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
