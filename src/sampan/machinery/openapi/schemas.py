"""Published definitions, turned back from JSON schema into the schemas of OpenAPI 2 and 3.

The distribution that carries them marks optional fields as nullable and refers to `$defs`; OpenAPI has neither.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.machinery.schema import Schemas

Schema = dict[str, Any]

_PREFIX = "#/$defs/"
_V2_PREFIX = "#/definitions/"
_V3_PREFIX = "#/components/schemas/"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_V2_SPECIAL: Mapping[str, Schema] = {
    _INT_OR_STRING: {"type": "string", "format": "int-or-string"},
    _QUANTITY: {"type": "string"},
}
_V3_SPECIAL: Mapping[str, Schema] = {
    _INT_OR_STRING: {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    _QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
}
_CONSTANTS = frozenset({"apiVersion", "kind"})


def render_v2(source: Schemas) -> dict[str, Schema]:
    """Every definition of the release."""
    return {name: _definition(source, name, _V2_SPECIAL, _reference_v2) for name in sorted(source.names)}


def render_v3(source: Schemas, names: Iterable[str]) -> dict[str, Schema]:
    """These definitions and all that they refer to."""
    found: dict[str, Schema] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _definition(source, name, _V3_SPECIAL, _reference_v3)
            waiting += _references(source.raw(name))
    return dict(sorted(found.items()))


def reference(name: str, *, version: int) -> Schema:
    """A schema that is another's name."""
    return {"$ref": (_V2_PREFIX if version == 2 else _V3_PREFIX) + name}


Referrer = Callable[[str, Schema], Schema]


def _definition(source: Schemas, name: str, special: Mapping[str, Schema], refer: Referrer) -> Schema:
    raw = source.raw(name)
    if name in special:
        return {"description": raw["description"], **special[name]} if "description" in raw else dict(special[name])
    return _convert(raw, refer)


def _convert(raw: Mapping[str, Any], refer: Referrer) -> Schema:
    schema: Schema = {}
    for key, value in raw.items():
        match key:
            case "$ref":
                continue
            case "type":
                schema[key] = value if isinstance(value, str) else value[0]
            case "properties":
                schema[key] = {name: _property(name, field, refer) for name, field in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                schema[key] = _convert(value, refer)
            case _:
                schema[key] = value
    if "$ref" in raw:
        return refer(raw["$ref"].removeprefix(_PREFIX), schema)
    return schema


def _property(name: str, raw: Mapping[str, Any], refer: Referrer) -> Schema:
    if name in _CONSTANTS and "enum" in raw:
        raw = {key: value for key, value in raw.items() if key != "enum"}
    return _convert(raw, refer)


def _reference_v2(name: str, beside: Schema) -> Schema:
    return {"$ref": _V2_PREFIX + name, **beside}


def _reference_v3(name: str, beside: Schema) -> Schema:
    """OpenAPI 3.0 ignores what stands beside a reference, so that one with a description goes into `allOf`."""
    target = {"$ref": _V3_PREFIX + name}
    return {"allOf": [target], **beside} if beside else target


def _references(raw: Any) -> list[str]:
    """The names of all definitions that a definition refers to."""
    if isinstance(raw, dict):
        own = [raw["$ref"].removeprefix(_PREFIX)] if isinstance(raw.get("$ref"), str) else []
        return own + [name for value in raw.values() for name in _references(value)]
    if isinstance(raw, list):
        return [name for value in raw for name in _references(value)]
    return []
