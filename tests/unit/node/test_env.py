"""A container's environment: order, references, sources, and what is said when one is missing."""

import pytest

from sampan.api.core_v1 import (
    ConfigMap,
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    KeySelector,
    LocalReference,
    ObjectFieldSelector,
    Pod,
    PodSpec,
    ResourceFieldSelector,
    ResourceRequirements,
    Secret,
)
from sampan.api.meta_v1 import ObjectMeta
from sampan.node.env import ConfigError, Environment, Sources, environment, references
from sampan.node.expansion import expand
from sampan.node.fields import PodFacts

POD = Pod(
    metadata=ObjectMeta(name="web-1", namespace="shop", uid="u1", labels={"app": "web", "tier": 'a"b'}),
    spec=PodSpec(node_name="node-1", service_account_name="robot"),
)
FACTS = PodFacts(("10.244.0.5",), ("10.2.2.10",), "node-1", {"cpu": "2", "memory": "1Gi"})
SOURCES = Sources(
    {"settings": ConfigMap(data={"colour": "red", "bad=key": "x"}), "absent": None},
    {"login": Secret(data={"password": b"hunter2"})},
)


def compute(*variables: EnvVar, services: dict[str, str] | None = None, **fields: object) -> Environment:
    container = Container(name="main", env=variables, **fields)  # type: ignore[arg-type]
    return environment(POD, container, FACTS, SOURCES, services or {})


def from_field(path: str) -> EnvVar:
    return EnvVar(name="X", value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path=path)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("a$b", "a$b"),
        ("$(A", "$(A"),
        ("100%", "100%"),
    ],
)
def test_references_are_expanded_as_the_api_says(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}, {"B": "2"}) == expected


def test_later_variables_may_refer_to_earlier_ones_and_to_services() -> None:
    url = EnvVar(name="URL", value="http://$(HOST):$(WEB_SERVICE_PORT)/$(LATER)")
    result = compute(EnvVar(name="HOST", value="web"), url, EnvVar(name="LATER", value="x"),
                     services={"WEB_SERVICE_PORT": "80"})  # fmt: skip
    assert result.variables["URL"] == "http://web:80/$(LATER)"
    assert result.variables["WEB_SERVICE_PORT"] == "80"


def test_own_variables_win_over_services_and_over_bulk_sources() -> None:
    bulk = (EnvFromSource(config_map_ref=LocalReference(name="settings")),)
    result = compute(EnvVar(name="colour", value="blue"), EnvVar(name="WEB", value="mine"), env_from=bulk,
                     services={"WEB": "theirs"})  # fmt: skip
    assert result.variables == {"colour": "blue", "WEB": "mine"}
    assert result.skipped == ("bad=key",)


def test_bulk_sources_take_a_prefix() -> None:
    bulk = (EnvFromSource(prefix="DB_", secret_ref=LocalReference(name="login")),)
    assert compute(env_from=bulk).variables == {"DB_password": "hunter2"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u1"),
        ("metadata.labels", 'app="web"\ntier="a\\"b"'),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "10.244.0.5"),
        ("status.hostIP", "10.2.2.10"),
    ],
)
def test_fields_of_the_pod(path: str, expected: str) -> None:
    assert compute(from_field(path)).variables["X"] == expected


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "", "1"),
        ("limits.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "64"),
        ("requests.cpu", "1m", "100"),
        ("requests.memory", "", "67108864"),
    ],
)
def test_resources_of_the_container_are_rounded_up(resource: str, divisor: str, expected: str) -> None:
    limits = ResourceRequirements(limits={"cpu": "250m", "memory": "64Mi"}, requests={"cpu": "100m"})
    ref = EnvVarSource(resource_field_ref=ResourceFieldSelector(resource=resource, divisor=divisor))
    assert compute(EnvVar(name="X", value_from=ref), resources=limits).variables["X"] == expected


def test_a_limit_that_is_not_set_is_what_the_node_has() -> None:
    ref = EnvVarSource(resource_field_ref=ResourceFieldSelector(resource="limits.cpu"))
    assert compute(EnvVar(name="X", value_from=ref)).variables["X"] == "2"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (EnvVarSource(config_map_key_ref=KeySelector(name="absent", key="k")), 'configmap "absent" not found'),
        (EnvVarSource(secret_key_ref=KeySelector(name="none", key="k")), 'secret "none" not found'),
        (
            EnvVarSource(config_map_key_ref=KeySelector(name="settings", key="k")),
            "couldn't find key k in ConfigMap shop/settings",
        ),
        (
            EnvVarSource(secret_key_ref=KeySelector(name="login", key="k")),
            "couldn't find key k in Secret shop/login",
        ),
        (EnvVarSource(field_ref=ObjectFieldSelector(field_path="spec.x")), "unsupported fieldPath: spec.x"),
    ],
)
def test_what_is_missing_is_said_in_upstreams_words(source: EnvVarSource, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compute(EnvVar(name="X", value_from=source))
    assert str(caught.value) == message


def test_an_optional_source_that_is_missing_sets_nothing() -> None:
    ref = EnvVarSource(config_map_key_ref=KeySelector(name="absent", key="k", optional=True))
    assert compute(EnvVar(name="X", value_from=ref)).variables == {}


def test_references_name_everything_to_be_looked_up() -> None:
    container = Container(
        env_from=(EnvFromSource(secret_ref=LocalReference(name="bulk")),),
        env=(EnvVar(name="A", value_from=EnvVarSource(config_map_key_ref=KeySelector(name="one", key="k"))),),
    )
    assert references(container) == {("Secret", "bulk"), ("ConfigMap", "one")}
