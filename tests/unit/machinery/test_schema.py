"""Published schemas are found by release and kind, and compiled into nodes."""

import subprocess
import sys

import pytest

from sampan.machinery import schema
from sampan.machinery.schema import SchemaError, Schemas

DEPLOYMENT = ("apps", "v1", "Deployment")


def at(node, *path):
    for step in path:
        node = node.items if step == "*" else node.properties[step]
    return node


@pytest.mark.parametrize("version", ["1.36", "v1.36", "1.36.2", "v1.36.0"])
def test_a_release_is_named_as_people_name_it(version):
    assert Schemas.load(version).release == "1.36"


@pytest.mark.parametrize("version", ["", "1", "1.2", "9.99", "../../etc", "latest"])
def test_an_unknown_release_is_refused_with_those_there_are(version):
    with pytest.raises(SchemaError, match=r"is not available; choose one of 1\.25, 1\.26, .*1\.36"):
        Schemas.load(version)


def test_releases_are_sorted_by_number():
    found = list(schema.releases())
    assert found[0] == "1.25"
    assert found == sorted(found, key=lambda release: int(release.split(".")[1]))


def test_an_unknown_kind_is_refused(schemas):
    assert not schemas.has(("apps", "v1", "Deploy"))
    with pytest.raises(SchemaError, match=r"release 1\.36 has no schema of apps/v1 Deploy"):
        schemas.definition(("apps", "v1", "Deploy"))


@pytest.mark.parametrize(
    ("gvk", "path", "kind"),
    [
        (DEPLOYMENT, ("spec",), "object"),
        (DEPLOYMENT, ("spec", "replicas"), "integer"),
        (DEPLOYMENT, ("spec", "paused"), "boolean"),
        (DEPLOYMENT, ("spec", "strategy", "rollingUpdate", "maxSurge"), "int-or-string"),
        (DEPLOYMENT, ("metadata", "labels"), "map"),
        (DEPLOYMENT, ("metadata", "labels", "*"), "string"),
        (DEPLOYMENT, ("metadata", "creationTimestamp"), "time"),
        (DEPLOYMENT, ("metadata", "managedFields", "*", "fieldsV1"), "any"),
        (DEPLOYMENT, ("spec", "template", "spec", "containers"), "array"),
        (DEPLOYMENT, ("spec", "template", "spec", "containers", "*", "resources", "limits", "*"), "quantity"),
        (("", "v1", "Secret"), ("data", "*"), "string"),
        (("autoscaling", "v2", "HorizontalPodAutoscaler"), ("spec", "metrics"), "array"),
    ],
)
def test_a_field_has_its_kind(schemas, gvk, path, kind):
    assert at(schemas.definition(gvk), *path).kind == kind


def test_merge_strategies_come_from_the_field_not_its_type(schemas):
    ports = at(schemas.definition(("", "v1", "Service")), "spec", "ports")
    assert (ports.merge_key, ports.list_type, ports.list_map_keys) == ("port", "map", ("port", "protocol"))
    assert ports.patch_strategies == {"merge"}
    volumes = at(schemas.definition(("", "v1", "Pod")), "spec", "volumes")
    assert volumes.patch_strategies == {"merge", "retainKeys"}
    strategy = at(schemas.definition(DEPLOYMENT), "spec", "strategy")
    assert strategy.patch_strategies == {"retainKeys"}
    assert strategy.description.startswith("The deployment strategy to use")


def test_an_atomic_map_is_known_by_its_definition(schemas):
    assert at(schemas.definition(DEPLOYMENT), "spec", "selector").map_type == "atomic"


@pytest.mark.parametrize(
    ("path", "go_type"),
    [
        (("spec",), "v1.DeploymentSpec"),
        (("spec", "replicas"), "int32"),
        (("metadata", "generation"), "int64"),
        (("metadata", "labels"), "map[string]string"),
        (("spec", "template", "spec", "containers"), "[]v1.Container"),
        (("spec", "paused"), "bool"),
    ],
)
def test_a_type_is_named_as_upstream_names_it(schemas, path, go_type):
    assert at(schemas.definition(DEPLOYMENT), *path).go_type == go_type


def test_recursive_definitions_end(schemas):
    props = schemas.named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    assert at(props, "not", "not", "properties", "*").type_name == "JSONSchemaProps"


@pytest.mark.parametrize("release", list(schema.releases()))
def test_every_definition_of_every_release_compiles(release):
    schemas = Schemas.load(release)
    for name in schemas.names:
        for node in schemas.named(name).properties.values():
            assert node.kind


def test_the_package_that_carries_the_schemas_is_not_imported():
    code = (
        "import sys; from sampan.machinery.schema import Schemas; Schemas.load(); "
        "sys.exit('kubernetes_validate' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
