"""DELETE of a collection: every selected object, one after the other; complete when it answers."""

from dataclasses import replace

from sampan.apiserver import deletion
from sampan.apiserver.handlers.call import Call
from sampan.apiserver.handlers.delete import read_delete_options
from sampan.apiserver.listing import list_entries, list_options
from sampan.apiserver.rendering import in_media_type
from sampan.apiserver.selection import selection_of
from sampan.http.messages import Response
from sampan.machinery.errors import NotFound


async def deletecollection(call: Call) -> Response:
    """The list of what was deleted. An object that somebody else deletes meanwhile counts as deleted."""
    options = await read_delete_options(call)
    selection = selection_of(call.home, call.info, call.query)
    listed = await list_entries(call.context.store, selection, list_options(call.query))
    values = []
    for entry in listed.entries:
        namespace, name = call.home.split(entry.key)
        request = replace(call.info, namespace=namespace, name=name)
        try:
            deleted = await deletion.delete(call.context.store, call.home, request, options)
        except NotFound:
            continue
        values.append(deleted.value)
    form = call.form()
    metadata = {"resourceVersion": str(call.context.store.revision)}
    body = call.renderer(form).list(values, metadata)
    return Response(200, in_media_type(body, form), form.media_type, call.warnings())
