"""GET of one object."""

from sampan.apiserver.handlers.call import Call
from sampan.apiserver.listing import parse_revision, reach
from sampan.http.messages import Response


async def get(call: Call) -> Response:
    """The object as stored. Raises NotFound."""
    info, home = call.info, call.home
    store = call.context.store
    if call.query.text and (revision := parse_revision(call.query.get("resourceVersion"))):
        await reach(store, revision)
    entry = store.peek(home.key(info.namespace, info.name))
    if entry is None:
        raise home.not_found(info.name)
    return call.object(entry.value)
