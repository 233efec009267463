"""GET of a collection: the stored bytes of the selected objects, joined."""

from collections.abc import Sequence

from sampan.apiserver.handlers.call import Call
from sampan.apiserver.listing import list_entries, list_options
from sampan.apiserver.negotiation import JSON, Form
from sampan.apiserver.rendering import in_media_type
from sampan.apiserver.selection import selection_of
from sampan.http.messages import Response
from sampan.machinery.errors import FieldError, Invalid
from sampan.machinery.objects import Object

_LARGE = 1 << 20
"""A list of more bytes than this is sent in pieces: faster, and other requests get their turn in between."""


async def list_(call: Call) -> Response | None:
    """Raises BadRequest (selectors, options), Gone (too old), Timeout (not yet)."""
    if call.query.text and call.query.has("sendInitialEvents"):
        error = FieldError.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        raise Invalid.of("meta.k8s.io", "ListOptions", "", [error])
    selection = selection_of(call.home, call.info, call.query)
    listed = await list_entries(call.context.store, selection, list_options(call.query))
    form = call.form()
    values = [entry.value for entry in listed.entries]
    if not form.is_table and form.media_type == JSON and sum(map(len, values)) > _LARGE:
        await _stream(call, form, values, listed.metadata)
        return None
    body = call.renderer(form).list(values, listed.metadata)
    return Response(200, in_media_type(body, form), form.media_type, call.warnings())


async def _stream(call: Call, form: Form, values: Sequence[bytes], metadata: Object) -> None:
    stream = await call.request.stream(200, {"Content-Type": form.media_type, **call.warnings()})
    for piece in call.renderer(form).pieces(values, metadata):
        await stream.write(piece)
    await stream.close()
