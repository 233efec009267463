"""POST of a new object."""

from sampan.apiserver import bodies, metadata_rules, shape
from sampan.apiserver.handlers.call import Call, read_write_options
from sampan.http.messages import Response


async def create(call: Call) -> Response:
    """Raises AlreadyExists, BadRequest, Invalid and what the strategy raises."""
    read_write_options(call)
    bodies.check_media_type(call.request)
    data, form = await bodies.read(call.request), bodies.media_type(call.request)
    obj = bodies.parse_object(data, form, call.served.info.kind)
    if form == bodies.JSON:
        shape.look_for_repetition(data, obj, call.info)
    metadata_rules.check_type(call.served, obj)
    written = await call.context.engine.create(call.home, call.served.accept(obj), call.info)
    return call.object(written.value, 201)
