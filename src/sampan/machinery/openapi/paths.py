"""The paths of an OpenAPI document, from the table of served resources.

Clients look here for the kind behind a path (`kubectl explain`), and for the query parameters an operation knows
(`kubectl --dry-run=server`, `--validate`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sampan.machinery.openapi.schemas import reference
from sampan.machinery.schema import GVK, Schemas

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_DELETE_OPTIONS = f"{_META}.DeleteOptions"
_PATCH = f"{_META}.Patch"
_STATUS = f"{_META}.Status"
_JSON = "application/json"
_PATCH_TYPES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip


class Resource(Protocol):
    """What a document says of a resource; the API server's table has more."""

    @property
    def group(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def namespaced(self) -> bool: ...
    @property
    def subresources(self) -> Sequence[str]: ...
    @property
    def verbs(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    type: str
    description: str


_PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        Parameter("allowWatchBookmarks", "boolean", "Ask for watch events of type BOOKMARK."),
        Parameter("continue", "string", "Where an earlier list with a limit left off."),
        Parameter("dryRun", "string", "All: process the request completely, but persist nothing."),
        Parameter("fieldManager", "string", "The name under which changed fields are booked."),
        Parameter("fieldSelector", "string", "Restrict the list by fields. Defaults to everything."),
        Parameter("fieldValidation", "string", "What to do about unknown and duplicate fields: Ignore, Warn, Strict."),
        Parameter("force", "boolean", "Take over fields that other managers own. Only for apply requests."),
        Parameter("gracePeriodSeconds", "integer", "Seconds before the object is deleted; zero: immediately."),
        Parameter("labelSelector", "string", "Restrict the list by labels. Defaults to everything."),
        Parameter("limit", "integer", "The largest number of items in one answer."),
        Parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
        Parameter("propagationPolicy", "string", "Whether dependents go too: Orphan, Background, Foreground."),
        Parameter("resourceVersion", "string", "The version that the answer must be at least as new as."),
        Parameter("resourceVersionMatch", "string", "How resourceVersion is meant in a list."),
        Parameter("sendInitialEvents", "boolean", "Begin a watch with the present objects."),
        Parameter("timeoutSeconds", "integer", "How long a list or watch may last."),
        Parameter("watch", "boolean", "Follow changes instead of returning a list."),
    )
}
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_SELECT = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")


@dataclass(frozen=True, slots=True)
class Verb:
    """How a verb appears in a document; `body` is a definition's name, or `object` for the kind itself."""

    method: str
    action: str
    query: tuple[str, ...] = ()
    body: str = ""
    answer: str = "object"


_COLLECTION = {
    "list": Verb("get", "list", _SELECT, answer="list"),
    "create": Verb("post", "post", _WRITE, "object"),
    "deletecollection": Verb("delete", "deletecollection", _SELECT[:-1] + _DELETE, _DELETE_OPTIONS, _STATUS),
}
_ITEM = {
    "get": Verb("get", "get"),
    "update": Verb("put", "put", _WRITE, "object"),
    "patch": Verb("patch", "patch", (*_WRITE, "force"), _PATCH),
    "delete": Verb("delete", "delete", _DELETE, _DELETE_OPTIONS, _STATUS),
}
_SUBRESOURCE = {verb: _ITEM[verb] for verb in ("get", "update", "patch")}
_SUBRESOURCE_KINDS = {"status": None, "scale": GVK("autoscaling", "v1", "Scale")}
"""The subresources with a schema; None: the resource's own."""
_OPERATION_WORDS = {
    "list": "list", "post": "create", "deletecollection": "deleteCollection", "get": "read", "put": "replace",
    "patch": "patch", "delete": "delete",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    path: str
    verb: Verb
    gvk: GVK
    id: str
    tag: str
    body: str
    answer: str

    @property
    def definitions(self) -> set[str]:
        return {self.body, self.answer} - {""}

    @property
    def path_parameters(self) -> list[str]:
        return [name for name in ("namespace", "name") if f"{{{name}}}" in self.path]


def root(group: str, version: str) -> str:
    """`api/v1` or `apis/GROUP/VERSION`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def operations(source: Schemas, resources: Iterable[Resource]) -> Iterator[Operation]:
    """Every operation on every resource that has a schema, in the order of the table."""
    for resource in resources:
        gvk = GVK(resource.group, resource.version, resource.kind)
        base = "/" + root(resource.group, resource.version)
        home = (
            f"{base}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{base}/{resource.plural}"
        )
        yield from _of(source, home, _COLLECTION, resource, gvk)
        yield from _of(source, f"{home}/{{name}}", _ITEM, resource, gvk)
        for name in resource.subresources:
            if name in _SUBRESOURCE_KINDS:
                kind = _SUBRESOURCE_KINDS[name] or gvk
                yield from _of(source, f"{home}/{{name}}/{name}", _SUBRESOURCE, resource, kind, name)
        if resource.namespaced:
            everywhere = {"list": _COLLECTION["list"]}
            yield from _of(source, f"{base}/{resource.plural}", everywhere, resource, gvk, "ForAllNamespaces")


def render_v2(found: Iterable[Operation]) -> dict[str, Any]:
    """The `paths` of a version 2 document."""
    rendered: dict[str, Any] = {}
    for operation in found:
        item = rendered.setdefault(operation.path, {})
        item[operation.verb.method] = _operation_v2(operation)
        if names := operation.path_parameters:
            item["parameters"] = [_path_parameter(name) | {"type": "string", "uniqueItems": True} for name in names]
    return rendered


def render_v3(found: Iterable[Operation]) -> dict[str, Any]:
    """The `paths` of a version 3 document."""
    rendered: dict[str, Any] = {}
    for operation in found:
        item = rendered.setdefault(operation.path, {})
        item[operation.verb.method] = _operation_v3(operation)
        if names := operation.path_parameters:
            schema = {"schema": {"type": "string", "uniqueItems": True}}
            item["parameters"] = [_path_parameter(name) | schema for name in names]
    return rendered


def _of(
    source: Schemas, path: str, verbs: dict[str, Verb], resource: Resource, gvk: GVK, suffix: str = ""
) -> Iterator[Operation]:
    kind = source.definition_name(gvk)
    group = (resource.group.partition(".")[0] or "core").capitalize()
    names = {"object": kind, "list": source.definition_name(gvk._replace(kind=f"{gvk.kind}List"))}
    scope = "Namespaced" if "{namespace}" in path else ""
    for name, verb in verbs.items():
        if name in resource.verbs:
            word = _OPERATION_WORDS[verb.action]
            yield Operation(
                path=path,
                verb=verb,
                gvk=gvk,
                id=f"{word}{group}{resource.version.capitalize()}{scope}{resource.kind}{suffix[:1].upper()}{suffix[1:]}",
                tag=f"{group.lower()}_{resource.version}",
                body=names.get(verb.body, verb.body),
                answer=names.get(verb.answer, verb.answer),
            )


def _operation_v2(operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    if operation.body:
        schema = reference(operation.body, version=2)
        parameters.append(
            {"name": "body", "in": "body", "required": operation.verb.method != "delete", "schema": schema}
        )
    for name in operation.verb.query:
        parameter = _PARAMETERS[name]
        parameters.append(_query_parameter(parameter) | {"type": parameter.type, "uniqueItems": True})
    answer = {"schema": reference(operation.answer, version=2)} if operation.answer else {}
    return {
        "operationId": operation.id,
        "tags": [operation.tag],
        "consumes": list(_PATCH_TYPES) if operation.verb.method == "patch" else [_JSON],
        "produces": [_JSON],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", **answer}},
        **_extensions(operation),
    }


def _operation_v3(operation: Operation) -> dict[str, Any]:
    parameters = [
        _query_parameter(_PARAMETERS[name]) | {"schema": {"type": _PARAMETERS[name].type, "uniqueItems": True}}
        for name in operation.verb.query
    ]
    answer = {"schema": reference(operation.answer, version=3)} if operation.answer else {}
    rendered: dict[str, Any] = {"operationId": operation.id, "tags": [operation.tag], "parameters": parameters}
    if operation.body:
        schema = {"schema": reference(operation.body, version=3)}
        types = _PATCH_TYPES if operation.verb.method == "patch" else (_JSON,)
        rendered["requestBody"] = {"content": dict.fromkeys(types, schema)}
    rendered["responses"] = {"200": {"description": "OK", "content": {_JSON: answer}}}
    return rendered | _extensions(operation)


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {"name": parameter.name, "in": "query", "description": parameter.description}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": f"The object's {name}."}


def _extensions(operation: Operation) -> dict[str, Any]:
    return {
        "x-kubernetes-action": operation.verb.action,
        "x-kubernetes-group-version-kind": operation.gvk._asdict(),
    }
