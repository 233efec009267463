"""Services get what their type needs, keep it while they need it, and give it back when they do not."""

from typing import Any

import pytest

from sampan.machinery.errors import Invalid
from sampan.machinery.objects import Object
from support.registry_harness import Registry


def service(kind: str = "", **spec: Any) -> Object:
    spec = {"ports": [{"port": 80}], **({"type": kind} if kind else {}), **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": spec}


@pytest.fixture
def services() -> Registry:
    return Registry("services")


def test_defaults_appear_in_the_response(services: Registry) -> None:
    spec = services.create(service())["spec"]
    address = spec["clusterIP"]
    assert spec == {
        "type": "ClusterIP",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "clusterIP": address,
        "clusterIPs": [address],
        "internalTrafficPolicy": "Cluster",
    }
    assert address in services.services.allocators.addresses["IPv4"]


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_types_with_node_ports_get_one_in_range_for_each_port(services: Registry, kind: str) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    spec = services.create(service(kind, ports=ports))["spec"]
    assert all(30000 <= port["nodePort"] <= 32767 for port in spec["ports"])
    assert spec["externalTrafficPolicy"] == "Cluster"


def test_ports_of_one_number_share_their_node_port(services: Registry) -> None:
    ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    first, second = services.create(service("NodePort", ports=ports))["spec"]["ports"]
    assert first["nodePort"] == second["nodePort"]


def test_headless_services_get_no_address(services: Registry) -> None:
    spec = services.create(service(clusterIP="None", selector={"app": "web"}))["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"], spec["ipFamilies"]) == ("None", ["None"], ["IPv4"])
    assert not len(services.services.allocators.addresses["IPv4"])


def test_an_external_name_has_no_address_and_no_families(services: Registry) -> None:
    spec = services.create(service("ExternalName", externalName="example.com", ports=[]))["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"} & spec.keys()


def test_a_local_load_balancer_gets_a_health_check_port(services: Registry) -> None:
    created = services.create(service("LoadBalancer", externalTrafficPolicy="Local"))
    assert created["spec"]["healthCheckNodePort"] in services.services.allocators.node_ports


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_external_name_becomes_another_type_and_drops_its_name(services: Registry, kind: str) -> None:
    old = services.create(service("ExternalName", externalName="example.com"))
    new = services.update(old, {**old, "spec": {**old["spec"], "type": kind}})
    assert "externalName" not in new["spec"]
    assert new["spec"]["clusterIP"] in services.services.allocators.addresses["IPv4"]
    assert ("nodePort" in new["spec"]["ports"][0]) is (kind == "NodePort")


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_becoming_an_external_name_clears_and_releases_everything(services: Registry, kind: str) -> None:
    old = services.create(service(kind))
    new = services.update(old, {**old, "spec": {**old["spec"], "type": "ExternalName", "externalName": "a.example"}})
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & new["spec"].keys()
    assert "nodePort" not in new["spec"]["ports"][0]
    allocators = services.services.allocators
    assert (len(allocators.addresses["IPv4"]), len(allocators.node_ports)) == (0, 0)


def test_a_put_without_allocated_values_keeps_them(services: Registry) -> None:
    old = services.create(service("NodePort"))
    new = services.update(old, service("NodePort"))
    assert new["spec"] == old["spec"]


def test_going_back_to_cluster_ip_releases_the_node_port(services: Registry) -> None:
    old = services.create(service("NodePort"))
    new = services.update(old, {**old, "spec": {**old["spec"], "type": "ClusterIP"}})
    assert "nodePort" not in new["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in new["spec"]
    assert not len(services.services.allocators.node_ports)


def test_deletion_releases(services: Registry) -> None:
    created = services.create(service("NodePort"))
    services.delete(created)
    again = services.create(service("NodePort", clusterIP=created["spec"]["clusterIP"], ports=created["spec"]["ports"]))
    assert again["spec"]["clusterIP"] == created["spec"]["clusterIP"]


def test_a_dry_run_reserves_nothing(services: Registry) -> None:
    services.create(service("NodePort"), dry_run=True)
    allocators = services.services.allocators
    assert (len(allocators.addresses["IPv4"]), len(allocators.node_ports)) == (0, 0)


REFUSED: list[tuple[str, Object, str]] = [
    (
        "an address outside the range",
        service(clusterIP="10.0.0.5"),
        'spec.clusterIPs: Invalid value: ["10.0.0.5"]: failed to allocate IP 10.0.0.5: provided IP is not in the valid '
        "range. The range of valid IPs is 10.96.0.0/12",
    ),
    (
        "an address that is no address",
        service(clusterIP="nonsense"),
        'spec.clusterIPs[0]: Invalid value: "nonsense": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
    ),
    (
        "a node port outside the range",
        service("NodePort", ports=[{"port": 80, "nodePort": 80}]),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. "
        "The range of valid ports is 30000-32767",
    ),
    (
        "a node port on a ClusterIP Service",
        service(ports=[{"port": 80, "nodePort": 30080}]),
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
    ),
    (
        "a port that does not exist",
        service(ports=[{"port": 70000}]),
        "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    ("no ports", service(ports=[]), "spec.ports: Required value"),
    (
        "ports without names",
        service(ports=[{"port": 80}, {"port": 81}]),
        "spec.ports[0].name: Required value",
    ),
    (
        "an unknown type",
        service("Ingress"),
        'spec.type: Unsupported value: "Ingress": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
        '"NodePort"',
    ),
    (
        "a headless node port",
        service("NodePort", clusterIP="None"),
        "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
    ),
    (
        "a family that the cluster does not have",
        service(ipFamilies=["IPv6"]),
        'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
    ),
    (
        "dual stack on one stack",
        service(ipFamilyPolicy="RequireDualStack"),
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
        "this cluster is not configured for dual-stack services",
    ),
    ("an ExternalName without a name", service("ExternalName"), "spec.externalName: Required value"),
]


@pytest.mark.parametrize(("obj", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_invalid_services_are_refused_in_upstreams_words_and_reserve_nothing(
    services: Registry, obj: Object, message: str
) -> None:
    with pytest.raises(Invalid) as refused:
        services.create(obj)
    assert message in refused.value.message
    allocators = services.services.allocators
    assert (len(allocators.addresses["IPv4"]), len(allocators.node_ports)) == (0, 0)


def test_taken_values_are_refused(services: Registry) -> None:
    held = services.create(service("NodePort"))["spec"]
    with pytest.raises(Invalid, match="provided port is already allocated"):
        services.create(service("NodePort", ports=[{"port": 80, "nodePort": held["ports"][0]["nodePort"]}]))
    with pytest.raises(Invalid, match="provided IP is already allocated"):
        services.create(service(clusterIP=held["clusterIP"]))


def test_the_cluster_ip_may_not_change(services: Registry) -> None:
    old = services.create(service())
    changed = {**old["spec"], "clusterIP": "10.96.44.44", "clusterIPs": ["10.96.44.44"]}
    with pytest.raises(Invalid) as refused:
        services.update(old, {**old, "spec": changed})
    expected = 'spec.clusterIPs[0]: Invalid value: ["10.96.44.44"]: may not change once set'
    assert refused.value.message == f'Service "web" is invalid: {expected}'
    assert refused.value.details is not None
    assert refused.value.details["causes"][0]["field"] == "spec.clusterIPs[0]"


def test_names_start_with_a_letter(services: Registry) -> None:
    (message,) = services.strategy.validate_name("ngService")
    assert message.startswith("a DNS-1035 label must consist of lower case alphanumeric characters or '-'")


@pytest.mark.parametrize(
    ("kind", "ingress", "problem"),
    [
        ("LoadBalancer", {"ip": "10.2.2.200", "ipMode": "VIP"}, ""),
        ("LoadBalancer", {"hostname": "lb.example.com"}, ""),
        ("LoadBalancer", {"ip": "x", "ipMode": "VIP"}, "ingress[0].ip: Invalid value"),
        ("LoadBalancer", {"ip": "10.2.2.200\0", "ipMode": "VIP"}, "ingress[0].ip: Invalid value"),
        ("LoadBalancer", {"ip": "10.2.2.200", "ipMode": "vip"}, "ingress[0].ipMode: Unsupported value"),
        ("LoadBalancer", {"hostname": "a.example", "ipMode": "VIP"}, "ingress[0].ipMode: Forbidden"),
        ("LoadBalancer", {"hostname": "h\0"}, "ingress[0].hostname: Invalid value"),
        ("LoadBalancer", {"hostname": "10.2.2.200"}, "must be a DNS name, not an IP address"),
        ("ClusterIP", {"ip": "10.2.2.200", "ipMode": "VIP"}, "may only be used when `spec.type` is 'LoadBalancer'"),
    ],
)
def test_a_status_has_addresses_of_load_balancers_only(
    services: Registry, kind: str, ingress: Object, problem: str
) -> None:
    old = services.create(service(kind))
    errors = services.strategy.validate_status({**old, "status": {"loadBalancer": {"ingress": [ingress]}}}, old)
    assert [problem in str(error) for error in errors] == ([True] if problem else []), errors
