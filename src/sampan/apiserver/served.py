"""One served resource, bound to its rules and to its place in the store: keys, encoded and decoded forms.

Objects are encoded exactly once, when they are written, with the slot that the store stamps (`sampan.store.stamp`)
first in metadata so that nothing in the object can be mistaken for it. Everything later sends those bytes.
"""

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from sampan.apiserver import deprecations
from sampan.apiserver.strategy import FieldGetter, Services, Strategy
from sampan.machinery.errors import AlreadyExists, Conflict, Invalid, NotFound
from sampan.machinery.objects import Object
from sampan.store.interface import Entry, Store

if TYPE_CHECKING:
    from sampan.apiserver.resources import ResourceInfo
    from sampan.machinery.errors import FieldError
    from sampan.machinery.schema import Node

log = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(Object).decode


class _LabelsOnly(msgspec.Struct, gc=False):
    labels: dict[str, str] | None = None


class _LabelledObject(msgspec.Struct, gc=False):
    metadata: _LabelsOnly


_decode_labels = msgspec.json.Decoder(_LabelledObject).decode
_NO_LABELS: Mapping[str, str] = {}
_CACHE_LIMIT = 100_000

_Answer = tuple[int, Mapping[str, str]]
"""A revision and what was found in it."""


class Served:
    """A row of the resource table at work."""

    def __init__(self, info: "ResourceInfo", store: Store, services: Services) -> None:
        self.info = info
        self.store = store
        self.prefix = info.storage
        self.strategy: Strategy = (info.strategy or Strategy)(info, services)
        self.api_version = f"{info.group}/{info.version}" if info.group else info.version
        self.home: Served = self
        """The version that is stored, whose rules hold for all versions."""
        self._services = services
        self._node: Node | None = None
        self._labels = _Answers()
        self._fields = _Answers()

    @property
    def node(self) -> "Node":
        """The schema of this kind, compiled at first use."""
        if self._node is None:
            info = self.info
            self._node = self._services.schemas.definition((info.group, info.version, info.kind))
        return self._node

    @cached_property
    def warning(self) -> str:
        """What clients of this row are told in a Warning header, if it is deprecated."""
        return deprecations.warning(self.info, self._services.schemas.release)

    # --- keys

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.info.namespaced else self.prefix + name

    def scope(self, namespace: str) -> str:
        """The prefix of all keys in a namespace, or of all keys."""
        return f"{self.prefix}{namespace}/" if namespace and self.info.namespaced else self.prefix

    def split(self, key: str) -> tuple[str, str]:
        """A key's namespace and name."""
        namespace, _, name = key[len(self.prefix) :].rpartition("/")
        return namespace, name

    # --- forms

    def encode(self, obj: Object) -> bytes:
        """The stored form, with an empty resourceVersion for the store to fill in."""
        ordered = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": None, **obj}
        metadata = {"resourceVersion": "", **obj["metadata"]}
        metadata["resourceVersion"] = ""
        ordered["metadata"] = metadata
        return _encoder.encode(ordered)

    def decode(self, entry: Entry) -> Object:
        """A private copy of an entry in the stored form."""
        return self.decode_value(entry.value)

    def decode_value(self, value: bytes) -> Object:
        obj: Object = _decode(value)
        return obj

    def accept(self, obj: Object) -> Object:
        """A client's object in the stored form."""
        conversion = self.info.conversion
        return conversion.to_storage(obj) if conversion else obj

    def present(self, value: bytes) -> bytes:
        """Stored bytes in the served form: the same bytes, unless this is an old version."""
        conversion = self.info.conversion
        return _encoder.encode(conversion.from_storage(_decode(value))) if conversion else value

    # --- what selectors ask

    def labels(self, entry: Entry) -> Mapping[str, str]:
        labels = self._labels.find(entry)
        if labels is None:
            labels = self._read_labels(entry)
            self._labels.remember(entry, labels)
        return labels

    def fields(self, entry: Entry) -> Mapping[str, str]:
        """The values of all field selectors that this resource supports."""
        fields = self._fields.find(entry)
        if fields is None:
            namespace, name = self.split(entry.key)
            obj = self.decode(entry)
            fields = {path: self._field(get, obj) for path, get in self.strategy.field_labels.items()}
            fields |= {"metadata.name": name, "metadata.namespace": namespace}
            self._fields.remember(entry, fields)
        return fields

    def _read_labels(self, entry: Entry) -> Mapping[str, str]:
        try:
            return _decode_labels(entry.value).metadata.labels or _NO_LABELS
        except msgspec.ValidationError as wrong:
            log.warning("%s has labels that selectors cannot read: %s", entry.key, wrong)
            return _NO_LABELS

    def _field(self, get: FieldGetter, obj: Object) -> str:
        """The value of a field selector; a field that cannot be read is empty, so that only this object is missed."""
        try:
            return get(obj)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as wrong:
            log.warning("%s has a field that selectors cannot read: %s", self.info.plural, wrong)
            return ""

    # --- errors about this resource

    def not_found(self, name: str) -> NotFound:
        return NotFound.of(self.info.group, self.info.plural, name)

    def already_exists(self, name: str) -> AlreadyExists:
        return AlreadyExists.of(self.info.group, self.info.plural, name)

    def conflict(self, name: str, why: str = "") -> Conflict:
        return Conflict.of(self.info.group, self.info.plural, name, why)

    def invalid(self, name: str, errors: "list[FieldError]") -> Invalid:
        return Invalid.of(self.info.group, self.info.kind, name, errors)


class _Answers:
    """What was found in entries, for each key at the two revisions asked for last.

    Every watcher with a selector asks of every change how the object is now and how it was before: with one revision
    kept, each of them would decode both again.
    """

    def __init__(self) -> None:
        self._latest: dict[str, _Answer] = {}
        self._before: dict[str, _Answer] = {}

    def find(self, entry: Entry) -> Mapping[str, str] | None:
        for answers in (self._latest, self._before):
            known = answers.get(entry.key)
            if known is not None and known[0] == entry.revision:
                return known[1]
        return None

    def remember(self, entry: Entry, values: Mapping[str, str]) -> None:
        """Forgets everything rather than grow with keys that are long gone."""
        known = self._latest.get(entry.key)
        if known is not None:
            self._before[entry.key] = known
        elif len(self._latest) >= _CACHE_LIMIT:
            self._latest.clear()
            self._before.clear()
        self._latest[entry.key] = (entry.revision, values)
