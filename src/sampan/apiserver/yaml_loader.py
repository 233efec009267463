"""A YAML loader that yields JSON's data model only: strings, numbers, booleans, null, lists, mappings.

Loaded when the first YAML body arrives, because PyYAML is slow to import and most clients send JSON. Nesting is
measured on the stream of events first: libyaml's bindings build a document recursively, without a limit of their own.
"""

from typing import Any

import yaml

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 200
_JSON_TAGS = frozenset({"null", "bool", "int", "float"})


class JSONLoader(_Base):  # type: ignore[misc]
    """Without dates, binary, sets and other types that JSON cannot hold."""


JSONLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in _JSON_TAGS]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


def load(data: bytes) -> Any:
    """Raises yaml.YAMLError, ValueError, RecursionError."""
    depth = 0
    for event in yaml.parse(data, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return yaml.load(data, Loader=JSONLoader)
