"""What clients leave out is filled in as upstream does it."""

from copy import deepcopy
from typing import Any

import pytest

from sampan.apiserver.registry.defaults import DEFAULTS
from sampan.apiserver.registry.defaults.pods import pull_policy
from sampan.apiserver.resources import RESOURCES
from sampan.machinery.objects import Object


def defaulted(group: str, kind: str, **fields: Any) -> Object:
    obj: Object = {"kind": kind, "metadata": {"name": "x"}, **fields}
    DEFAULTS[group, kind](obj)
    return obj


def pod(**container: Any) -> Object:
    return defaulted("", "Pod", spec={"containers": [{"name": "a", "image": "nginx:1.7.9", **container}]})["spec"]


def test_a_minimal_pod() -> None:
    assert pod() == {
        "containers": [
            {
                "name": "a",
                "image": "nginx:1.7.9",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.7.9", "IfNotPresent"),
        ("10.2.2.10:5000/myblog", "Always"),
        ("10.2.2.10:5000/myblog:v1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"),
        ("nginx:latest@sha256:0123", "Always"),
    ],
)
def test_images_are_pulled_by_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_probes_and_their_handlers() -> None:
    probe = pod(readinessProbe={"httpGet": {"port": 80}})["containers"][0]["readinessProbe"]
    assert probe == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_requests_follow_limits_in_pods_only() -> None:
    resources = {"limits": {"cpu": "1000m", "memory": "64Mi"}, "requests": {"cpu": "0.5"}}
    container = pod(resources=deepcopy(resources))["containers"][0]
    assert container["resources"] == {
        "limits": {"cpu": "1", "memory": "64Mi"},
        "requests": {"cpu": "500m", "memory": "64Mi"},
    }
    template = {"spec": {"containers": [{"name": "a", "resources": deepcopy(resources)}]}}
    deployment = defaulted("apps", "Deployment", spec={"template": template})
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m"}


def test_host_ports_follow_container_ports_on_the_hosts_network() -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]}
    filled = defaulted("", "Pod", spec=spec)["spec"]
    assert filled["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({}, {"emptyDir": {}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "c"}}, {"configMap": {"name": "c", "defaultMode": 420}}),
        ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {
                "projected": {
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                    "defaultMode": 420,
                }
            },
        ),
    ],
)
def test_volumes(volume: Object, expected: Object) -> None:
    spec = {"containers": [], "volumes": [{"name": "v", **volume}]}
    assert defaulted("", "Pod", spec=spec)["spec"]["volumes"] == [{"name": "v", **expected}]


def test_deployments() -> None:
    spec = defaulted("apps", "Deployment", spec={})["spec"]
    assert {name: spec[name] for name in spec if name != "template"} == {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }


def test_a_recreating_deployment_has_no_rolling_parameters() -> None:
    spec = defaulted("apps", "Deployment", spec={"strategy": {"type": "Recreate"}})["spec"]
    assert spec["strategy"] == {"type": "Recreate"}


def test_zero_is_a_value() -> None:
    assert defaulted("apps", "Deployment", spec={"replicas": 0})["spec"]["replicas"] == 0


def test_namespaces_are_labelled_with_their_name() -> None:
    assert defaulted("", "Namespace")["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}


@pytest.mark.parametrize(
    ("spec", "types"),
    [({}, ["Ingress"]), ({"egress": [{}]}, ["Ingress", "Egress"]), ({"policyTypes": ["Egress"]}, ["Egress"])],
)
def test_network_policies_say_what_they_are_about(spec: Object, types: list[str]) -> None:
    assert defaulted("networking.k8s.io", "NetworkPolicy", spec=spec)["spec"]["policyTypes"] == types


@pytest.mark.parametrize("key", DEFAULTS, ids=lambda key: f"{key[0] or 'core'}/{key[1]}")
def test_defaulting_twice_changes_nothing(key: tuple[str, str]) -> None:
    once = defaulted(*key)
    twice = deepcopy(once)
    DEFAULTS[key](twice)
    assert twice == once


def test_every_default_belongs_to_a_served_kind() -> None:
    assert set(DEFAULTS) <= {(row.group, row.kind) for row in RESOURCES}
