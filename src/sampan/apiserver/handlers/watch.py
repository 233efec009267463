"""GET with `watch=true`: what has changed since a revision, and then every change as it happens.

The handler sends the past (the current objects, or the events since the revision that the client saw last), and then
only waits: the hub (`watchcache.py`) writes later changes into the stream.
"""

import asyncio
import random
from collections.abc import AsyncIterator

from sampan.apiserver import options
from sampan.apiserver.handlers.call import Call
from sampan.apiserver.listing import parse_revision, reach
from sampan.apiserver.rendering import failure, framed
from sampan.apiserver.selection import Selection, selection_of
from sampan.apiserver.watchcache import Hub, Watcher, entries_of
from sampan.http.messages import Query
from sampan.machinery.errors import FieldError, Gone, NotAcceptable
from sampan.store.interface import Compacted, Entry

_CHUNK = 256 * 1024
_DEFAULT_TIMEOUT = 1800.0


async def watch(call: Call) -> None:
    """Raises BadRequest, Invalid, NotAcceptable before the stream begins; later errors are its last event."""
    selection = selection_of(call.home, call.info, call.query)
    initial = _wants_initial_events(call.query)
    revision = parse_revision(call.query.get("resourceVersion"))
    seconds = _timeout(call.query)
    form = call.form()
    if form.media_type != "application/json":
        raise NotAcceptable("only the following media types are accepted: application/json")
    store = call.context.store
    if revision > store.revision:
        await reach(store, revision)
    stream = await call.request.stream(200, {"Content-Type": "application/json", **call.warnings()})
    bookmarks = call.query.flag("allowWatchBookmarks")
    watcher = Watcher(selection, call.renderer(form), stream, bookmarks=bookmarks)
    hub = call.context.hubs.of(selection.served.prefix)
    try:
        past = _past(hub, watcher, selection, revision, initial=initial)
        async for chunk in past:
            await stream.write(chunk)
        watcher.go_live()
        await asyncio.wait([watcher.done], timeout=seconds)
    except Compacted:
        watcher.end(Gone(f"too old resource version: {revision} ({store.revision})"))
    except ConnectionResetError:
        watcher.end()
    except Exception:
        watcher.fail()
    finally:
        hub.leave(watcher)
    error = watcher.done.result() if watcher.done.done() else None
    if error is not None and not stream.closed:
        stream.write_now(failure(error))
    await stream.close()


async def _past(
    hub: Hub, watcher: Watcher, selection: Selection, revision: int, *, initial: bool | None
) -> AsyncIterator[bytes]:
    """What the client has not seen, in chunks. From the first step on, the hub tells the watcher of later changes.

    Raises Compacted.
    """
    if initial or (initial is None and not revision):
        entries = entries_of(hub.store, selection)
        now = hub.store.revision
        hub.join(watcher, now)
        for chunk in _added(watcher, entries):
            yield chunk
        if initial:
            yield watcher.renderer.bookmark(now, ends_initial_events=True)
        return
    missed = hub.missed(selection, revision) if revision else []
    frames = watcher.frames(missed)
    hub.join(watcher, hub.store.revision)
    if frames:
        yield frames


def _added(watcher: Watcher, entries: list[Entry]) -> list[bytes]:
    """ADDED events, gathered into chunks."""
    chunks: list[bytes] = []
    gathered: list[bytes] = []
    size = 0
    for entry in entries:
        frame = framed("ADDED", watcher.renderer(entry.value))
        gathered.append(frame)
        size += len(frame)
        if size > _CHUNK:
            chunks.append(b"".join(gathered))
            gathered, size = [], 0
    return [*chunks, b"".join(gathered)] if gathered else chunks


def _wants_initial_events(query: Query) -> bool | None:
    """`sendInitialEvents`, or None where the client leaves it to the resourceVersion. Raises Invalid."""
    match, given = query.get("resourceVersionMatch"), query.has("sendInitialEvents")
    path, errors = "resourceVersionMatch", []
    if given and match != "NotOlderThan":
        detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        errors.append(FieldError.forbidden(path, detail))
    if match and not given:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        errors.append(FieldError.forbidden(path, detail))
    if match not in ("", "NotOlderThan"):
        errors.append(FieldError.not_supported(path, match, ("NotOlderThan",)))
    if errors:
        raise options.invalid("ListOptions", errors)
    return query.flag("sendInitialEvents") if given else None


def _timeout(query: Query) -> float:
    seconds = options.integer(query, "timeoutSeconds")
    return float(max(seconds, 0)) if seconds else _DEFAULT_TIMEOUT * (1 + random.random())
