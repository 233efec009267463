"""Which form of an answer a client accepts: the object itself, a table, its metadata only, or a discovery document.

kubectl asks for several forms at once, most wanted first, for instance
`application/json;as=Table;v=v1;g=meta.k8s.io,application/json`. The handlers render what is chosen here.
"""

from dataclasses import dataclass
from functools import lru_cache

from sampan.machinery.errors import NotAcceptable

JSON = "application/json"
YAML = "application/yaml"
_ANY = frozenset({"*/*", "application/*", JSON})
_META_GROUP = "meta.k8s.io"
_DISCOVERY_GROUP = "apidiscovery.k8s.io"
_FORMS = {
    ("Table", _META_GROUP): ("v1", "v1beta1"),
    ("PartialObjectMetadata", _META_GROUP): ("v1", "v1beta1"),
    ("PartialObjectMetadataList", _META_GROUP): ("v1", "v1beta1"),
    ("APIGroupDiscoveryList", _DISCOVERY_GROUP): ("v2", "v2beta1"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """The chosen answer: `kind` is empty for the object itself, else what it is to be shown as."""

    kind: str = ""
    version: str = ""
    media_type: str = JSON

    @property
    def is_table(self) -> bool:
        return self.kind == "Table"

    @property
    def is_partial(self) -> bool:
        return self.kind.startswith("PartialObjectMetadata")


AS_IS = Form()
_KEPT_LENGTH = 512
"""Longer headers are read anew each time, so that clients cannot fill the memory with them."""


def negotiate(accept: str, kinds: tuple[str, ...] = ("Table", "PartialObjectMetadata")) -> Form:
    """The first acceptable form among plain JSON or YAML and those of `kinds`. Raises NotAcceptable."""
    return _negotiate_short(accept, kinds) if len(accept) <= _KEPT_LENGTH else _negotiate(accept, kinds)


def _negotiate(accept: str, kinds: tuple[str, ...]) -> Form:
    if not accept:
        return AS_IS
    for clause in _by_preference(accept):
        media_type, parameters = clause
        form = _form_of(media_type, parameters, kinds)
        if form is not None:
            return form
    raise NotAcceptable("only the following media types are accepted: application/json, application/yaml")


_negotiate_short = lru_cache(maxsize=512)(_negotiate)


def _form_of(media_type: str, parameters: dict[str, str], kinds: tuple[str, ...]) -> Form | None:
    if media_type not in _ANY and media_type != YAML:
        return None
    chosen = YAML if media_type == YAML else JSON
    kind, group, version = parameters.get("as"), parameters.get("g", ""), parameters.get("v", "")
    if not kind:
        return AS_IS if chosen == JSON else Form(media_type=YAML)
    if kind.removesuffix("List") not in kinds and kind not in kinds:
        return None
    return Form(kind, version, chosen) if version in _FORMS.get((kind, group), ()) else None


def _by_preference(accept: str) -> list[tuple[str, dict[str, str]]]:
    clauses = []
    for text in accept.split(","):
        media_type, *rest = (part.strip() for part in text.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        clauses.append((_quality(parameters), media_type.lower(), parameters))
    return [(media, parameters) for q, media, parameters in sorted(clauses, key=lambda one: -one[0]) if q > 0]


def _quality(parameters: dict[str, str]) -> float:
    try:
        return min(max(float(parameters.get("q", "1")), 0.0), 1.0)
    except ValueError:
        return 0.0
