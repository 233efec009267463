"""What clients rely on in the API itself, on a whole cluster; the finer points are tests/unit/apiserver's."""

import json
import re

import pytest
from e2e_http import API, seen
from e2e_support import Cluster, Kubectl, eventually

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
ENDPOINTS = {"metadata": {"name": "by-hand"}, "subsets": [{"addresses": [{"ip": "10.9.8.7"}], "ports": [{"port": 80}]}]}
SLEEPER = {"containers": [{"name": "main", "image": "host", "command": ["sleep", "infinity"]}]}


@pytest.fixture
def api(namespace: Kubectl) -> API:
    return API(namespace)


def config_map(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels}}


def version_of(obj: dict[str, object]) -> str:
    return str(obj["metadata"]["resourceVersion"])  # type: ignore[index]


# --- versions and watches


def test_one_counter_gives_every_write_a_higher_version(api: API):
    versions = [version_of(api.create("configmaps", config_map(name))) for name in ("one", "two")]
    versions.append(version_of(api.get("configmaps")))
    assert all(re.fullmatch(r"[1-9][0-9]*", version) for version in versions)
    assert int(versions[0]) < int(versions[1]) <= int(versions[2])
    with api.watch(f"/api/v1/configmaps?watch=true&resourceVersion={versions[2]}") as events:
        api.create("configmaps", config_map("three"))
        assert seen(events, 1) == [("ADDED", "three")]


def test_a_watch_tells_what_came_later_within_its_selection(api: API):
    api.create("configmaps", config_map("before", app="a"))
    version = version_of(api.get("configmaps"))
    with api.watch(f"configmaps?watch=true&resourceVersion={version}&labelSelector=app%3Da") as events:
        api.create("configmaps", config_map("other", app="b"))
        api.create("configmaps", config_map("later", app="a"))
        api.patch("configmaps/later", {"metadata": {"labels": {"app": "b"}}})
        assert seen(events, 2) == [("ADDED", "later"), ("DELETED", "later")]


def test_initial_events_end_with_a_bookmark(api: API):
    api.create("configmaps", config_map("one", app="a"))
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with api.watch(f"configmaps?{query}&labelSelector=app%3Da") as events:
        first, bookmark = next(events), next(events)
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "one")
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


# --- writes


PUT = {
    "endpoints": ENDPOINTS,
    "apps/v1/deployments": {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": SLEEPER},
        },
    },
}


@pytest.mark.parametrize("resource", PUT)
def test_put_without_a_version_overwrites_and_a_stale_one_conflicts(api: API, resource: str):
    created = api.create(resource, PUT[resource])
    path = f"{resource}/{created['metadata']['name']}"
    wanted = PUT[resource] | {"metadata": {"name": created["metadata"]["name"], "labels": {"put": "yes"}}}
    answer = api.call("PUT", path, wanted)
    assert (answer.status, answer.json["metadata"]["labels"]) == (200, {"put": "yes"})
    answer = api.call("PUT", path, created)
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in answer.json["message"]


def test_a_pods_status_is_put_without_a_version(api: API, namespace: Kubectl):
    api.create("pods", {"metadata": {"name": "held"}, "spec": SLEEPER | {"schedulerName": "nobody"}})
    answer = api.call("PUT", "pods/held/status", {"metadata": {"name": "held"}, "status": {"phase": "Failed"}})
    assert (answer.status, answer.json["status"]["phase"]) == (200, "Failed")
    assert api.get("pods/held")["spec"]["schedulerName"] == "nobody"


def test_a_selected_collection_is_gone_when_the_answer_comes(api: API):
    for name, app in (("one", "a"), ("two", "a"), ("three", "b")):
        api.create("configmaps", config_map(name, app=app))
    assert api.call("DELETE", "configmaps?labelSelector=app%3Da").status == 200
    left = {item["metadata"]["name"] for item in api.get("configmaps")["items"]}
    assert left - {"kube-root-ca.crt"} == {"three"}


def test_a_status_patch_sets_annotations_too_and_leaves_the_specification(api: API):
    service = {"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "loadBalancerClass": "x.io/none"}}
    created = api.create("services", service | {"spec": service["spec"] | {"ports": [{"port": 80}]}})
    api.patch(
        "services/web/status",
        {
            "metadata": {"annotations": {"patched": "true"}},
            "spec": {"sessionAffinity": "ClientIP"},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        },
    )
    found = api.get("services/web/status")
    assert (found["kind"], found["metadata"]["uid"]) == ("Service", created["metadata"]["uid"])
    assert found["metadata"]["annotations"]["patched"] == "true"
    assert found["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"
    assert found["spec"] == created["spec"]


def test_names_are_generated_and_groups_and_versions_answer(api: API):
    for resource in ("configmaps", "discovery.k8s.io/v1/endpointslices", "coordination.k8s.io/v1/leases"):
        obj = {"metadata": {"generateName": "made-"}}
        if "slices" in resource:
            obj |= {"addressType": "IPv4", "endpoints": []}
        assert re.fullmatch(r"made-[a-z0-9]{5}", api.create(resource, obj)["metadata"]["name"])
    for group in api.get("/apis")["groups"]:
        assert api.get(f"/apis/{group['name']}")["kind"] == "APIGroup"
        for version in group["versions"]:
            assert api.get(f"/apis/{version['groupVersion']}")["kind"] == "APIResourceList"


def test_a_body_may_be_yaml_and_unknown_and_repeated_fields_are_told(api: API):
    text = b"metadata: {name: from-yaml}\ndata: {a: b}\n"
    assert api.call("POST", "configmaps", text, "application/yaml").json["data"] == {"a": "b"}
    text = b'{"metadata":{"name":"strict"},"data":{"a":"1","a":"2"},"colour":"red"}'
    answer = api.call("POST", "configmaps?fieldValidation=Strict", text)
    assert answer.status == 400
    assert 'strict decoding error: unknown field "colour", duplicate field "data.a"' in answer.json["message"]
    answer = api.call("POST", "configmaps?fieldValidation=Warn", text)
    assert (answer.status, answer.json["data"]) == (201, {"a": "2"})
    assert 'duplicate field \\"data.a\\"' in ", ".join(answer.headers.get_all("Warning"))


# --- selection


def test_field_selectors_choose(cluster: Cluster, api: API, namespace: Kubectl):
    api.create("pods", {"metadata": {"name": "held"}, "spec": SLEEPER | {"schedulerName": "nobody"}})
    api.create("pods", {"metadata": {"name": "bound"}, "spec": SLEEPER})
    pod = namespace.ready_pod("bound")
    node = pod["spec"]["nodeName"]

    def pods(selector: str) -> set[str]:
        return {item["metadata"]["name"] for item in api.get(f"pods?fieldSelector={selector}")["items"]}

    assert pods("metadata.name=held") == {"held"}
    assert pods(f"metadata.namespace={namespace.namespace}") == {"held", "bound"}
    assert pods(f"spec.nodeName={node}") == {"bound"}
    assert pods("spec.nodeName=") == {"held"}
    assert pods("status.phase!=Running") == {"held"}
    assert pods("status.phase=Running,metadata.name=held") == set()
    assert len(api.get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse")["items"]) == 3
    assert api.get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue")["items"] == []
    uid = pod["metadata"]["uid"]
    query = f"events?fieldSelector=involvedObject.name%3Dbound%2CinvolvedObject.uid%3D{uid}%2Creason%3DScheduled"
    (event,) = eventually(lambda: api.get(f"{query}%2Ctype%3DNormal")["items"], "the event")
    assert event["involvedObject"]["kind"] == "Pod"
    assert api.get(f"{query}%2Ctype%3DWarning")["items"] == []
    assert api.call("GET", "pods?fieldSelector=spec.colour%3Dred").status == 400


STRONG = {
    "privileged": {"securityContext": {"privileged": True}},
    "guaranteed": {"resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}},
}


@pytest.mark.parametrize("name", STRONG)
def test_privileged_and_guaranteed_containers_run(api: API, namespace: Kubectl, name: str):
    api.create("pods", {"metadata": {"name": name}, "spec": {"containers": [SLEEPER["containers"][0] | STRONG[name]]}})
    namespace.ready_pod(name)


# --- the cluster that a client finds


def test_nodes_are_ready_untainted_and_told_apart(cluster: Cluster):
    nodes = cluster.kubectl.items("nodes")
    assert len(nodes) >= 2
    for node in nodes:
        conditions = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert not node["spec"].get("taints")
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == node["metadata"]["name"]
    assert len(set(cluster.node_ips().values())) == len(nodes)


def test_a_new_namespace_gets_its_account_and_its_certificate(namespace: Kubectl):
    eventually(lambda: namespace.get("serviceaccount default"), seconds=5)
    found = eventually(lambda: namespace.get("configmap kube-root-ca.crt"), seconds=5)
    assert found["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")


def test_the_kubernetes_service_lists_the_same_in_both_forms(cluster: Cluster):
    kubectl = cluster.kubectl
    assert re.fullmatch(r"[0-9.]+", kubectl.get("service kubernetes")["spec"]["clusterIP"])
    (subset,) = kubectl.get("endpoints kubernetes")["subsets"]
    (found,) = kubectl.items("endpointslices -l kubernetes.io/service-name=kubernetes")
    assert found["addressType"] == "IPv4"
    in_slice = {address for endpoint in found["endpoints"] for address in endpoint["addresses"]}
    assert {address["ip"] for address in subset["addresses"]} == in_slice
    assert [(p["name"], p["port"]) for p in subset["ports"]] == [(p["name"], p["port"]) for p in found["ports"]]


# --- what kubectl sends


def test_openapi_has_a_document_for_each_group_and_version_at_its_hash(api: API):
    paths = api.get("/openapi/v3")["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/discovery.k8s.io/v1"} <= set(paths)
    for place in ("api/v1", "apis/apps/v1"):
        url = paths[place]["serverRelativeURL"]
        assert "?hash=" in url
        assert "components" in api.get(url)


def test_a_dry_run_and_a_table_come_as_asked_for(api: API):
    answer = api.call("POST", "configmaps?dryRun=All&fieldManager=kubectl-create&fieldValidation=Strict", CONFIG_MAP)
    assert answer.status == 201
    assert api.call("GET", "configmaps/settings").status == 404
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = api.get("configmaps?limit=500", Accept=accept)
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]


@pytest.mark.parametrize("what", ["pod/bound", "namespace", "node/node-1", "service/web"])
def test_describe_tells_all_it_looks_for(api: API, namespace: Kubectl, what: str):
    api.create("pods", {"metadata": {"name": "bound", "labels": {"app": "web"}}, "spec": SLEEPER})
    namespace("create service clusterip web --tcp=80:8080")
    namespace.ready_pod("bound")
    text = namespace(f"describe {what if what != 'namespace' else f'namespace/{namespace.namespace}'}")
    expected = {
        "pod/bound": "Successfully assigned",
        "namespace": "No resource quota.",
        "node/node-1": "Lease:",
        "service/web": "Endpoints: ",
    }
    assert expected[what] in text
    assert json.loads(namespace("get pod bound -o json"))["status"]["phase"] == "Running"
