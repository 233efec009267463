"""Binding: a scheduler's decision, written into the pod once and for all."""

from collections.abc import Callable
from dataclasses import replace

from sampan.apiserver import bodies, shape
from sampan.apiserver.handlers.call import Call, json_response, read_write_options
from sampan.http.messages import Response
from sampan.machinery import times
from sampan.machinery.errors import BadRequest, Conflict, FieldError, Invalid
from sampan.machinery.objects import Object, metadata

_BINDING = ("", "v1", "Binding")
Conflicting = Callable[[str, str], Conflict]


async def bind(call: Call) -> Response:
    """Serves `pods/NAME/binding` and the older `bindings` collection. Raises NotFound, Conflict, Invalid."""
    read_write_options(call)
    binding = shape.typed(call.context.schemas, _BINDING, await bodies.read_object(call.request, "Binding"))
    name = call.info.name or str((binding.get("metadata") or {}).get("name") or "")
    node = _target(binding, name)
    pods = call.context.catalog.named("pods")
    request = replace(call.info, resource="pods", subresource="binding", name=name)
    await call.context.engine.update(pods, request, lambda pod: assign(pod, node, binding, pods.conflict), own=True)
    return json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)


def _target(binding: Object, name: str) -> str:
    target = binding.get("target") or {}
    if not target.get("name"):
        raise Invalid.of("", "Binding", name, [FieldError.required("target.name")])
    if target.get("kind") not in (None, "", "Node"):
        error = FieldError.not_supported("target.kind", target["kind"], ("Node", "<empty>"))
        raise Invalid.of("", "Binding", name, [error])
    return str(target["name"])


def assign(pod: Object, node: str, binding: Object, conflict: Conflicting) -> Object:
    """The pod on its node. Raises Conflict when it is on its way out or has a node already."""
    meta, spec = metadata(pod), pod["spec"]
    name = str(meta.get("name"))
    wanted = (binding.get("metadata") or {}).get("uid")
    if wanted and wanted != meta.get("uid"):
        raise conflict(name, f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}")
    if meta.get("deletionTimestamp"):
        raise conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise BadRequest(f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    given = binding.get("metadata") or {}
    for field in ("annotations", "labels"):
        if given.get(field):
            meta[field] = {**(meta.get(field) or {}), **given[field]}
    set_condition(pod, {"type": "PodScheduled", "status": "True"})
    return pod


def set_condition(pod: Object, condition: Object) -> None:
    """Put a condition into a pod's status, with the time of its last change."""
    status = pod.setdefault("status", {})
    conditions = status.setdefault("conditions", [])
    for index, known in enumerate(conditions):
        if known.get("type") == condition["type"]:
            changed = known.get("status") != condition["status"]
            since = times.now() if changed else known.get("lastTransitionTime") or times.now()
            conditions[index] = {**condition, "lastTransitionTime": since}
            return
    conditions.append({**condition, "lastTransitionTime": times.now()})
