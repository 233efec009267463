"""Ingresses: which class one gets that names none, and what its status may say."""

from collections.abc import Mapping
from typing import Any, ClassVar

from sampan.apiserver.registry.validation.ingresses import status_errors
from sampan.apiserver.registry.variants import StatusAtFirst
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object, metadata

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"


class IngressStrategy(StatusAtFirst):
    initial_status: ClassVar[Mapping[str, Any]] = {"loadBalancer": {}}

    async def admit_create(self, obj: Object, request: RequestInfo) -> None:
        """As the admission plug-in DefaultIngressClass: of several default classes the newest counts."""
        spec = obj.setdefault("spec", {})
        annotations = metadata(obj).get("annotations") or {}
        if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in annotations:
            return
        classes = await self.ctx.list("ingressclasses.networking.k8s.io")
        if name := default_class(classes):
            spec["ingressClassName"] = name

    def validate_status(self, new: Object, old: Object) -> list[FieldError]:
        return status_errors(new)


def default_class(classes: list[Object]) -> str | None:
    """The name of the default class; None if there is none."""
    found = [metadata(one) for one in classes if _is_default(metadata(one))]
    found.sort(key=lambda meta: str(meta["name"]))
    found.sort(key=lambda meta: str(meta.get("creationTimestamp") or ""), reverse=True)
    return found[0]["name"] if found else None


def _is_default(meta: Object) -> bool:
    return (meta.get("annotations") or {}).get(DEFAULT_CLASS_ANNOTATION) == "true"
