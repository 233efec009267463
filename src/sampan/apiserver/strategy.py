"""What makes one resource different from another: the hooks that the generic engine calls around every write.

A resource without a class of its own uses `Strategy` itself. A class in `registry/` overrides what its kind does
specially; `resources.py` is the one table that says which resource uses which class. The engine (`engine.py`) has
already checked the object's shape against the schema and its metadata (name, labels, annotations, owner references,
immutable system fields) when it calls these hooks, so a strategy looks at its own kind's rules only.

An old group version (`ResourceInfo.conversion`) has no strategy at work: its objects are converted on the way in and
out, and everything between is done by the version that is stored.

Order on create:  defaults, prepare_create, admit_create, validate, store, after_create
Order on update:  defaults, prepare_update, admit_update, validate_update, store, after_update
A failed or dry-run write calls `rollback_create` or `rollback_update` in place of the `after_` hook.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object, metadata

if TYPE_CHECKING:
    from sampan.apiserver.registry.allocators import Allocators
    from sampan.apiserver.resources import ResourceInfo
    from sampan.machinery.schema import Schemas


@dataclass(frozen=True, slots=True)
class User:
    """Who sent a request."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(slots=True)
class RequestInfo:
    """What a request asks for, in the words that authorisation uses.

    `repeated` are fields that the body gives twice; `warnings` become Warning headers.
    """

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    proxy_path: str = ""
    user: User = ANONYMOUS
    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = "Warn"
    applies: bool = False
    repeated: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a server-side table (meta/v1 TableColumnDefinition); priority 0 shows without `-o wide`."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """The settings of the cluster that strategies and allocators need."""

    service_cidr: str = "10.96.0.0/12"
    node_port_range: tuple[int, int] = (30000, 32767)
    cluster_domain: str = "cluster.local"


class Services(Protocol):
    """What a strategy may ask of the server it runs in. `resource` is `services` or `deployments.apps`.

    Objects that come from here are private copies. `create`, `update` and `delete` run the whole pipeline of that
    resource, as the server itself; `get` gives None for what is not there.
    """

    config: RegistryConfig
    schemas: "Schemas"
    allocators: "Allocators"

    async def get(self, resource: str, namespace: str, name: str) -> Object | None: ...
    async def list(self, resource: str, namespace: str = "") -> list[Object]: ...
    async def create(self, resource: str, obj: Object, namespace: str = "") -> Object: ...
    async def update(self, resource: str, obj: Object, namespace: str = "") -> Object: ...
    async def delete(self, resource: str, namespace: str, name: str) -> None: ...


NAME_COLUMN = Column("Name", format="name", description="Name must be unique within a namespace.")
CREATED_COLUMN = Column("Created At", "date", description="CreationTimestamp is when the server made the object.")
FieldGetter = Callable[[Object], str]


class Strategy:
    """The rules of a resource that has no special ones."""

    columns: tuple[Column, ...] = (NAME_COLUMN, CREATED_COLUMN)
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {}
    """Field selectors beside metadata.name and metadata.namespace, and how to read each."""
    tracks_generation: ClassVar[bool] = True
    """Whether metadata.generation counts changes of everything but metadata and status."""
    allow_create_on_update: ClassVar[bool] = False
    """Whether PUT to a name that does not exist creates it."""
    allow_unconditional_update: ClassVar[bool] = True
    """Whether PUT without a resourceVersion overwrites."""
    returns_deleted: ClassVar[bool] = False
    """Whether DELETE answers with the object that has gone rather than with a Status."""

    status_keeps: ClassVar[frozenset[str]] = frozenset({"ownerReferences"})
    """Metadata that `/status` leaves as it is. Upstream names it kind by kind (owners of pods, labels of Deployments);
    owners are kept everywhere here, because who may write a status could otherwise have the object collected."""

    def __init__(self, info: "ResourceInfo", ctx: Services) -> None:
        self.info = info
        self.ctx = ctx

    # --- form

    def defaults(self, obj: Object) -> None:
        """Fill in what the client left out, in place."""

    def validate_name(self, name: str) -> Sequence[str]:
        """What is wrong with `metadata.name`, in upstream's words."""
        return names.dns1123_subdomain(name)

    # --- create

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        """Drop what clients may not set. The base drops status and starts the generation."""
        if self.has_status:
            obj.pop("status", None)
        if self.tracks_generation and "spec" in obj:
            metadata(obj)["generation"] = 1

    async def admit_create(self, obj: Object, request: RequestInfo) -> None:
        """Allocate, inject, look up other objects. May raise a StatusError."""

    def validate(self, obj: Object) -> list[FieldError]:
        return []

    async def after_create(self, obj: Object, request: RequestInfo) -> None: ...

    async def rollback_create(self, obj: Object, request: RequestInfo) -> None: ...

    # --- update

    def prepare_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """Carry over what this request may not change. The base keeps status and counts the generation."""
        if self.has_status:
            carry(new, old, "status")
        if self.tracks_generation:
            count_generation(new, old)

    async def admit_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """Like `admit_create`."""

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        return self.validate(new)

    async def after_update(self, new: Object, old: Object, request: RequestInfo) -> None: ...

    async def rollback_update(self, new: Object, old: Object, request: RequestInfo) -> None: ...

    # --- subresources that update the object (status, finalize, approval, ephemeralcontainers, resize)

    def prepare_subresource_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """Reduce `new` to `old` plus what `request.subresource` may change. The base knows `status`."""
        self.prepare_status_update(new, old, request)

    def prepare_status_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """Keep everything but status and the metadata that `/status` may change, which is not in `status_keeps`."""
        fresh, kept = metadata(new), metadata(old)
        for name in self.status_keeps:
            carry(fresh, kept, name)
        for name in {*new, *old} - {"status", "metadata", "apiVersion", "kind"}:
            carry(new, old, name)

    def validate_status(self, new: Object, old: Object) -> list[FieldError]:
        return []

    # --- delete

    def deletion_grace_period(self, obj: Object, options: Object) -> int | None:
        """Seconds that the object stays, marked as terminating, before it goes; None for kinds that go at once."""
        return None

    def is_finalized(self, obj: Object) -> bool:
        """Whether nothing holds a deleted object back any more."""
        return not metadata(obj).get("finalizers")

    def prepare_delete(self, obj: Object, request: RequestInfo) -> None:
        """Change what is stored when deletion begins but the object stays for now (finalizers, grace)."""

    async def before_delete(self, obj: Object, request: RequestInfo) -> None:
        """Refuse a deletion by raising a StatusError."""

    async def after_delete(self, obj: Object, request: RequestInfo) -> None:
        """The object is gone: release what it held."""

    # --- tables

    def row(self, obj: Object, now: float) -> list[Any]:
        """The table cells of one object, one for each of `columns`; `now` is seconds since 1970."""
        meta = obj.get("metadata") or {}
        return [meta.get("name", ""), meta.get("creationTimestamp") or "<unknown>"]

    @property
    def has_status(self) -> bool:
        return "status" in self.info.subresources


def carry(new: Object, old: Object, name: str) -> None:
    """Make a top-level field of `new` what it is in `old`, present or absent."""
    if name in old:
        new[name] = old[name]
    else:
        new.pop(name, None)


def count_generation(new: Object, old: Object) -> None:
    """The old generation, plus one when anything but metadata and status has changed."""
    before = int(metadata(old).get("generation") or 0)
    if not before and "spec" not in new:
        return
    watched = {*new, *old} - {"metadata", "status", "apiVersion", "kind"}
    changed = any(new.get(name) != old.get(name) for name in watched)
    metadata(new)["generation"] = before + 1 if changed else before
