"""The generic write pipeline: what happens to every object of every kind between a request and the store.

It settles metadata, checks the shape against the schema, calls the strategy's hooks in the order that `strategy.py`
promises, encodes the object once and stores it by compare-and-swap. Handlers give it decoded objects in their stored
version and send the bytes it returns. Deletion is in `deletion.py`, which shares the swap loop in spirit only: its
decisions are its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sampan.apiserver import metadata_rules, shape
from sampan.apiserver.quota_admission import QuotaAdmission
from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery.errors import BadRequest, FieldError, Forbidden
from sampan.machinery.objects import Object, metadata
from sampan.store.interface import Entry, KeyExists, KeyMissing, RevisionMismatch, Store
from sampan.store.stamp import stamp

if TYPE_CHECKING:
    from sampan.apiserver.catalog import Catalog

MAX_ATTEMPTS = 64
"""How often a write is tried again when others write the same object meanwhile."""

_NAME_ATTEMPTS = 8
Transform = Callable[[Object], Object]
"""From a private copy of the stored object to what it shall be. May raise a StatusError."""


@dataclass(frozen=True, slots=True)
class Written:
    """The stored form after a write, and whether the write made the object."""

    value: bytes
    created: bool = False


class _Deleting(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None


class _Terminating(msgspec.Struct):
    metadata: _Deleting


_read_terminating = msgspec.json.Decoder(_Terminating).decode


class Engine:
    """Creates and updates for one server."""

    def __init__(self, store: Store, catalog: "Catalog") -> None:
        self._store = store
        self._catalog = catalog
        self._quotas = QuotaAdmission(store, catalog)

    # --- create

    async def create(self, served: Served, obj: Object, request: RequestInfo) -> Written:
        """Raises StatusError: AlreadyExists, Invalid, NotFound (the namespace) and what the strategy raises."""
        shape.check(served, obj, request)
        metadata_rules.settle_namespace(served, obj, request)
        if metadata(obj).get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        self._check_namespace(served, request)
        generated = metadata_rules.generate_name(obj)
        for attempt in range(_NAME_ATTEMPTS):
            if generated and attempt:
                metadata(obj)["name"] = ""
                metadata_rules.generate_name(obj)
            name = str(metadata(obj).get("name") or "")
            if name and self._store.peek(served.key(request.namespace, name)) is not None:
                if generated:
                    continue
                raise served.already_exists(name)
            return await self._create(served, obj, request)
        raise served.already_exists(str(metadata(obj).get("name")))

    async def _create(self, served: Served, obj: Object, request: RequestInfo) -> Written:
        strategy = served.strategy
        metadata_rules.begin_life(obj)
        errors = metadata_rules.validate(served, obj)
        strategy.defaults(obj)
        strategy.prepare_create(obj, request)
        if errors:
            self._refuse(served, obj, errors + strategy.validate(obj))
        await strategy.admit_create(obj, request)
        try:
            self._refuse(served, obj, strategy.validate(obj))
            shape.record_create(served, obj, request)
            value = served.encode(obj)
            async with self._quotas.admitted(served, obj, request):
                if request.dry_run:
                    await strategy.rollback_create(obj, request)
                    return Written(value, created=True)
                name = metadata(obj)["name"]
                entry = await self._store.create(served.key(request.namespace, name), value)
        except KeyExists:
            await strategy.rollback_create(obj, request)
            raise served.already_exists(metadata(obj)["name"]) from None
        except BaseException:
            await strategy.rollback_create(obj, request)
            raise
        await strategy.after_create(obj, request)
        return Written(entry.value, created=True)

    def _check_namespace(self, served: Served, request: RequestInfo) -> None:
        """New objects need a namespace that exists and stays."""
        if not served.info.namespaced:
            return
        namespaces = self._catalog.named("namespaces")
        entry = self._store.peek(namespaces.key("", request.namespace))
        if entry is None:
            raise namespaces.not_found(request.namespace)
        if _read_terminating(entry.value).metadata.deletion_timestamp:
            name = f'{served.info.plural}{"." + served.info.group if served.info.group else ""} ""'
            message = (
                f"{name} is forbidden: unable to create new content in namespace {request.namespace} "
                "because it is being terminated"
            )
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {request.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise Forbidden(message, details={"kind": served.info.plural, "causes": [cause]})

    # --- update

    async def update(
        self,
        served: Served,
        request: RequestInfo,
        transform: Transform,
        *,
        creates: Callable[[], Object] | None = None,
        own: bool = False,
    ) -> Written:
        """Swap the named object for what `transform` makes of it; where there is none, create what `creates` gives.

        `own` says that the change is the server's own (a binding), which the strategy's rules for clients do not fit.

        Raises StatusError: NotFound, Conflict, Invalid and what the transform and the strategy raise.
        """
        key = served.key(request.namespace, request.name)
        for _ in range(MAX_ATTEMPTS):
            entry = self._store.peek(key)
            if entry is None:
                if creates is None:
                    raise served.not_found(request.name)
                return await self.create(served, creates(), request)
            try:
                return await self._swap(served, request, entry, transform, own=own)
            except (RevisionMismatch, KeyMissing):
                continue
        raise served.conflict(request.name)

    async def _swap(
        self, served: Served, request: RequestInfo, entry: Entry, transform: Transform, *, own: bool
    ) -> Written:
        old = served.decode(entry)
        new = transform(served.decode(entry))
        shape.check(served, new, request)
        metadata_rules.settle_namespace(served, new, request)
        metadata_rules.settle_name(new, request)
        self._check_identity(served, new, entry, old)
        metadata_rules.keep_system_fields(new, old)
        strategy = served.strategy
        errors = [] if own else await self._prepare(served, new, old, request)
        try:
            self._refuse(served, new, errors)
            shape.record_update(served, new, old, request)
            metadata(new)["resourceVersion"] = metadata(old)["resourceVersion"]
            if new == old:
                return Written(entry.value)
            if request.dry_run:
                await strategy.rollback_update(new, old, request)
                return Written(stamp(served.encode(new), entry.revision))
            stored = await self._store_update(served, new, entry)
        except BaseException:
            await strategy.rollback_update(new, old, request)
            raise
        if stored.gone:
            await strategy.after_delete(new, request)
        else:
            await strategy.after_update(new, old, request)
        return Written(stored.entry.value)

    async def _prepare(self, served: Served, new: Object, old: Object, request: RequestInfo) -> list[FieldError]:
        strategy = served.strategy
        errors = metadata_rules.validate_update(new, old)
        if request.subresource:
            strategy.prepare_subresource_update(new, old, request)
            return errors + strategy.validate_status(new, old)
        strategy.defaults(new)
        strategy.prepare_update(new, old, request)
        await strategy.admit_update(new, old, request)
        return errors + strategy.validate_update(new, old)

    async def _store_update(self, served: Served, new: Object, entry: Entry) -> "_Stored":
        """An object that was only waiting for its finalizers goes with the last of them."""
        meta = metadata(new)
        waits = meta.get("deletionTimestamp") and not meta.get("deletionGracePeriodSeconds")
        if waits and served.strategy.is_finalized(new):
            return _Stored(await self._store.delete(entry.key, entry.revision), gone=True)
        return _Stored(await self._store.update(entry.key, served.encode(new), entry.revision))

    def _check_identity(self, served: Served, new: Object, entry: Entry, old: Object) -> None:
        meta = metadata(new)
        version, uid = meta.get("resourceVersion"), meta.get("uid")
        if not version or version == "0":
            if not served.strategy.allow_unconditional_update:
                error = FieldError.invalid("metadata.resourceVersion", 0, "must be specified for an update")
                raise served.invalid(metadata(old)["name"], [error])
        elif version != str(entry.revision):
            raise served.conflict(metadata(old)["name"])
        if uid and uid != metadata(old).get("uid"):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata(old).get('uid')}"
            raise served.conflict(metadata(old)["name"], why)

    def _refuse(self, served: Served, obj: Object, errors: list[FieldError]) -> None:
        if errors:
            raise served.invalid(str(metadata(obj).get("name") or ""), errors)


@dataclass(frozen=True, slots=True)
class _Stored:
    entry: Entry
    gone: bool = False
