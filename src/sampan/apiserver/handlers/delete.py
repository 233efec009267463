"""DELETE of one object."""

from typing import Any

import msgspec

from sampan.apiserver import bodies, deletion, options, shape
from sampan.apiserver.handlers.call import Call, read_write_options, success
from sampan.http.messages import Response
from sampan.machinery.errors import BadRequest
from sampan.machinery.objects import Object

_OPTIONS = ("", "v1", "DeleteOptions")
_QUERY_INTEGERS = ("gracePeriodSeconds",)


async def delete(call: Call) -> Response:
    """Raises NotFound, Conflict (preconditions) and what the strategy raises."""
    wanted = await read_delete_options(call)
    deleted = await deletion.delete(call.context.store, call.home, call.info, wanted)
    if deleted.gone and not call.home.strategy.returns_deleted:
        uid = msgspec.json.decode(deleted.value, type=_WithUID).metadata.uid
        return success(call, call.info.name, uid)
    return call.object(deleted.value)


async def read_delete_options(call: Call) -> deletion.DeleteOptions:
    """DeleteOptions from the body, or else from the query. Raises BadRequest, Invalid, UnsupportedMediaType."""
    read_write_options(call)
    data = await bodies.read(call.request)
    raw: Object = {}
    if data.strip():
        bodies.check_media_type(call.request)
        raw = bodies.parse_object(data, bodies.media_type(call.request), "DeleteOptions")
        if raw.get("kind", "DeleteOptions") != "DeleteOptions":
            raise BadRequest(f"the body of a delete request must be DeleteOptions, not {raw['kind']}")
        shape.typed(call.context.schemas, _OPTIONS, raw)
    elif call.query.text:
        raw = _from_query(call)
    parsed = deletion.parse_options(raw)
    call.info.dry_run = call.info.dry_run or parsed.dry_run
    return parsed


def _from_query(call: Call) -> Object:
    raw: dict[str, Any] = {}
    for name in _QUERY_INTEGERS:
        if (number := options.integer(call.query, name)) is not None:
            raw[name] = number
    if policy := call.query.get("propagationPolicy"):
        raw["propagationPolicy"] = policy
    if call.query.has("orphanDependents"):
        raw["orphanDependents"] = call.query.flag("orphanDependents")
    return raw


class _UID(msgspec.Struct):
    uid: str = ""


class _WithUID(msgspec.Struct):
    metadata: _UID
