"""Pods, namespaces, jobs, secrets and events: what their strategies add to defaults and value checks."""

import asyncio
from typing import Any

import pytest

from sampan.apiserver.strategy import RequestInfo
from sampan.machinery.errors import Forbidden
from sampan.machinery.objects import Object
from support.registry_harness import FakeServices, Registry

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(container: Object | None = None, **spec: Any) -> Object:
    containers = [{"name": "web", "image": "nginx", **(container or {})}]
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"containers": containers, **spec}}


@pytest.fixture
def services() -> FakeServices:
    account = {"metadata": {"name": "default", "namespace": "default"}}
    return FakeServices(objects={("serviceaccounts", "default", "default"): account})


@pytest.fixture
def pods(services: FakeServices) -> Registry:
    return Registry("pods", services)


def test_a_new_pod_is_pending_and_has_a_class(pods: Registry) -> None:
    created = pods.create({**pod(), "status": {"phase": "Running"}})
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "0"}}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(pods: Registry, resources: Object, expected: str) -> None:
    assert pods.create(pod({"resources": resources}))["status"]["qosClass"] == expected


def test_the_accounts_token_is_mounted(pods: Registry) -> None:
    spec = pods.create(pod())["spec"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    (volume,) = spec["volumes"]
    assert mount == {"name": volume["name"], "readOnly": True, "mountPath": TOKEN}
    assert volume["name"].startswith("kube-api-access-")
    assert [*map(next, map(iter, volume["projected"]["sources"]))] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")


def test_a_pod_may_do_without_the_token(pods: Registry) -> None:
    assert "volumes" not in pods.create(pod(automountServiceAccountToken=False))["spec"]


def test_a_missing_account_is_named(pods: Registry) -> None:
    with pytest.raises(Forbidden) as refused:
        pods.create(pod(serviceAccountName="robot"))
    why = 'error looking up service account default/robot: serviceaccount "robot" not found'
    assert refused.value.message == f'pods "web" is forbidden: {why}'


def test_lost_nodes_are_tolerated_for_five_minutes(pods: Registry) -> None:
    tolerations = pods.create(pod())["spec"]["tolerations"]
    keys = [(one["key"], one["tolerationSeconds"]) for one in tolerations]
    assert keys == [("node.kubernetes.io/not-ready", 300), ("node.kubernetes.io/unreachable", 300)]
    everything = [{"operator": "Exists"}]
    assert pods.create(pod(tolerations=everything))["spec"]["tolerations"] == everything


def test_priority_comes_from_the_class(pods: Registry, services: FakeServices) -> None:
    assert pods.create(pod())["spec"]["priority"] == 0
    known = {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}
    services.objects["priorityclasses.scheduling.k8s.io", "", "high"] = known
    spec = pods.create(pod(priorityClassName="high"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
        pods.create(pod(priorityClassName="low"))


@pytest.mark.parametrize(
    ("spec", "status", "options", "seconds"),
    [
        ({}, {}, {}, 0),
        ({"nodeName": "n"}, {}, {}, 30),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 5}, {}, {}, 5),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 5}, {}, {"gracePeriodSeconds": 9}, 9),
        ({"nodeName": "n"}, {}, {"gracePeriodSeconds": 0}, 0),
        ({"nodeName": "n"}, {"phase": "Succeeded"}, {}, 0),
    ],
)
def test_grace(pods: Registry, spec: Object, status: Object, options: Object, seconds: int) -> None:
    assert pods.strategy.deletion_grace_period({"spec": spec, "status": status}, options) == seconds


def test_status_updates_leave_the_specification_alone(pods: Registry) -> None:
    old = pods.create(pod())
    new = {**old, "spec": {**old["spec"], "nodeName": "elsewhere"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}}
    pods.strategy.prepare_subresource_update(new, old, RequestInfo("update", subresource="status"))
    assert new["spec"] == old["spec"]
    assert new["status"]["podIPs"] == [{"ip": "10.0.0.1"}]
    assert new["status"]["qosClass"] == "BestEffort"


def test_ephemeral_containers_are_all_that_their_subresource_changes(pods: Registry) -> None:
    old = pods.create(pod())
    debugger = {"name": "debug", "image": "busybox"}
    new = {**old, "spec": {**old["spec"], "nodeName": "elsewhere", "ephemeralContainers": [debugger]}}
    pods.strategy.prepare_subresource_update(new, old, RequestInfo("update", subresource="ephemeralcontainers"))
    assert new["spec"] == {**old["spec"], "ephemeralContainers": [debugger]}


def test_a_namespace_is_held_until_it_is_finalized() -> None:
    namespaces = Registry("namespaces")
    created = namespaces.create({"metadata": {"name": "jds"}})
    assert (created["spec"], created["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    assert not namespaces.strategy.is_finalized(created)
    namespaces.strategy.prepare_delete(created, RequestInfo("delete"))
    assert created["status"]["phase"] == "Terminating"
    finalized = {**created, "spec": {"finalizers": []}}
    namespaces.strategy.prepare_subresource_update(finalized, created, RequestInfo("update", subresource="finalize"))
    assert namespaces.strategy.is_finalized(finalized)


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_some_namespaces_are_there_to_stay(name: str) -> None:
    strategy = Registry("namespaces").strategy
    with pytest.raises(Forbidden, match="this namespace may not be deleted"):
        asyncio.run(strategy.before_delete({"metadata": {"name": name}}, RequestInfo("delete")))


def test_a_job_selects_its_own_pods() -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}}
    job = {"metadata": {"name": "pi", "namespace": "default", "uid": "u-1"}, "spec": {"template": template}}
    created = Registry("jobs.batch").create(job)
    assert created["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    labels = {
        "batch.kubernetes.io/controller-uid": "u-1",
        "batch.kubernetes.io/job-name": "pi",
        "controller-uid": "u-1",
        "job-name": "pi",
    }
    assert created["spec"]["template"]["metadata"]["labels"] == labels
    assert created["metadata"]["labels"] == labels


def test_text_of_a_secret_becomes_data() -> None:
    secret = {"metadata": {"name": "x"}, "data": {"a": "b2xk"}, "stringData": {"a": "new", "b": "é"}}
    created = Registry("secrets").create(secret)
    assert created["data"] == {"a": "bmV3", "b": "w6k="}
    assert (created["type"], "stringData" in created) == ("Opaque", False)


def test_an_event_lives_beside_its_object() -> None:
    event = {"metadata": {"name": "e", "namespace": "a"}, "involvedObject": {"namespace": "b"}}
    (error,) = Registry("events").errors(event)
    assert error == 'involvedObject.namespace: Invalid value: "b": does not match event.namespace'


def limit_range(**limit: Any) -> Object:
    return {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", **limit}]}}


def test_limit_ranges_fill_in_amounts(pods: Registry, services: FakeServices) -> None:
    services.objects["limitranges", "default", "l"] = limit_range(default={"cpu": "1"}, defaultRequest={"cpu": "100m"})
    created = pods.create(pod())
    assert created["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}
    assert created["status"]["qosClass"] == "Burstable"
    note = created["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert note == "LimitRanger plugin set: cpu limit for container web; cpu request for container web"


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"min": {"cpu": "100m"}}, "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"min": {"memory": "90Mi"}}, "minimum memory usage per Container is 90Mi.  No request is specified"),
        ({"max": {"cpu": "60m"}}, "maximum cpu usage per Container is 60m, but limit is 80m"),
    ],
)
def test_limit_ranges_bound_amounts(pods: Registry, services: FakeServices, limit: Object, message: str) -> None:
    services.objects["limitranges", "default", "l"] = limit_range(**limit)
    with pytest.raises(Forbidden) as refused:
        pods.create(pod({"resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "80m"}}}))
    assert message in refused.value.message


def ingress(class_name: str | None = None, **annotations: str) -> Object:
    spec: Object = {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
    if class_name is not None:
        spec["ingressClassName"] = class_name
    names = {key.replace("_", "/"): value for key, value in annotations.items()}
    return {"metadata": {"name": "web", "namespace": "default", "annotations": names}, "spec": spec}


def ingress_class(name: str, created: str, default: str = "true") -> Object:
    annotations = {"ingressclass.kubernetes.io/is-default-class": default}
    meta = {"name": name, "creationTimestamp": created, "annotations": annotations}
    return {"metadata": meta, "spec": {"controller": "a.io/b"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ingress(), "new"),
        (ingress("other"), "other"),
        (ingress(**{"kubernetes.io/ingress.class": "old"}), None),
    ],
)
def test_an_ingress_without_a_class_gets_the_newest_default_one(given: Object, expected: str | None) -> None:
    classes = [
        ingress_class("old", "2026-01-01T00:00:00Z"),
        ingress_class("new", "2026-02-01T00:00:00Z"),
        ingress_class("newer-but-not-default", "2026-03-01T00:00:00Z", "false"),
    ]
    services = FakeServices(
        objects={("ingressclasses.networking.k8s.io", "", one["metadata"]["name"]): one for one in classes}
    )
    created = Registry("ingresses.networking.k8s.io", services).create(given)
    assert created["spec"].get("ingressClassName") == expected


def test_without_a_default_class_an_ingress_has_none() -> None:
    created = Registry("ingresses.networking.k8s.io", FakeServices()).create(ingress())
    assert "ingressClassName" not in created["spec"]
