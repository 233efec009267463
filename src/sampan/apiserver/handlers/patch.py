"""PATCH in its four kinds: JSON patch, merge patch, strategic merge patch and server-side apply.

A patch is applied to the current object and swapped in; when somebody else was faster it is applied again, unless it
names the resourceVersion that it is for. The patch is decoded anew each time, because its parts become the object's.
"""

from typing import Any

from sampan.apiserver import bodies, metadata_rules, shape
from sampan.apiserver.engine import Written
from sampan.apiserver.handlers.call import Call, read_write_options
from sampan.http.messages import Response
from sampan.machinery.errors import BadRequest, UnsupportedMediaType
from sampan.machinery.objects import Object

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, bodies.APPLY_PATCH)


async def patch(call: Call) -> Response:
    """Raises NotFound, Conflict, Invalid, BadRequest, UnsupportedMediaType and what the strategy raises."""
    form = bodies.media_type(call.request)
    if form not in _TYPES:
        listed = ", ".join(_TYPES)
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {listed}"
        )
    read_write_options(call)
    data = await bodies.read(call.request)
    if form == bodies.APPLY_PATCH:
        from sampan.apiserver.handlers.apply import apply

        written = await apply(call, data)
    else:
        written = await _patch(call, form, data)
    return call.object(written.value, 201 if written.created else 200)


async def _patch(call: Call, form: str, data: bytes) -> Written:
    home, conversion = call.home, call.served.info.conversion

    def transform(obj: Object) -> Object:
        content = bodies.decode(data)
        shape.look_for_repetition(data, content, call.info)
        if conversion is None:
            patched = apply_patch(home.node, form, obj, content)
        else:
            patched = conversion.to_storage(apply_patch(None, form, conversion.from_storage(obj), content))
        metadata_rules.check_type(home, patched)
        return patched

    return await call.context.engine.update(home, call.info, transform)


def apply_patch(node: Any, form: str, obj: Object, content: Any) -> Object:
    """One patch of a known type on one object. Raises BadRequest, Conflict, Invalid."""
    if form == JSON_PATCH:
        from sampan.machinery.patch.json_patch import json_patch

        return json_patch(obj, content)
    if not isinstance(content, dict):
        raise BadRequest("a patch of this type must be an object")
    if form == MERGE_PATCH:
        from sampan.machinery.patch.merge_patch import merge_patch

        merged: Object = merge_patch(obj, content)
        return merged
    from sampan.machinery.patch.strategic import strategic_merge

    return strategic_merge(obj, content, node)
