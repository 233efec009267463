"""Lists: all of a selection now, as of a revision, or page by page with an opaque continue token.

A token holds the revision of the first page and the last key sent, so that all pages show one moment; when that moment
has been compacted away, the client is told (410) with a token that continues inconsistently, as upstream does.
"""

import asyncio
import base64
import binascii
from dataclasses import dataclass

import msgspec

from sampan.apiserver import options
from sampan.apiserver.selection import Selection
from sampan.apiserver.watchcache import entries_of
from sampan.http.messages import Query
from sampan.machinery.errors import BadRequest, FieldError, Gone, Timeout
from sampan.machinery.objects import Object
from sampan.store.interface import Compacted, Entry, FutureRevision, Store

WAIT_FOR_REVISION = 3.0
_LATEST = -1


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list request says about time and size. `start` is the key after which to go on."""

    limit: int = 0
    revision: int = 0
    exact: bool = False
    start: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """The selected entries and the list's own metadata."""

    entries: list[Entry]
    metadata: Object


class ContinueExpired(Gone):
    """A continue token whose revision is compacted; the Status carries one that goes on from now."""

    def __init__(self, start: str) -> None:
        super().__init__(
            "The provided continue parameter is too old to display a consistent list result. You can start a new "
            "list without the continue parameter, or use the continue token in this response to retrieve the "
            "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
            "that were created, modified, or deleted between the time the first chunk was returned and now may show "
            "up in the list."
        )
        self._start = start

    def to_status(self) -> Object:
        status = super().to_status()
        status["metadata"] = {"continue": encode_token(_LATEST, self._start)}
        return status


def encode_token(revision: int, start: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, start])).decode().rstrip("=")


def decode_token(token: str) -> tuple[int, str]:
    """Raises BadRequest."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
        return msgspec.json.decode(data, type=tuple[int, str])
    except (binascii.Error, ValueError):
        raise BadRequest("continue key is not valid: it was not made by this server") from None


def list_options(query: Query) -> ListOptions:
    """Raises BadRequest or Invalid."""
    if not query.text:
        return ListOptions()
    limit = max(options.integer(query, "limit") or 0, 0)
    version, match, token = query.get("resourceVersion"), query.get("resourceVersionMatch"), query.get("continue")
    _check_match(version, match, token)
    if token:
        if version not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")
        revision, start = decode_token(token)
        if revision == _LATEST:
            return ListOptions(limit, start=start)
        return ListOptions(limit, revision, exact=True, start=start)
    revision = parse_revision(version)
    exact = match == "Exact" or (not match and limit > 0 and revision > 0)
    return ListOptions(limit, revision, exact=exact)


def parse_revision(text: str) -> int:
    """A resourceVersion from a query; empty is 0. Raises BadRequest."""
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        detail = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise BadRequest(f'resourceVersion: Invalid value: "{text}": {detail}')
    return int(text)


def _check_match(version: str, match: str, token: str) -> None:
    path = "resourceVersionMatch"
    if not match:
        return
    error = None
    if token:
        error = FieldError.forbidden(path, "resourceVersionMatch is forbidden when continue is provided")
    elif not version:
        error = FieldError.forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    elif match not in ("Exact", "NotOlderThan"):
        error = FieldError.not_supported(path, match, ("Exact", "NotOlderThan"))
    elif match == "Exact" and version == "0":
        error = FieldError.forbidden(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if error is not None:
        raise options.invalid("ListOptions", [error])


async def list_entries(store: Store, selection: Selection, options: ListOptions) -> Listed:
    """Raises Gone (the moment asked for is not kept) or Timeout (it has not come)."""
    if options.revision:
        await reach(store, options.revision)
    if not (options.limit or options.exact or options.start):
        return Listed(entries_of(store, selection), {"resourceVersion": str(store.revision)})
    try:
        return await _page(store, selection, options)
    except Compacted:
        if options.start:
            raise ContinueExpired(options.start) from None
        raise Gone(f"The resourceVersion for the provided list is too old: {options.revision}") from None


async def reach(store: Store, revision: int) -> None:
    """Wait a little for a revision that another server's client may have seen before us. Raises Timeout."""
    deadline = asyncio.get_running_loop().time() + WAIT_FOR_REVISION
    while store.revision < revision:
        if asyncio.get_running_loop().time() > deadline:
            causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
            raise Timeout(
                f"Too large resource version: {revision}, current: {store.revision}",
                details={"causes": causes, "retryAfterSeconds": 1},
            )
        await asyncio.sleep(0.05)


async def _page(store: Store, selection: Selection, options: ListOptions) -> Listed:
    after = f"{selection.served.prefix}{options.start}" if options.start else ""
    revision = options.revision if options.exact else 0
    try:
        if selection.is_scope:
            page = await store.list(selection.prefix, after=after, limit=options.limit, revision=revision)
            return _listed(selection, page.entries, page.revision, page.remaining, options.limit)
        page = await store.list(selection.prefix, after=after, revision=revision)
    except FutureRevision as error:
        raise Timeout(f"Too large resource version: {error.requested}, current: {error.current}") from None
    matching = [entry for entry in page.entries if selection.covers(entry)]
    if selection.is_one_key:
        matching = [entry for entry in matching if entry.key == selection.prefix]
    chosen = matching[: options.limit] if options.limit else matching
    more = len(matching) - len(chosen)
    return _listed(selection, chosen, page.revision, more, options.limit, count=False)


def _listed(
    selection: Selection, entries: list[Entry], revision: int, remaining: int, limit: int, *, count: bool = True
) -> Listed:
    metadata: Object = {"resourceVersion": str(revision)}
    if limit and remaining and entries:
        metadata["continue"] = encode_token(revision, entries[-1].key.removeprefix(selection.served.prefix))
        if count:
            metadata["remainingItemCount"] = remaining
    return Listed(entries, metadata)
