"""From stored bytes to what a client asked to see: the object, a table, its metadata; one, a list, or a watch line.

For the plain form these are the stored bytes themselves, joined. A `Renderer` is kept for the server's life and shared
by all who want the same form, so that `watchcache.Change` can keep one frame for each.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec

from sampan.apiserver.negotiation import YAML, Form
from sampan.apiserver.served import Served
from sampan.apiserver.tables import TABLE_GROUP, table_of
from sampan.machinery.errors import StatusError
from sampan.machinery.objects import Object

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_PREFIXES = {kind: b'{"type":"%b","object":' % kind.encode() for kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")}
_PIECE = 64
_encode = msgspec.json.encode


class _Metadata(msgspec.Struct):
    metadata: msgspec.Raw


class _PartialObject(msgspec.Struct, rename="camel"):
    kind: str
    api_version: str
    metadata: msgspec.Raw


_decode_metadata = msgspec.json.Decoder(_Metadata).decode


class Renderer:
    """One form of one resource. `include` is a table's includeObject: None, Metadata or Object."""

    def __init__(self, served: Served, form: Form, include: str = "Metadata") -> None:
        self._served = served
        self._form = form
        self._include = include

    def __call__(self, value: bytes) -> bytes:
        """One object in this form."""
        value = self._served.present(value)
        if self._form.is_table:
            return _encode(self._table([value], {"resourceVersion": _version_of(value)}))
        return self._partial(value) if self._form.is_partial else value

    def list(self, values: Sequence[bytes], metadata: Object) -> bytes:
        """A whole list in this form; `metadata` is the list's own."""
        if self._form.is_table:
            return _encode(self._table([self._served.present(value) for value in values], metadata))
        return b"".join(self.pieces(values, metadata))

    def pieces(self, values: Sequence[bytes], metadata: Object) -> Iterator[bytes]:
        """A list of objects (not a table) in pieces of some size, so that a large one is never in memory twice."""
        kind, api_version = self._served.info.kind, self._served.api_version
        if self._form.is_partial:
            kind, api_version = "PartialObjectMetadata", f"{TABLE_GROUP}/{self._form.version}"
        head = b'{"kind":"%bList","apiVersion":"%b","metadata":' % (kind.encode(), api_version.encode())
        yield b"".join((head, _encode(metadata), b',"items":['))
        is_plain = not (self._form.is_partial or self._served.info.conversion)
        for start in range(0, len(values), _PIECE):
            chosen = values[start : start + _PIECE]
            shown = chosen if is_plain else [self(value) for value in chosen]
            yield (b"," if start else b"") + b",".join(shown)
        yield b"]}"

    def bookmark(self, revision: int, *, ends_initial_events: bool = False) -> bytes:
        """A watch line with nothing but a resourceVersion: everything up to it has been sent."""
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial_events:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        kind, api_version = self._served.info.kind, self._served.api_version
        if self._form.is_partial:
            kind, api_version = "PartialObjectMetadata", f"{TABLE_GROUP}/{self._form.version}"
        return framed("BOOKMARK", _encode({"kind": kind, "apiVersion": api_version, "metadata": metadata}))

    def _table(self, values: Sequence[bytes], metadata: Object) -> Object:
        return table_of(self._served.strategy, values, metadata, self._form.version, self._include, time.time())

    def _partial(self, value: bytes) -> bytes:
        version = f"{TABLE_GROUP}/{self._form.version}"
        return _encode(_PartialObject("PartialObjectMetadata", version, _decode_metadata(value).metadata))


class Renderers:
    """All renderers in use, one for each combination of resource, form and includeObject."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Form, str], Renderer] = {}

    def of(self, served: Served, form: Form, include: str = "") -> Renderer:
        key = (id(served), form, include or "Metadata")
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Renderer(served, form, include or "Metadata")
        return found


def framed(kind: str, value: bytes) -> bytes:
    """One line of a watch."""
    return _PREFIXES[kind] + value + b"}\n"


def failure(error: StatusError) -> bytes:
    """The last line of a watch that cannot go on."""
    return b'{"type":"ERROR","object":' + _encode(error.to_status()) + b"}\n"


def in_media_type(body: bytes, form: Form) -> bytes:
    """JSON bytes in the media type that was asked for."""
    if form.media_type != YAML:
        return body
    import yaml

    text: str = yaml.safe_dump(msgspec.json.decode(body), sort_keys=True, allow_unicode=True)
    return text.encode()


def _version_of(value: bytes) -> str:
    decoded: Object = msgspec.json.decode(_decode_metadata(value).metadata)
    return str(decoded.get("resourceVersion", ""))
