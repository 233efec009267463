"""What upstream refuses is refused, in upstream's words."""

from copy import deepcopy
from typing import Any

import pytest

from sampan.apiserver.registry.validation import NAME_RULES, RULES
from sampan.apiserver.resources import RESOURCES
from sampan.machinery.objects import Object
from support.registry_harness import Registry

CONTAINER: Object = {"name": "web", "image": "nginx:1.7.9"}


def pod(container: Object | None = None, **spec: Any) -> Object:
    containers = [{**CONTAINER, **(container or {})}]
    return {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": containers, **spec}}


def workload(kind: str, selector: Any = None, labels: Object | None = None, **spec: Any) -> Object:
    template: Object = {"metadata": {"labels": {"app": "web"} if labels is None else labels}}
    template["spec"] = {"containers": [dict(CONTAINER)]}
    chosen = {"matchLabels": {"app": "web"}} if selector is None else selector
    return {"kind": kind, "metadata": {"name": "web"}, "spec": {"selector": chosen, "template": template, **spec}}


def test_upper_case_in_the_first_articles_names() -> None:
    """The Deployment `myNginx` of the first seed document."""
    deployments = Registry("deployments.apps")
    (message,) = deployments.strategy.validate_name("myNginx")
    assert message == (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    obj = workload("Deployment")
    obj["spec"]["template"]["spec"]["containers"][0]["name"] = "myNginx"
    (error,) = deployments.errors(obj)
    assert error.startswith(
        'spec.template.spec.containers[0].name: Invalid value: "myNginx": a lowercase RFC 1123 label must consist of'
    )


PODS: list[tuple[str, Object, str]] = [
    ("no containers", {"spec": {}}, "spec.containers: Required value"),
    ("no image", pod({"image": ""}), "spec.containers[0].image: Required value"),
    ("a name in capitals", pod({"name": "Web"}), 'spec.containers[0].name: Invalid value: "Web": a lowercase RFC 1123'),
    *(
        (
            f"a sysctl called {name}",
            pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}),
            f'spec.securityContext.sysctls[0].name: Invalid value: "{name}": must have at most 253 characters and '
            r"match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
        )
        for name in ("../../srv/file", "/etc/x", "kernel..sem", "net.", "Net.ipv4", "a b", "net.ipv4.x" + "x" * 250)
    ),
    (
        "a sysctl twice",
        pod(securityContext={"sysctls": [{"name": "kernel.sem"}, {"name": "kernel/sem"}]}),
        'spec.securityContext.sysctls[1].name: Duplicate value: "kernel/sem"',
    ),
    (
        "a sysctl of the node's network",
        pod(hostNetwork=True, securityContext={"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]}),
        'spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_fin_timeout": '
        "may not be specified when 'hostNetwork' is true",
    ),
    (
        "two of a name",
        pod(initContainers=[dict(CONTAINER)]),
        'spec.containers[0].name: Duplicate value: "web"',
    ),
    (
        "an unknown pull policy",
        pod({"imagePullPolicy": "Sometimes"}),
        'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": '
        'supported values: "Always", "IfNotPresent", "Never"',
    ),
    (
        "an impossible port",
        pod({"ports": [{"containerPort": 65536}]}),
        "spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
    ),
    (
        "a port's name that is too long",
        pod({"ports": [{"containerPort": 80, "name": "a-name-of-sixteen"}]}),
        'spec.containers[0].ports[0].name: Invalid value: "a-name-of-sixteen": must be no more than 15 characters',
    ),
    (
        "a host port taken twice",
        pod({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}),
        'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"',
    ),
    (
        "a mount of nothing",
        pod({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
        'spec.containers[0].volumeMounts[0].name: Not found: "data"',
    ),
    (
        "a variable without a name",
        pod({"env": [{"value": "x"}]}),
        "spec.containers[0].env[0].name: Required value",
    ),
    (
        "a variable with value and source",
        pod({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
        'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    ),
    (
        "a probe without a handler",
        pod({"livenessProbe": {"periodSeconds": 3}}),
        "spec.containers[0].livenessProbe: Required value: must specify a handler type",
    ),
    (
        "a probe with two",
        pod({"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 80}}}),
        "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
    ),
    (
        "a liveness probe that wants two successes",
        pod({"livenessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2}}),
        "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        "a request above its limit",
        pod({"resources": {"limits": {"cpu": "100m"}, "requests": {"cpu": "200m"}}}),
        'spec.containers[0].resources.requests: Invalid value: "200m": must be less than or equal to cpu limit of 100m',
    ),
    (
        "an unknown resource",
        pod({"resources": {"limits": {"gpu": "1"}}}),
        'spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers',
    ),
    (
        "an unknown restart policy",
        pod(restartPolicy="Sometimes"),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
    ),
    (
        "two sources of a volume",
        pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
    ),
    (
        "DNS policy None without a configuration",
        pod(dnsPolicy="None"),
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
    ),
    (
        "a toleration of everything that compares",
        pod(tolerations=[{"operator": "Equal", "value": "x"}]),
        'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty',
    ),
]


@pytest.mark.parametrize(("obj", "message"), [case[1:] for case in PODS], ids=[case[0] for case in PODS])
def test_pods(obj: Object, message: str) -> None:
    errors = Registry("pods").errors(obj)
    assert any(error.startswith(message) for error in errors), errors


def test_a_full_pod_passes() -> None:
    container = {
        "ports": [{"containerPort": 3306, "name": "mysql"}],
        "env": [
            {"name": "MYSQL_USER", "valueFrom": {"secretKeyRef": {"name": "myblog", "key": "MYSQL_USER"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        ],
        "resources": {"requests": {"memory": "100Mi", "cpu": "50m"}, "limits": {"memory": "500Mi", "cpu": "100m"}},
        "readinessProbe": {"tcpSocket": {"port": 3306}, "initialDelaySeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/blog/index/", "port": "mysql", "scheme": "HTTP"}},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}],
    }
    spec = {"hostNetwork": True, "nodeSelector": {"component": "mysql"}}
    volumes = [{"name": "data", "hostPath": {"path": "/opt/mysql/data"}}]
    assert Registry("pods").errors(pod(container, volumes=volumes, **spec)) == []


POD_UPDATES: list[tuple[str, Object, bool]] = [
    ("another image", pod({"image": "nginx:1.9"}), True),
    ("a deadline", pod(activeDeadlineSeconds=30), True),
    ("another toleration", pod(tolerations=[{"operator": "Exists"}]), True),
    ("another command", pod({"command": ["sleep"]}), False),
    ("another node", pod(nodeName="node-2"), False),
    ("another port", pod({"ports": [{"containerPort": 80}]}), False),
]


@pytest.mark.parametrize(("new", "allowed"), [case[1:] for case in POD_UPDATES], ids=[case[0] for case in POD_UPDATES])
def test_pod_updates_change_next_to_nothing(new: Object, allowed: bool) -> None:
    errors = Registry("pods").update_errors(pod(), new)
    if allowed:
        assert errors == []
    else:
        (error,) = errors
        assert error.startswith(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
        )


def test_pod_updates_add_no_containers() -> None:
    new = pod()
    new["spec"]["containers"].append({"name": "b", "image": "x"})
    errors = Registry("pods").update_errors(pod(), new)
    assert errors == ["spec.containers: Forbidden: pod updates may not add or remove containers"]


WORKLOADS: list[tuple[str, str, Object, str]] = [
    (
        "a selector that misses its own pods",
        "deployments.apps",
        workload("Deployment", {"matchLabels": {"app": "other"}}),
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`',
    ),
    (
        "an empty selector",
        "deployments.apps",
        workload("Deployment", {}),
        "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
    ),
    (
        "negative replicas",
        "replicasets.apps",
        workload("ReplicaSet", replicas=-1),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "a standstill for a rollout",
        "deployments.apps",
        workload("Deployment", strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
    ),
    (
        "half a percentage",
        "deployments.apps",
        workload("Deployment", strategy={"rollingUpdate": {"maxSurge": "25"}}),
        'spec.strategy.rollingUpdate.maxSurge: Invalid value: "25": a valid percent string must be a numeric string',
    ),
    (
        "a job that never ends",
        "jobs.batch",
        {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": [dict(CONTAINER)]}}}},
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
    ),
    (
        "a schedule with four fields",
        "cronjobs.batch",
        {"metadata": {"name": "x"}, "spec": {"schedule": "* * * *"}},
        'spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]',
    ),
    (
        "an ingress path without a type",
        "ingresses.networking.k8s.io",
        {"metadata": {"name": "x"}, "spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}},
        "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
    ),
    (
        "an ingress with nothing in it",
        "ingresses.networking.k8s.io",
        {"metadata": {"name": "x"}, "spec": {}},
        "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
    ),
    (
        "an ingress class whose controller has no domain",
        "ingressclasses.networking.k8s.io",
        {"metadata": {"name": "x"}, "spec": {"controller": "nginx"}},
        'spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")',
    ),
    (
        "an ingress class with parameters of a namespace, but which?",
        "ingressclasses.networking.k8s.io",
        {
            "metadata": {"name": "x"},
            "spec": {"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}},
        },
        "spec.parameters.namespace: Required value",
    ),
    (
        "a key with a slash",
        "configmaps",
        {"metadata": {"name": "x"}, "data": {"a/b": "c"}},
        'data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters',
    ),
    (
        "a TLS secret without a key",
        "secrets",
        {"metadata": {"name": "x"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}},
        "data[tls.key]: Required value",
    ),
    (
        "a slice of the wrong family",
        "endpointslices.discovery.k8s.io",
        {"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]},
        'endpoints[0].addresses[0]: Invalid value: "fd00::1": must be an IPv4 address',
    ),
    (
        "endpoints on the loopback",
        "endpoints",
        {"metadata": {"name": "x"}, "subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]},
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range',
    ),
    (
        "a budget with both bounds",
        "poddisruptionbudgets.policy",
        {"metadata": {"name": "x"}, "spec": {"minAvailable": 1, "maxUnavailable": 1}},
        "spec: Invalid value:",
    ),
]


@pytest.mark.parametrize(
    ("resource", "obj", "message"), [case[1:] for case in WORKLOADS], ids=[case[0] for case in WORKLOADS]
)
def test_other_kinds(resource: str, obj: Object, message: str) -> None:
    errors = Registry(resource).errors(obj)
    assert any(error.startswith(message) for error in errors), errors


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet"])
def test_selectors_stay(kind: str) -> None:
    new = workload(kind, {"matchLabels": {"tier": "a"}}, {"tier": "a"})
    errors = Registry(f"{kind.lower()}s.apps").update_errors(workload(kind), new)
    assert errors == ['spec.selector: Invalid value: {"matchLabels":{"tier":"a"}}: field is immutable']


def test_a_stateful_sets_service_stays() -> None:
    new = workload("StatefulSet", serviceName="other")
    (error,) = Registry("statefulsets.apps").update_errors(workload("StatefulSet"), new)
    assert error.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")


def test_immutable_means_it() -> None:
    old = {"metadata": {"name": "x"}, "data": {"a": "b"}, "immutable": True}
    for change in ({"data": {"a": "c"}}, {"immutable": False}):
        (error,) = Registry("configmaps").update_errors(old, {**deepcopy(old), **change})
        assert error.endswith("Forbidden: field is immutable when `immutable` is set")


def test_every_rule_belongs_to_a_served_kind() -> None:
    assert {*RULES, *NAME_RULES} <= {(row.group, row.kind) for row in RESOURCES}


@pytest.mark.parametrize(("name", "valid"), [("10.0.0.1", True), ("fd00::1", True), ("fd00::0:1", False), ("x", False)])
def test_ip_addresses_are_named_canonically(name: str, valid: bool) -> None:
    assert (not Registry("ipaddresses.networking.k8s.io").strategy.validate_name(name)) is valid
