"""Services: where a declared Service gets its addresses and ports.

On the way in, a Service is defaulted, rid of what its new type does not use, completed (IP families), and given what
it needs from the allocators. What is reserved is given back when the write fails; what an update or a deletion frees
is given back after it. The stored Service next reaches `controllers/endpointslices.py` and the proxies by watch.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from sampan.apiserver.registry import service_fields
from sampan.apiserver.registry.allocators import Holding
from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.registry.service_allocation import reserve
from sampan.apiserver.registry.service_families import complete_families
from sampan.apiserver.registry.validation.service_addresses import address_change_errors, address_errors
from sampan.apiserver.registry.validation.services import status_errors
from sampan.apiserver.strategy import FieldGetter, RequestInfo
from sampan.machinery import objects
from sampan.machinery.errors import FieldError, Invalid
from sampan.machinery.objects import Object


class ServiceStrategy(TableStrategy):
    """Rules of Services beyond their defaults and value checks."""

    allow_create_on_update: ClassVar[bool] = True
    returns_deleted: ClassVar[bool] = True
    tracks_generation: ClassVar[bool] = False
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        "spec.clusterIP": lambda obj: obj["spec"].get("clusterIP", ""),
        "spec.type": lambda obj: obj["spec"].get("type", ""),
    }

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        super().prepare_create(obj, request)
        obj["status"] = {"loadBalancer": {}}
        service_fields.normalize_addresses(obj["spec"], None)

    async def admit_create(self, obj: Object, request: RequestInfo) -> None:
        """Complete the families, then reserve. Nothing stays reserved for an invalid Service or a dry run."""
        self._refuse(obj, self.validate(obj) + address_errors(obj["spec"]))
        self._complete(obj, None)
        taken = reserve(obj, None, self.ctx.allocators)
        if request.dry_run:
            self.ctx.allocators.release(taken)

    async def rollback_create(self, obj: Object, request: RequestInfo) -> None:
        if not request.dry_run:
            self.ctx.allocators.release(Holding.of(obj))

    def prepare_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        super().prepare_update(new, old, request)
        service_fields.normalize_addresses(new["spec"], old["spec"])
        service_fields.carry_over(new["spec"], old["spec"])
        service_fields.drop_stale(new["spec"], old["spec"])

    async def admit_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        errors = self.validate_update(new, old) + address_errors(new["spec"])
        self._refuse(new, errors + address_change_errors(new["spec"], old["spec"]))
        self._complete(new, old)
        taken = reserve(new, old, self.ctx.allocators)
        if request.dry_run:
            self.ctx.allocators.release(taken)

    async def rollback_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        if not request.dry_run:
            self.ctx.allocators.release(Holding.of(new).minus(Holding.of(old)))

    def prepare_status_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        super().prepare_status_update(new, old, request)
        self.defaults(new)

    def validate_status(self, new: Object, old: Object) -> list[FieldError]:
        return status_errors(new)

    async def after_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """Give back what the Service no longer holds."""
        self.ctx.allocators.release(Holding.of(old).minus(Holding.of(new)))

    async def after_delete(self, obj: Object, request: RequestInfo) -> None:
        self.ctx.allocators.release(Holding.of(obj))

    def _complete(self, obj: Object, old: Object | None) -> None:
        old_spec = None if old is None else old["spec"]
        self._refuse(obj, complete_families(obj["spec"], old_spec, tuple(self.ctx.allocators.addresses)))

    def _refuse(self, obj: Object, errors: Sequence[FieldError]) -> None:
        if errors:
            raise Invalid.of("", self.info.kind, objects.name(obj), errors)
