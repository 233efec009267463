"""Server-side apply: the object that a client wants, merged by the rules of `sampan.machinery.patch.apply`."""

from sampan.apiserver import bodies, metadata_rules, shape
from sampan.apiserver.engine import Written
from sampan.apiserver.handlers.call import Call
from sampan.machinery import times
from sampan.machinery.errors import FieldError, Invalid
from sampan.machinery.objects import Object
from sampan.machinery.patch.apply import server_side_apply


async def apply(call: Call, data: bytes) -> Written:
    """Create or change the named object. Raises BadRequest, Conflict (fields that others manage), Invalid."""
    if not call.query.get("fieldManager"):
        error = FieldError.required("fieldManager", "is required for apply patch")
        raise Invalid.of("meta.k8s.io", "PatchOptions", "", [error])
    call.info.applies = True
    home = call.home

    def transform(live: Object) -> Object:
        return _merged(call, live, _read(call, data))

    def new() -> Object:
        return _merged(call, None, _read(call, data))

    creates = None if call.info.subresource else new
    return await call.context.engine.update(home, call.info, transform, creates=creates)


def _read(call: Call, data: bytes) -> Object:
    """The configuration in the stored version, checked against the schema as a whole object would be."""
    form = bodies.JSON if data.lstrip()[:1] == b"{" else "application/yaml"
    config = bodies.parse_object(data, form, call.served.info.kind)
    if form == bodies.JSON:
        shape.look_for_repetition(data, config, call.info)
    metadata_rules.check_type(call.served, config)
    config = call.served.accept(config)
    shape.check(call.home, config, call.info)
    metadata_rules.settle_name(config, call.info)
    metadata_rules.settle_namespace(call.home, config, call.info)
    return config


def _merged(call: Call, live: Object | None, config: Object) -> Object:
    return server_side_apply(
        live,
        config,
        call.home.node,
        manager=call.info.field_manager,
        force=call.query.flag("force"),
        api_version=call.home.api_version,
        subresource=call.info.subresource,
        now=times.now(),
    )
