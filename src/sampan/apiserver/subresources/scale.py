"""The scale subresource: the replica count of any kind that has one, as one small object (autoscaling/v1 Scale)."""

from dataclasses import replace
from typing import Any

from sampan.apiserver import bodies, shape
from sampan.apiserver.handlers import patch as patching
from sampan.apiserver.handlers.call import Call, json_response, read_write_options
from sampan.http.messages import Response
from sampan.machinery.errors import FieldError, Invalid
from sampan.machinery.objects import Object
from sampan.machinery.selectors import from_label_selector, from_labels

_KIND = ("autoscaling", "v1", "Scale")


def scale_of(obj: Object) -> Object:
    """The Scale that an object shows."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in kept if name in meta},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {"replicas": status.get("replicas", 0), "selector": _selector_text(spec.get("selector"))},
    }


def _selector_text(selector: Any) -> str:
    """A label selector, or the plain labels of a ReplicationController, as a query would write it."""
    if not isinstance(selector, dict):
        return ""
    is_selector = "matchLabels" in selector or "matchExpressions" in selector
    return str(from_label_selector(selector) if is_selector else from_labels(selector))


async def get_scale(call: Call) -> Response:
    """Raises NotFound."""
    home, info = call.home, call.info
    entry = call.context.store.peek(home.key(info.namespace, info.name))
    if entry is None:
        raise home.not_found(info.name)
    return json_response(scale_of(home.decode(entry)))


async def update_scale(call: Call) -> Response:
    """Raises NotFound, Conflict, Invalid."""
    read_write_options(call)
    scale = await bodies.read_object(call.request, "Scale")
    return await _set(call, lambda _: scale)


async def patch_scale(call: Call) -> Response:
    """Raises NotFound, Conflict, Invalid and what the patch raises."""
    read_write_options(call)
    form = bodies.media_type(call.request)
    data = await bodies.read(call.request)
    node = call.context.schemas.definition(_KIND)
    return await _set(call, lambda obj: patching.apply_patch(node, form, scale_of(obj), bodies.decode(data)))


async def _set(call: Call, wanted: Any) -> Response:
    def transform(obj: Object) -> Object:
        scale = shape.typed(call.context.schemas, _KIND, wanted(obj))
        version = (scale.get("metadata") or {}).get("resourceVersion")
        if version and version != obj["metadata"]["resourceVersion"]:
            raise call.home.conflict(call.info.name)
        obj["spec"]["replicas"] = _replicas(call, scale)
        return obj

    whole = replace(call.info, subresource="", verb="update")
    written = await call.context.engine.update(call.home, whole, transform)
    return json_response(scale_of(call.home.decode_value(written.value)))


def _replicas(call: Call, scale: Object) -> int:
    count = int((scale.get("spec") or {}).get("replicas", 0))
    if count < 0:
        error = FieldError.invalid("spec.replicas", count, "must be greater than or equal to 0")
        raise Invalid.of("autoscaling", "Scale", call.info.name, [error])
    return count
