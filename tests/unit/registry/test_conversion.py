"""Old forms of a kind become the stored form and come back as they were."""

from copy import deepcopy
from typing import Any

import pytest

from sampan.apiserver.conversion.versions import OLD_VERSIONS
from sampan.apiserver.resources import RESOURCES
from sampan.machinery.objects import Object


def old(api_version: str, kind: str, **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "default"}, **fields}


def conversion_of(obj: Object) -> Any:
    group, _, version = obj["apiVersion"].rpartition("/")
    return OLD_VERSIONS[group, version, obj["kind"]]


def ingress(api_version: str) -> Object:
    backend = {"serviceName": "myblog", "servicePort": 80}
    named = {"serviceName": "other", "servicePort": "http"}
    rule = {"host": "myblog.jds.com", "http": {"paths": [{"path": "/", "backend": backend}]}}
    return old(api_version, "Ingress", spec={"backend": named, "rules": [rule], "tls": [{"secretName": "s"}]})


@pytest.mark.parametrize("api_version", ["extensions/v1beta1", "networking.k8s.io/v1beta1"])
def test_an_old_ingress_gets_structured_backends_and_a_path_type(api_version: str) -> None:
    obj = ingress(api_version)
    stored = conversion_of(obj).to_storage(deepcopy(obj))
    assert stored["apiVersion"] == "networking.k8s.io/v1"
    assert stored["spec"]["defaultBackend"] == {"service": {"name": "other", "port": {"name": "http"}}}
    (path,) = stored["spec"]["rules"][0]["http"]["paths"]
    assert path == {
        "path": "/",
        "pathType": "ImplementationSpecific",
        "backend": {"service": {"name": "myblog", "port": {"number": 80}}},
    }


@pytest.mark.parametrize("api_version", ["extensions/v1beta1", "networking.k8s.io/v1beta1"])
def test_an_old_ingress_comes_back_as_it_was(api_version: str) -> None:
    obj = ingress(api_version)
    obj["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = "Prefix"
    conversion = conversion_of(obj)
    assert conversion.from_storage(conversion.to_storage(deepcopy(obj))) == obj


def test_an_old_deployment_selects_its_template() -> None:
    obj = old("extensions/v1beta1", "Deployment", spec={"template": {"metadata": {"labels": {"app": "web"}}}})
    stored = conversion_of(obj).to_storage(obj)
    assert stored["apiVersion"] == "apps/v1"
    assert stored["spec"]["selector"] == {"matchLabels": {"app": "web"}}
    assert stored["metadata"]["labels"] == {"app": "web"}
    assert stored["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 1}
    assert stored["spec"]["progressDeadlineSeconds"] == 2**31 - 1


def test_topology_becomes_node_and_zone_and_comes_back() -> None:
    topology = {"kubernetes.io/hostname": "node-1", "topology.kubernetes.io/zone": "a", "rack": "7"}
    endpoint = {"addresses": ["10.0.0.1"], "topology": topology}
    obj = old("discovery.k8s.io/v1beta1", "EndpointSlice", addressType="IPv4", endpoints=[endpoint])
    conversion = conversion_of(obj)
    stored = conversion.to_storage(obj)
    assert stored["endpoints"][0] == {
        "addresses": ["10.0.0.1"],
        "nodeName": "node-1",
        "zone": "a",
        "deprecatedTopology": {"rack": "7"},
    }
    assert conversion.from_storage(stored)["endpoints"][0]["topology"] == topology


def test_an_empty_selector_of_an_old_budget_still_selects_nothing() -> None:
    obj = old("policy/v1beta1", "PodDisruptionBudget", spec={"selector": {}})
    conversion = conversion_of(obj)
    stored = conversion.to_storage(obj)
    assert stored["spec"]["selector"]["matchExpressions"][0]["operator"] == "Exists"
    assert conversion.from_storage(stored) == obj


def test_an_autoscaler_keeps_every_metric_through_its_first_version() -> None:
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue"}}}
    spec = {"targetCPUUtilizationPercentage": 70, "maxReplicas": 3}
    obj = old("autoscaling/v1", "HorizontalPodAutoscaler", spec=spec)
    conversion = conversion_of(obj)
    stored = conversion.to_storage(obj)
    target = {"type": "Utilization", "averageUtilization": 70}
    assert stored["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    stored["spec"]["metrics"].append(memory)
    assert conversion.to_storage(conversion.from_storage(stored))["spec"]["metrics"] == stored["spec"]["metrics"]


def test_events_have_one_stored_form() -> None:
    obj = old("events.k8s.io/v1", "Event", regarding={"name": "p"}, note="hello", reportingController="me")
    conversion = conversion_of(obj)
    stored = conversion.to_storage(obj)
    assert (stored["involvedObject"], stored["message"], stored["reportingComponent"]) == ({"name": "p"}, "hello", "me")
    assert conversion.from_storage(stored) == obj


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        (
            ("extensions", "v1beta1", "Ingress"),
            "extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; "
            "use networking.k8s.io/v1 Ingress",
        ),
        (
            ("policy", "v1beta1", "PodDisruptionBudget"),
            "policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; "
            "use policy/v1 PodDisruptionBudget",
        ),
        (
            ("rbac.authorization.k8s.io", "v1beta1", "ClusterRole"),
            "rbac.authorization.k8s.io/v1beta1 ClusterRole is deprecated in v1.17+, unavailable in v1.22+; "
            "use rbac.authorization.k8s.io/v1 ClusterRole",
        ),
        (
            ("scheduling.k8s.io", "v1beta1", "PriorityClass"),
            "scheduling.k8s.io/v1beta1 PriorityClass is deprecated in v1.14+, unavailable in v1.22+; "
            "use scheduling.k8s.io/v1 PriorityClass",
        ),
        (("autoscaling", "v1", "HorizontalPodAutoscaler"), ""),
    ],
)
def test_clients_of_deprecated_versions_are_warned(key: tuple[str, str, str], warning: str) -> None:
    assert OLD_VERSIONS[key].warning == warning


@pytest.mark.parametrize("key", OLD_VERSIONS, ids=lambda key: "/".join(key))
def test_conversions_leave_their_argument_alone_and_stamp_the_version(key: tuple[str, str, str]) -> None:
    group, version, kind = key
    obj = old(f"{group}/{version}", kind, spec={"template": {"metadata": {"labels": {"a": "b"}}}})
    before = deepcopy(obj)
    stored = OLD_VERSIONS[key].to_storage(obj)
    assert obj == before
    assert OLD_VERSIONS[key].from_storage(stored)["apiVersion"] == f"{group}/{version}"


def test_every_other_version_shares_its_storage_with_the_version_that_is_stored() -> None:
    homes: dict[str, Any] = {}
    for row in RESOURCES:
        homes.setdefault(row.storage, row)
        assert (row.conversion is None) is (homes[row.storage] is row), row.api_version + " " + row.kind
