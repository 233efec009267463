"""PUT of an object, or of one of the subresources that are views of it (status, finalize, approval…)."""

from sampan.apiserver import bodies, metadata_rules, shape
from sampan.apiserver.handlers.call import Call, read_write_options
from sampan.http.messages import Response
from sampan.machinery.objects import Object, metadata


async def update(call: Call) -> Response:
    """Raises NotFound, Conflict, Invalid and what the strategy raises."""
    read_write_options(call)
    bodies.check_media_type(call.request)
    data, form = await bodies.read(call.request), bodies.media_type(call.request)

    def wanted(_: Object) -> Object:
        obj = bodies.parse_object(data, form, call.served.info.kind)
        if form == bodies.JSON:
            shape.look_for_repetition(data, obj, call.info)
        metadata_rules.check_type(call.served, obj)
        metadata_rules.check_address(obj, call.info)
        return call.served.accept(obj)

    def new() -> Object:
        obj = wanted({})
        metadata_rules.settle_name(obj, call.info)
        metadata(obj).pop("resourceVersion", None)
        return obj

    creates = call.home.strategy.allow_create_on_update and not call.info.subresource
    written = await call.context.engine.update(call.home, call.info, wanted, creates=new if creates else None)
    return call.object(written.value, 201 if written.created else 200)
