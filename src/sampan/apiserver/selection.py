"""Which objects of a resource a list, watch or deletecollection is about."""

from dataclasses import dataclass

from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.http.messages import Query
from sampan.machinery.errors import BadRequest
from sampan.machinery.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from sampan.store.interface import Entry

_ALWAYS = frozenset({"metadata.name", "metadata.namespace"})


@dataclass(frozen=True, slots=True)
class Selection:
    """A scope (namespace, name) and selectors; `labels` and `fields` are None when they select everything."""

    served: Served
    namespace: str = ""
    name: str = ""
    labels: LabelSelector | None = None
    fields: FieldSelector | None = None

    @property
    def prefix(self) -> str:
        """The prefix of the keys that can match; with a name and a known namespace, the one key."""
        if self.name and (self.namespace or not self.served.info.namespaced):
            return self.served.key(self.namespace, self.name)
        return self.served.scope(self.namespace)

    @property
    def is_one_key(self) -> bool:
        return bool(self.name) and (bool(self.namespace) or not self.served.info.namespaced)

    @property
    def is_scope(self) -> bool:
        """Whether every object below `prefix` matches."""
        return not self.name and self.labels is None and self.fields is None

    def covers(self, entry: Entry) -> bool:
        """Whether an entry of this resource matches."""
        if not entry.key.startswith(self.prefix):
            return False
        if self.name and self.served.split(entry.key)[1] != self.name:
            return False
        return self.selects(entry)

    def selects(self, entry: Entry) -> bool:
        """Whether the selectors match, for an entry that is in scope."""
        if self.labels is not None and not self.labels.matches(self.served.labels(entry)):
            return False
        if self.fields is None:
            return True
        values = self.served.fields(entry)
        return self.fields.matches(lambda path: values.get(path, ""))


def selection_of(served: Served, info: RequestInfo, query: Query) -> Selection:
    """What a request's path and selectors select. Raises BadRequest."""
    if not query.text:
        return Selection(served, info.namespace, info.name)
    labels = parse_labels(query.get("labelSelector"))
    fields = parse_fields(query.get("fieldSelector"))
    for term in fields.terms:
        if term.path not in _ALWAYS and term.path not in served.strategy.field_labels:
            raise BadRequest(f"field label not supported: {term.path}")
    name = info.name or fields.exact("metadata.name") or ""
    return Selection(
        served,
        info.namespace,
        name,
        None if labels.empty else labels,
        fields if any(term.path != "metadata.name" or term.operator != "=" for term in fields.terms) else None,
    )
