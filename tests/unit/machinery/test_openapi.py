"""The OpenAPI documents say what clients look for in them, and all that they refer to is there."""

from dataclasses import dataclass

import msgspec
import pytest

from sampan.machinery import openapi

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
PATCH_PATH = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


@dataclass(frozen=True)
class Row:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS


RESOURCES = (
    Row("", "v1", "services", "Service", subresources=("status", "proxy")),
    Row("", "v1", "nodes", "Node", namespaced=False),
    Row("apps", "v1", "deployments", "Deployment", subresources=("status", "scale")),
    Row("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False, verbs=("create",)),
    Row("extensions", "v1beta1", "ingresses", "Ingress"),
)


@pytest.fixture(scope="module")
def v2(schemas):
    return msgspec.json.decode(openapi.v2_document(schemas, RESOURCES))


@pytest.fixture(scope="module")
def v3(schemas):
    return msgspec.json.decode(openapi.v3_document(schemas, "apps", "v1", RESOURCES))


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_all_references_lead_somewhere(v2, v3):
    assert {ref.removeprefix("#/definitions/") for ref in references(v2)} <= v2["definitions"].keys()
    found = {ref.removeprefix("#/components/schemas/") for ref in references(v3)}
    assert found <= v3["components"]["schemas"].keys()
    assert "io.k8s.api.core.v1.PodSpec" in found


def test_a_kind_is_found_by_group_version_and_kind(v2):
    definition = v2["definitions"]["io.k8s.api.apps.v1.Deployment"]
    expected = [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    assert definition["x-kubernetes-group-version-kind"] == expected
    assert definition["type"] == "object"
    assert "enum" not in definition["properties"]["kind"]


def test_a_document_has_no_nullable_types_and_no_foreign_references(v2):
    text = msgspec.json.encode(v2)
    assert b'"null"' not in text
    assert b"$defs" not in text


def test_merge_directives_are_published(v2, v3):
    path = ("io.k8s.api.core.v1.PodSpec", "properties", "containers")
    for holder in (v2["definitions"], v3["components"]["schemas"]):
        field = holder[path[0]][path[1]][path[2]]
        assert field["x-kubernetes-patch-merge-key"] == "name"
        assert field["x-kubernetes-list-map-keys"] == ["name"]


def test_numbers_or_strings_are_described_as_upstream_does(v2, v3):
    name = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    assert v2["definitions"][name]["format"] == "int-or-string"
    assert v2["definitions"][name]["type"] == "string"
    assert {"type": "integer"} in v3["components"]["schemas"][name]["oneOf"]


def test_a_reference_with_a_description_is_wrapped_in_version_3(v2, v3):
    path = ("properties", "spec")
    plain = v2["definitions"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"]
    assert plain["$ref"] == "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"
    wrapped = v3["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"][path[0]][path[1]]
    assert wrapped["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]
    assert wrapped["description"]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_patch_knows_its_kind_and_parameters(version, request):
    operation = request.getfixturevalue(version)["paths"][PATCH_PATH]["patch"]
    assert operation["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert operation["x-kubernetes-action"] == "patch"
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= {one["name"] for one in operation["parameters"]}


def test_paths_follow_scope_verbs_and_subresources(v2):
    paths = v2["paths"]
    assert paths["/api/v1/nodes/{name}"].keys() == {"get", "put", "patch", "delete", "parameters"}
    assert paths["/apis/authorization.k8s.io/v1/subjectaccessreviews"].keys() == {"post"}
    assert paths["/apis/apps/v1/deployments"].keys() == {"get"}
    assert paths[f"{PATCH_PATH}/scale"]["get"]["x-kubernetes-group-version-kind"]["kind"] == "Scale"
    assert "/api/v1/namespaces/{namespace}/services/{name}/status" in paths
    assert "/api/v1/namespaces/{namespace}/services/{name}/proxy" not in paths


def test_operation_ids_are_unique(v2):
    ids = [one["operationId"] for item in v2["paths"].values() for name, one in item.items() if name != "parameters"]
    assert len(ids) == len(set(ids))


def test_a_kind_without_a_schema_still_has_its_paths(v2):
    path = "/apis/extensions/v1beta1/namespaces/{namespace}/ingresses/{name}"
    assert v2["paths"][path]["get"]["responses"] == {"200": {"description": "OK"}}


def test_a_version_3_document_holds_only_its_group_and_version(v3):
    assert all(path.startswith("/apis/apps/v1/") for path in v3["paths"])
    assert "io.k8s.api.core.v1.Node" not in v3["components"]["schemas"]


def test_the_index_lists_every_group_and_version_with_a_hash_of_its_contents(schemas):
    def index(resources):
        return msgspec.json.decode(openapi.v3_index(schemas, resources))["paths"]

    before, after = index(RESOURCES), index((*RESOURCES, Row("apps", "v1", "replicasets", "ReplicaSet")))
    assert list(before) == ["api/v1", "apis/apps/v1", "apis/authorization.k8s.io/v1", "apis/extensions/v1beta1"]
    assert before["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    assert before["api/v1"] == after["api/v1"]
    assert before["apis/apps/v1"] != after["apis/apps/v1"]


def messages(data):
    """The fields of a protobuf message: (number, value) pairs."""
    at, fields = 0, []

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            fields.append((tag >> 3, varint()))
        else:
            assert tag & 7 == 2
            size = varint()
            fields.append((tag >> 3, data[at : at + size]))
            at += size
    assert at == len(data)
    return fields


def one(data, *numbers):
    for number in numbers:
        data = dict(messages(data))[number]
    return data


def named(data, number):
    """A repeated field of (name, value) messages."""
    return {one(item, 1).decode(): one(item, 2) for found, item in messages(data) if found == number}


def test_the_protobuf_says_the_same_as_the_json(schemas, v2):
    document = openapi.v2_protobuf(schemas, RESOURCES)
    assert one(document, 1) == b"2.0"
    definitions = named(one(document, 9), 1)
    assert definitions.keys() == v2["definitions"].keys()
    for name, schema in definitions.items():
        expected = v2["definitions"][name]
        fields = dict(messages(schema))
        assert fields.get(4, b"").decode() == expected.get("description", "")
        properties = named(fields[25], 1) if 25 in fields else {}
        assert properties.keys() == expected.get("properties", {}).keys()
        for field, encoded in properties.items():
            assert dict(messages(encoded)).get(1, b"").decode() == expected["properties"][field].get("$ref", "")
    extensions = named(definitions["io.k8s.api.apps.v1.Deployment"], 31)
    kinds = msgspec.json.decode(one(extensions["x-kubernetes-group-version-kind"], 2))
    assert kinds == [{"group": "apps", "kind": "Deployment", "version": "v1"}]


def test_the_protobuf_names_the_query_parameters_of_a_patch(schemas):
    document = openapi.v2_protobuf(schemas, RESOURCES)
    operation = one(named(one(document, 8), 2)[PATCH_PATH], 8)
    names = set()
    for number, item in messages(operation):
        if number == 8 and 2 in dict(messages(one(item, 1))):
            names.add(one(item, 1, 2, 3, 4).decode())
    assert {"dryRun", "fieldValidation"} <= names
    assert msgspec.json.decode(one(named(operation, 13)["x-kubernetes-group-version-kind"], 2))["kind"] == "Deployment"
