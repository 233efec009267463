"""Namespaces: made Active, and held back when deleted until the namespace controller has emptied them.

What holds a namespace back is `spec.finalizers`, which only the `finalize` subresource may change.
"""

from collections.abc import Mapping
from typing import ClassVar

from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.strategy import FieldGetter, RequestInfo, carry
from sampan.machinery import objects
from sampan.machinery.errors import Forbidden
from sampan.machinery.objects import Object

_FINALIZER = "kubernetes"
_PERMANENT = frozenset({"default", "kube-system", "kube-public"})


class NamespaceStrategy(TableStrategy):
    """Rules of namespaces beyond their defaults."""

    tracks_generation: ClassVar[bool] = False
    returns_deleted: ClassVar[bool] = True
    field_labels: ClassVar[Mapping[str, FieldGetter]] = {
        "status.phase": lambda obj: (obj.get("status") or {}).get("phase", ""),
    }

    def prepare_create(self, obj: Object, request: RequestInfo) -> None:
        spec = obj.setdefault("spec", {})
        finalizers = spec.setdefault("finalizers", [])
        if _FINALIZER not in finalizers:
            finalizers.append(_FINALIZER)
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        """Finalizers and status have subresources of their own."""
        carry(new, old, "spec")
        carry(new, old, "status")

    def prepare_subresource_update(self, new: Object, old: Object, request: RequestInfo) -> None:
        if request.subresource == "finalize":
            carry(new, old, "status")
        else:
            super().prepare_subresource_update(new, old, request)

    def is_finalized(self, obj: Object) -> bool:
        return super().is_finalized(obj) and not (obj.get("spec") or {}).get("finalizers")

    def prepare_delete(self, obj: Object, request: RequestInfo) -> None:
        obj.setdefault("status", {})["phase"] = "Terminating"

    async def before_delete(self, obj: Object, request: RequestInfo) -> None:
        name = objects.name(obj)
        if name in _PERMANENT:
            message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            raise Forbidden(message, details={"name": name, "kind": "namespaces"})
