"""What clients rely on in Service objects: defaults, addresses and ports, changes of type, names."""

import ipaddress
from typing import Any

import pytest
from e2e_http import API
from e2e_support import Kubectl, eventually

SERVICE_RANGE = ipaddress.ip_network("10.96.0.0/12")
NODE_PORTS = range(30000, 32768)
TWO_PORTS = [
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "dns", "port": 53, "protocol": "UDP"},
]


@pytest.fixture
def api(namespace: Kubectl) -> API:
    return API(namespace)


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}} | spec}


def test_defaults_appear_in_the_response(api: API):
    spec = api.create("services", service())["spec"]
    assert ipaddress.ip_address(spec["clusterIP"]) in SERVICE_RANGE
    assert spec == {
        "type": "ClusterIP",
        "clusterIP": spec["clusterIP"],
        "clusterIPs": [spec["clusterIP"]],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
    }


@pytest.mark.parametrize(
    ("kind", "has_address", "has_node_ports"),
    [
        ("ClusterIP", True, False),
        ("NodePort", True, True),
        ("LoadBalancer", True, True),
        ("ExternalName", False, False),
    ],
)
def test_each_type_has_its_address_and_ports_at_once(api: API, kind: str, has_address: bool, has_node_ports: bool):
    extra = {"externalName": "example.com"} if kind == "ExternalName" else {}
    spec = api.create("services", service(type=kind, ports=TWO_PORTS, **extra))["spec"]
    assert bool(spec.get("clusterIP")) is has_address
    assert [port.get("nodePort", 0) in NODE_PORTS for port in spec["ports"]] == [has_node_ports] * 2


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_an_external_name_becomes_another_type_in_one_update(api: API, kind: str):
    made = api.create("services", {"metadata": {"name": "web"}, "spec": EXTERNAL})
    made["spec"] |= {"type": kind, "ports": TWO_PORTS}
    answer = api.call("PUT", "services/web", made)
    assert answer.status == 200, answer.body
    spec = answer.json["spec"]
    assert ipaddress.ip_address(spec["clusterIP"]) in SERVICE_RANGE
    assert "externalName" not in spec
    assert [port.get("nodePort", 0) in NODE_PORTS for port in spec["ports"]] == [kind == "NodePort"] * 2


EXTERNAL = {"type": "ExternalName", "externalName": "example.com"}


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_what_becomes_an_external_name_gives_up_address_and_ports(api: API, kind: str):
    made = api.create("services", service(type=kind))
    address, node_port = made["spec"]["clusterIP"], made["spec"]["ports"][0].get("nodePort")
    made["spec"] |= EXTERNAL
    answer = api.call("PUT", "services/web", made)
    assert answer.status == 200, answer.body
    spec = answer.json["spec"]
    assert not spec.get("clusterIP")
    assert not spec.get("clusterIPs")
    assert all("nodePort" not in port for port in spec.get("ports", []))
    again = service("other", clusterIP=address, type="ClusterIP")
    if node_port:
        again["spec"] |= {"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]}
    assert api.create("services", again)["spec"]["clusterIP"] == address


def test_a_load_balancer_of_a_class_that_nobody_serves_is_left_alone(api: API):
    made = api.create("services", service(type="LoadBalancer", loadBalancerClass="example.com/nobody"))
    condition = {
        "type": "example.com/Seen", "status": "True", "reason": "Test", "message": "seen",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}, "conditions": [condition]}
    made["status"] = status
    assert api.call("PUT", "services/web/status", made).status == 200
    api.patch("services/web", {"metadata": {"labels": {"a": "b"}}})
    assert api.get("services/web")["status"] == status


NAMES = {
    "1web": ("services", "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with"),
    "web.x": ("services", "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with"),
    "Web": ("configmaps", "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"),
    "-web": ("configmaps", "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"),
    "a" * 64: ("services", "must be no more than 63 characters"),
    "b" * 254: ("configmaps", "must be no more than 253 characters"),
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:5])
def test_names_follow_the_rules_of_their_kind(api: API, name: str):
    resource, message = NAMES[name]
    obj = service(name) if resource == "services" else {"metadata": {"name": name}}
    answer = api.call("POST", resource, obj)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert f'metadata.name: Invalid value: "{name}": {message}' in answer.json["message"]
    if resource == "services":
        assert api.create("configmaps", {"metadata": {"name": name}})


# --- networking objects beside Services


def test_ingresses_and_classes_have_all_verbs_and_need_no_backend(api: API):
    backend = {"service": {"name": "not-there", "port": {"number": 80}}}
    rule = {"host": "x.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    parameters = {"controller": "example.com/nobody"}
    cases = [
        ("networking.k8s.io/v1/ingresses", {"rules": [rule]}),
        ("/apis/networking.k8s.io/v1/ingressclasses", parameters),
    ]
    for collection, spec in cases:
        label = {"made-by": api.namespace}
        api.create(collection, {"metadata": {"generateName": "x-", "labels": label}, "spec": spec})
        selected = f"{collection}?labelSelector=made-by%3D{api.namespace}"
        (found,) = api.get(selected)["items"]
        one = f"{collection}/{found['metadata']['name']}"
        assert api.patch(one, {"metadata": {"annotations": {"a": "b"}}})["metadata"]["annotations"] == {"a": "b"}
        assert api.call("PUT", one, api.get(one)).status == 200
        assert api.call("DELETE", one).status == 200
        assert api.call("GET", one).status == 404
        api.create(collection, {"metadata": {"generateName": "x-", "labels": label}, "spec": spec})
        assert api.call("DELETE", selected).status == 200
        assert api.get(selected)["items"] == []


def test_an_ingress_status_is_its_own(api: API):
    rules = {"defaultBackend": {"service": {"name": "x", "port": {"name": "http"}}}}
    api.create("networking.k8s.io/v1/ingresses", {"metadata": {"name": "web"}, "spec": rules})
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}
    patched = api.patch("networking.k8s.io/v1/ingresses/web/status", {"status": status, "spec": {"rules": []}})
    assert (patched["status"], patched["spec"]) == (status, rules)


def test_the_service_range_is_an_object(api: API):
    found = api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
    assert found["spec"]["cidrs"] == [str(SERVICE_RANGE)]
    (ready,) = found["status"]["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")


@pytest.mark.parametrize("address", ["192.0.2.77", "2001:db8::77"])
def test_an_address_of_a_foreign_parent_stays(api: API, address: str):
    parent = {"group": "example.com", "resource": "widgets", "namespace": "x", "name": "y"}
    collection = "/apis/networking.k8s.io/v1/ipaddresses"
    api.create(collection, {"metadata": {"name": address}, "spec": {"parentRef": parent}})
    api.create("services", service())
    assert api.get(f"{collection}/{address}")["spec"]["parentRef"] == parent
    assert api.call("DELETE", f"{collection}/{address}").status == 200


@pytest.mark.parametrize("address", ["192.0.2.077", "2001:DB8::77", "2001:db8:0:0::77", "host"])
def test_an_address_must_be_written_canonically(api: API, address: str):
    parent = {"resource": "services", "namespace": "x", "name": "y"}
    obj = {"metadata": {"name": address}, "spec": {"parentRef": parent}}
    assert api.call("POST", "/apis/networking.k8s.io/v1/ipaddresses", obj).status == 422


def test_services_made_at_once_share_nothing(api: API, namespace: Kubectl):
    manifest = "\n---\n".join(
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: web-{number}}}\n"
        "spec: {type: NodePort, selector: {a: b}, ports: [{port: 80}]}"
        for number in range(20)
    )
    namespace.apply(manifest)
    specs = [item["spec"] for item in api.get("services")["items"]]
    assert len({spec["clusterIP"] for spec in specs}) == len({spec["ports"][0]["nodePort"] for spec in specs}) == 20
    eventually(lambda: len(api.get("endpoints")["items"]) == 20, "an Endpoints object for each")
