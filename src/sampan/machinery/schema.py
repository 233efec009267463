"""The published schemas of a Kubernetes release, as small objects that the other rules walk.

The `kubernetes-validate` distribution carries one `_definitions.json` per release. The file is read without importing
the package, and a definition is compiled when a kind is first used, so that an API server pays only for the kinds its
clients touch. `decoding`, `patch.strategic`, `patch.apply` and `openapi` all read these nodes.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal[
    "object", "map", "array", "string", "integer", "number", "boolean", "int-or-string", "quantity", "time", "any"
]

_PACKAGE = "kubernetes_validate"
_PREFIX = "#/$defs/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"
_SPECIAL: Mapping[str, Kind] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    f"{_META}.Time": "time",
    f"{_META}.MicroTime": "time",
    f"{_META}.FieldsV1": "any",
    f"{_META}.Patch": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    _EXTENSIONS: "any",
    f"{_EXTENSIONS}SchemaPropsOrArray": "any",
    f"{_EXTENSIONS}SchemaPropsOrBool": "any",
    f"{_EXTENSIONS}SchemaPropsOrStringArray": "any",
}
_SCALARS: Mapping[str, type] = {"string": str, "boolean": bool}
_EMPTY: Mapping[str, "Node"] = {}


class SchemaError(ValueError):
    """A release or a kind that has no published schema."""


class GVK(NamedTuple):
    """Group, version and kind; the core group is the empty string."""

    group: str
    version: str
    kind: str


class Node:
    """The schema of one field, list item or definition.

    `kind` says how to treat the value: `object` has `properties`, `array` and `map` have `items` (of any other kind
    it is the node itself), `any` is opaque. `scalar` is the Python type of a value that needs no further look, or
    None. `ref` is the definition's name, if the field's type is a definition; two nodes with one `ref` share their
    properties. `granular` tells whether parts of the value can have different owners (server-side apply).
    """

    __slots__ = (
        "_properties", "_schemas", "_target", "description", "format", "granular", "items", "kind", "list_map_keys",
        "list_type", "map_type", "merge_key", "patch_strategies", "raw", "ref", "required", "scalar",
    )  # fmt: skip

    def __init__(self, schemas: "Schemas", raw: Mapping[str, Any], name: str = "") -> None:
        self._schemas = schemas
        self._target: Node | None = None
        self._properties: Mapping[str, Node] | None = None
        self.raw = raw
        self.ref = name
        if "$ref" in raw:
            self._target = schemas.named(raw["$ref"].removeprefix(_PREFIX))
            raw = {**self._target.raw, **raw}
            self.ref = self._target.ref
        self.description: str = raw.get("description", "")
        self.format: str = raw.get("format", "")
        self.kind: Kind = _kind(self.ref, raw)
        self.required = frozenset(raw.get("required", ()))
        self.patch_strategies = frozenset(filter(None, raw.get("x-kubernetes-patch-strategy", "").split(",")))
        self.merge_key: str = raw.get("x-kubernetes-patch-merge-key", "")
        self.list_type: str = raw.get("x-kubernetes-list-type", "")
        self.list_map_keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys", ()))
        self.map_type: str = raw.get("x-kubernetes-map-type", "")
        self.scalar = None if self.format == "byte" else _SCALARS.get(self.kind)
        self.granular = (self.kind in ("object", "map") and self.map_type != "atomic") or (
            self.kind == "array" and self.list_type in ("map", "set")
        )
        inner = raw.get("items") if self.kind == "array" else raw.get("additionalProperties")
        self.items: Node = Node(schemas, inner) if isinstance(inner, dict) else self

    @property
    def properties(self) -> Mapping[str, "Node"]:
        """The fields of an object, by name. Made at the first look, so that recursive definitions end."""
        if self._properties is None:
            if self._target is not None:
                self._properties = self._target.properties
            else:
                fields = self.raw.get("properties", _EMPTY)
                self._properties = {name: Node(self._schemas, raw) for name, raw in fields.items()}
        return self._properties

    @property
    def go_type(self) -> str:
        """The type as upstream's decoder names it in its messages."""
        match self.kind:
            case "array":
                return f"[]{self.items.go_type}"
            case "map":
                return f"map[string]{self.items.go_type}"
            case "integer" | "number":
                return {"double": "float64", "int64": "int64"}.get(self.format, "int32")
            case "boolean":
                return "bool"
        if not self.ref:
            return "string" if self.kind == "string" else "interface {}"
        return ".".join(self.ref.split(".")[-2:])

    @property
    def type_name(self) -> str:
        """The last part of the definition's name, for instance `DeploymentSpec`."""
        return self.ref.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"Node({self.kind}, {self.ref or self.items.ref})"


def _kind(name: str, raw: Mapping[str, Any]) -> Kind:
    if name in _SPECIAL:
        return _SPECIAL[name]
    types: Any = raw.get("type", "any")
    first: Any = types if isinstance(types, str) else types[0]
    kind: Kind = first
    return "map" if kind == "object" and "additionalProperties" in raw else kind


class _KindOf(msgspec.Struct):
    group: str
    version: str
    kind: str


class _Kinds(msgspec.Struct):
    """Of a definition, only which kinds it describes."""

    gvks: list[_KindOf] = msgspec.field(name="x-kubernetes-group-version-kind", default_factory=list)


class _Texts(msgspec.Struct):
    """The file, with every definition left undecoded."""

    definitions: dict[str, msgspec.Raw] = msgspec.field(name="$defs")


class _Index(msgspec.Struct):
    definitions: dict[str, _Kinds] = msgspec.field(name="$defs")


class Schemas:
    """All definitions of one release."""

    def __init__(self, release: str, text: bytes) -> None:
        self.release = release
        self._text = msgspec.json.decode(text, type=_Texts).definitions
        self._nodes: dict[str, Node] = {}
        index = msgspec.json.decode(text, type=_Index).definitions
        self._kinds = {
            GVK(gvk.group, gvk.version, gvk.kind): name for name, found in index.items() for gvk in found.gvks
        }

    @classmethod
    def load(cls, version: str = "1.36") -> "Schemas":
        """Read the schemas of a release, given as `1.36`, `v1.36` or `1.36.2`. Raises SchemaError."""
        if problem := release_problem(version):
            raise SchemaError(problem)
        found, release = releases(), _minor(version)
        return cls(release, (found[release] / "_definitions.json").read_bytes())

    def definition(self, gvk: tuple[str, str, str]) -> Node:
        """The schema of a kind. Raises SchemaError."""
        name = self._kinds.get(GVK(*gvk))
        if name is None:
            group, version, kind = gvk
            raise SchemaError(f"release {self.release} has no schema of {group or 'core'}/{version} {kind}")
        return self.named(name)

    def has(self, gvk: tuple[str, str, str]) -> bool:
        return GVK(*gvk) in self._kinds

    def definition_name(self, gvk: tuple[str, str, str]) -> str:
        """The name of a kind's definition, for instance `io.k8s.api.apps.v1.Deployment`, or the empty string."""
        return self._kinds.get(GVK(*gvk), "")

    def named(self, name: str) -> Node:
        """The node of a definition, by its name."""
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = Node(self, self.raw(name), name)
        return node

    def raw(self, name: str) -> dict[str, Any]:
        """The definition as published."""
        if name not in self._text:
            raise SchemaError(f"release {self.release} has no definition {name}")
        found: dict[str, Any] = msgspec.json.decode(self._text[name])
        return found

    @property
    def names(self) -> Iterable[str]:
        return self._text.keys()

    @property
    def gvks(self) -> Iterable[GVK]:
        return self._kinds.keys()


def release_problem(version: str) -> str:
    """Why a release, as `Schemas.load` takes it, cannot be served; empty if it can. Raises SchemaError."""
    found = releases()
    if _minor(version) in found:
        return ""
    return f'Kubernetes release "{version}" is not available; choose one of {", ".join(found)}'


def _minor(version: str) -> str:
    return ".".join(version.removeprefix("v").split(".")[:2])


def releases() -> dict[str, Path]:
    """The releases whose schemas are installed, oldest first, and the directory of each."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SchemaError("the Python package kubernetes-validate, which carries the schemas, is not installed")
    root = Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema"
    found = {path.name[1:].removesuffix(".0-local"): path for path in root.glob("v*.0-local")}
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]))
