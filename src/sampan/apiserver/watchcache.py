"""The fan-out of one resource's changes: one store watch, each frame encoded once, any number of watchers.

A `Hub` reads batches of events from the store and offers them to its watchers, which are grouped by what they can
match (one key, one namespace, everything), so that a thousand watchers of single objects cost a change nothing but
theirs. A watcher writes straight into its connection and never waits: one that does not keep up is closed, and its
client resumes from the last revision it saw. History for resuming comes from the store itself (`Store.since`).

A watch ends rather than skip a change. An exception while a change is filtered or rendered for one watcher ends that
watch with an ERROR event; any other exception ends all watches of the hub with an ERROR 410: their clients list again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from sampan.apiserver.rendering import Renderer, framed
from sampan.apiserver.selection import Selection
from sampan.http.server import Stream
from sampan.machinery.errors import Gone, InternalError, StatusError
from sampan.store.interface import Compacted, Entry, Event, Store, Watch
from sampan.store.stamp import restamp

log = logging.getLogger(__name__)

MAX_BACKLOG = 16 << 20
"""Bytes that may wait for a watcher's client before the watcher is closed."""

MAX_PENDING = 20_000
"""Changes that may wait for a watcher that is still sending its initial state."""

BOOKMARK_SECONDS = 60.0
_SETTLE_SECONDS = 0.5


class Change:
    """One event with the frames made of it so far, shared by all watchers that send them."""

    __slots__ = ("_frames", "event", "type")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.type = _type_of(event)
        self._frames: dict[tuple[str, int], bytes] = {}

    def frame(self, kind: str, renderer: Renderer) -> bytes:
        """The bytes that tell a watcher of this change as a `kind` of change."""
        known = self._frames.get((kind, id(renderer)))
        if known is None:
            known = framed(kind, renderer(self._value(kind)))
            self._frames[kind, id(renderer)] = known
        return known

    def _value(self, kind: str) -> bytes:
        """An object that has left the selection is shown as it last was in it, at the revision of the change."""
        event = self.event
        if kind == "DELETED" and event.type == "PUT" and event.previous is not None:
            return restamp(event.previous.value, event.previous.revision, event.revision)
        return event.entry.value


def _type_of(event: Event) -> str:
    if event.type == "DELETE":
        return "DELETED"
    return "ADDED" if event.previous is None else "MODIFIED"


def kind_of_change(change: Change, selection: Selection) -> str:
    """What a change is to somebody who sees only the selection: ADDED, MODIFIED, DELETED, or nothing (empty)."""
    event = change.event
    if selection.labels is None and selection.fields is None:
        return change.type
    was = event.previous is not None and selection.selects(event.previous)
    is_now = event.type != "DELETE" and selection.selects(event.entry)
    if is_now:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else ""


class Watcher:
    """One client's watch. `done` resolves when it is over: to the error that the client must be told, or to None."""

    def __init__(self, selection: Selection, renderer: Renderer, stream: Stream, *, bookmarks: bool) -> None:
        self.selection = selection
        self.renderer = renderer
        self.bookmarks = bookmarks
        self.after = 0
        self.done: asyncio.Future[StatusError | None] = asyncio.get_running_loop().create_future()
        self._stream = stream
        self._pending: list[Change] | None = []

    def offer(self, changes: Sequence[Change]) -> None:
        """Called by the hub with changes in scope. Never raises: a change that cannot be sent ends the watch."""
        if self.done.done():
            return
        if self._pending is not None:
            self._pending.extend(changes)
            if len(self._pending) > MAX_PENDING:
                self._cut()
            return
        try:
            if frames := self.frames(changes):
                self._write(frames)
        except Exception:
            self.fail()

    def frames(self, changes: Iterable[Change]) -> bytes:
        frames = [
            change.frame(kind, self.renderer)
            for change in changes
            if change.event.revision > self.after and (kind := kind_of_change(change, self.selection))
        ]
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def go_live(self) -> None:
        """The initial state is sent: send what has come meanwhile, and from now on write through."""
        pending, self._pending = self._pending or [], None
        if frames := self.frames(pending):
            self._write(frames)

    def mark(self, revision: int) -> None:
        """Tell the client that it has seen everything up to `revision`."""
        if self.bookmarks and self._pending is None and not self.done.done():
            self._write(self.renderer.bookmark(revision))

    def end(self, error: StatusError | None = None) -> None:
        if not self.done.done():
            self.done.set_result(error)

    def fail(self) -> None:
        """End the watch because of the exception being handled, which is logged."""
        served = self.selection.served
        log.exception("watch of %s: a change cannot be sent; this watch ends", served.info.plural)
        self.end(InternalError("Internal error occurred: a change could not be sent; see the API server's log"))

    def _cut(self) -> None:
        """Close the connection of a client that does not keep up; it resumes from the last revision it has seen."""
        self.end()
        self._stream.abort()

    def _write(self, data: bytes) -> None:
        if self.done.done():
            return
        try:
            self._stream.write_now(data)
        except ConnectionResetError:
            self.end()
        else:
            if self._stream.backlog > MAX_BACKLOG:
                self._cut()


class _Audience:
    """The watchers of a hub by the scope they look at."""

    def __init__(self) -> None:
        self._scopes: dict[str, set[Watcher]] = {}

    def add(self, watcher: Watcher) -> None:
        self._scopes.setdefault(self._scope(watcher), set()).add(watcher)

    def discard(self, watcher: Watcher) -> None:
        scope = self._scope(watcher)
        members = self._scopes.get(scope, set())
        members.discard(watcher)
        if not members:
            self._scopes.pop(scope, None)

    def _scope(self, watcher: Watcher) -> str:
        selection = watcher.selection
        if selection.name and not selection.is_one_key:
            return f"{selection.prefix}*/{selection.name}"
        return selection.prefix

    def offer(self, changes: list[Change], scopes_of: Callable[[str], tuple[str, ...]]) -> None:
        found: dict[str, list[Change]] = {}
        for change in changes:
            for scope in scopes_of(change.event.entry.key):
                if scope in self._scopes:
                    found.setdefault(scope, []).append(change)
        for scope, relevant in found.items():
            for watcher in tuple(self._scopes.get(scope, ())):
                watcher.offer(relevant)

    def __iter__(self) -> Iterator[Watcher]:
        return iter([watcher for members in self._scopes.values() for watcher in members])

    def __len__(self) -> int:
        return sum(map(len, self._scopes.values()))


class Hub:
    """One store watch for all the watchers of a prefix. Runs while it has watchers."""

    def __init__(self, store: Store, prefix: str) -> None:
        self.store = store
        self._prefix = prefix
        self._audience = _Audience()
        self._task: asyncio.Task[None] | None = None
        self._marker: asyncio.Task[None] | None = None
        self._offered = 0

    def join(self, watcher: Watcher, after: int) -> None:
        """Offer the watcher every later change; it must have been told of everything up to `after`, or be told."""
        watcher.after = after
        self._audience.add(watcher)
        if self._task is None:
            self._offered = self.store.revision
            watch = self.store.watch(self._prefix, self._offered)
            self._task = asyncio.create_task(self._run(watch))
            self._marker = asyncio.create_task(self._mark())

    def leave(self, watcher: Watcher) -> None:
        self._audience.discard(watcher)
        if not len(self._audience):
            self.close()

    def close(self) -> None:
        """End all watches in an orderly way."""
        self._stop(None)

    def _stop(self, error: StatusError | None) -> None:
        """End all watches and the hub's tasks; the next watcher starts them again."""
        current = asyncio.current_task()
        for task in (self._task, self._marker):
            if task is not None and task is not current:
                task.cancel()
        self._task = self._marker = None
        for watcher in self._audience:
            watcher.end(error)
        self._audience = _Audience()

    def missed(self, selection: Selection, after: int) -> list[Change]:
        """What happened in a selection's scope since `after`. Raises Compacted, FutureRevision."""
        events = self.store.since(selection.prefix, after)
        if selection.name:
            events = [event for event in events if selection.served.split(event.entry.key)[1] == selection.name]
        return [Change(event) for event in events]

    async def _run(self, watch: Watch) -> None:
        try:
            async for batch in watch:
                self._audience.offer([Change(event) for event in batch], self._scopes_of)
                self._offered = batch[-1].revision
        except asyncio.CancelledError:
            raise
        except Compacted:
            log.warning("%s: the watch fell behind the store; its clients list again", self._prefix)
            self._stop(self._lost())
        except Exception:
            log.exception("%s: the watch failed; its clients list again", self._prefix)
            self._stop(self._lost())
        else:
            self._stop(None)
        finally:
            watch.close()

    def _lost(self) -> Gone:
        return Gone(f"too old resource version: {self._offered} ({self.store.revision})")

    def _scopes_of(self, key: str) -> tuple[str, ...]:
        namespace, slash, name = key[len(self._prefix) :].rpartition("/")
        if slash:
            return (self._prefix, f"{self._prefix}{namespace}/", key, f"{self._prefix}*/{name}")
        return (self._prefix, key)

    async def _mark(self) -> None:
        """Send bookmarks. The pause lets changes up to the revision reach the watchers first."""
        known = self._offered
        while True:
            await asyncio.sleep(BOOKMARK_SECONDS - _SETTLE_SECONDS)
            revision = self.store.revision
            await asyncio.sleep(_SETTLE_SECONDS)
            try:
                known = max(known, self._offered)
                if any(event.revision <= revision for event in self.store.since(self._prefix, known)):
                    continue
                known = max(known, revision)
                for watcher in self._audience:
                    watcher.mark(known)
            except Exception:
                log.exception("%s: no bookmark could be sent", self._prefix)


class Hubs:
    """The hubs of a server, one for each stored resource, made when first watched."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._hubs: dict[str, Hub] = {}

    def of(self, prefix: str) -> Hub:
        if prefix not in self._hubs:
            self._hubs[prefix] = Hub(self.store, prefix)
        return self._hubs[prefix]

    def close(self) -> None:
        for hub in self._hubs.values():
            hub.close()


def entries_of(store: Store, selection: Selection) -> list[Entry]:
    """The selected entries now, in key order, without awaiting."""
    if selection.is_one_key:
        entry = store.peek(selection.prefix)
        found = [entry] if entry is not None else []
    else:
        found = store.scan(selection.prefix)
        if selection.name:
            found = [entry for entry in found if selection.served.split(entry.key)[1] == selection.name]
    if selection.labels is None and selection.fields is None:
        return found
    return [entry for entry in found if selection.selects(entry)]
