"""Which service ports a node proxies, at which addresses, and to which endpoints."""

from typing import Any

import pytest

from sampan.api.core_v1 import ClientIPConfig, LoadBalancerIngress, ServicePort, SessionAffinityConfig
from sampan.proxy.endpoints import NodeTopology
from sampan.proxy.objects import HEADLESS, SERVICE_PROXY_NAME
from sampan.proxy.state import ServicePort as ProxiedPort
from sampan.proxy.state import ServicePortName, service_ports
from support.proxyobjects import DRAINING, NOT_READY, endpoint, service, slice_

HERE = NodeTopology("node-1", "zone-a")

VIP = LoadBalancerIngress(ip="203.0.113.1", ip_mode="VIP")
PROXIED = LoadBalancerIngress(ip="203.0.113.1", ip_mode="Proxy")
NAMED = LoadBalancerIngress(hostname="lb.example")


def only(slices: tuple[Any, ...] = (), family: int = 4, **options: Any) -> ProxiedPort:
    ports = service_ports(service(**options), slices, family, HERE)
    assert list(ports) == [ServicePortName("default", "web", "http", "TCP")]
    return ports[ServicePortName("default", "web", "http", "TCP")]


def ips(endpoints: tuple[Any, ...]) -> list[str]:
    return [each.ip for each in endpoints]


@pytest.mark.parametrize(
    "options",
    [
        {"cluster_ip": "None"},
        {"cluster_ip": ""},
        {"type": "ExternalName", "cluster_ip": "10.96.0.1"},
        {"labels": {SERVICE_PROXY_NAME: "another"}},
        {"labels": {HEADLESS: ""}},
    ],
    ids=["headless", "not yet allocated", "ExternalName", "proxied by someone else", "labelled headless"],
)
def test_services_that_are_not_proxied(options: dict[str, Any]) -> None:
    """Headless and ExternalName Services, and those labelled for another proxy, have no rules."""
    assert service_ports(service(**options), (), 4, HERE) == {}


def test_a_name_is_printed_as_upstream_prints_it() -> None:
    assert str(ServicePortName("default", "web", "http")) == "default/web:http"
    assert str(ServicePortName("default", "web", "")) == "default/web"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"cluster_ip": "10.96.0.1", "node_port": 0, "load_balancer_ips": ()}),
        ({"type": "NodePort"}, {"node_port": 30080}),
        ({"external_ips": ("198.51.100.1", "2001:db8::1")}, {"external_ips": ("198.51.100.1",)}),
        ({"type": "LoadBalancer", "ingress": (VIP,)}, {"load_balancer_ips": ("203.0.113.1",)}),
        ({"type": "LoadBalancer", "ingress": (PROXIED,)}, {"load_balancer_ips": ()}),
        ({"type": "LoadBalancer", "ingress": (NAMED,)}, {"load_balancer_ips": ()}),
        ({"ingress": (VIP,)}, {"load_balancer_ips": ()}),
        ({"session_affinity": "ClientIP"}, {"affinity_seconds": 10800}),
        (
            {
                "session_affinity": "ClientIP",
                "session_affinity_config": SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=5)),
            },
            {"affinity_seconds": 5},
        ),
        ({"external_traffic_policy": "Local"}, {"external_local": False}),
        (
            {"type": "LoadBalancer", "external_traffic_policy": "Local", "health_check_node_port": 32000},
            {"external_local": True, "health_check_node_port": 32000},
        ),
        (
            {"type": "LoadBalancer", "load_balancer_source_ranges": (" 10.0.0.0/8 ", "fd00::/8")},
            {"source_ranges": ("10.0.0.0/8",)},
        ),
        (
            {"type": "LoadBalancer", "load_balancer_source_ranges": ("fd00::/8",)},
            {"source_ranges": ("255.255.255.255/32",)},
        ),
    ],
)
def test_service_fields(options: dict[str, Any], expected: dict[str, Any]) -> None:
    """What each field of a Service means for its ports."""
    port = only(**options)
    assert {name: getattr(port, name) for name in expected} == expected


def test_dual_stack_services_have_ports_in_both_families() -> None:
    options = {"cluster_ips": ("10.96.0.1", "fd00::1")}
    slices = (slice_(endpoint("10.244.0.1")), slice_(endpoint("fd00:244::1"), name="web-2", family=6))
    four, six = only(slices, 4, **options), only(slices, 6, **options)
    assert (four.cluster_ip, ips(four.endpoints)) == ("10.96.0.1", ["10.244.0.1"])
    assert (six.cluster_ip, ips(six.endpoints)) == ("fd00::1", ["fd00:244::1"])


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ((slice_(endpoint("10.244.0.2"), endpoint("10.244.0.1")),), [("10.244.0.1", 8080), ("10.244.0.2", 8080)]),
        ((slice_(endpoint("10.244.0.1"), port_name="other"),), []),
        ((slice_(endpoint("10.244.0.1"), protocol="UDP"),), []),
        ((slice_(endpoint("10.244.0.1"), port=None),), []),
        ((slice_(endpoint("10.244.0.1"), protocol=None),), [("10.244.0.1", 8080)]),
        (
            (slice_(endpoint("10.244.0.1")), slice_(endpoint("10.244.0.1"), name="web-2", port=9090)),
            [("10.244.0.1", 8080), ("10.244.0.1", 9090)],
        ),
        (
            (slice_(endpoint("10.244.0.1", conditions=NOT_READY)), slice_(endpoint("10.244.0.1"), name="web-2")),
            [("10.244.0.1", 8080)],
        ),
    ],
    ids=[
        "ordered", "another port's name", "another protocol", "no port number", "no protocol means TCP",
        "one address in two slices with two ports", "one address listed twice counts as its readier entry",
    ],
)  # fmt: skip
def test_slices_are_matched_by_port_name_and_protocol(slices: tuple[Any, ...], expected: list[tuple[str, int]]) -> None:
    """As upstream: the port's name and protocol decide, and an endpoint counts once."""
    assert [(each.ip, each.port) for each in only(slices).endpoints] == expected


def test_an_unnamed_service_port_matches_unnamed_slice_ports() -> None:
    ports = service_ports(
        service(ports=(ServicePort(port=80),)), (slice_(endpoint("10.244.0.1"), port_name=None),), 4, HERE
    )
    assert ips(ports[ServicePortName("default", "web", "", "TCP")].endpoints) == ["10.244.0.1"]


MIXED = slice_(
    endpoint("10.244.0.1"),
    endpoint("10.244.0.2", conditions=DRAINING),
    endpoint("10.244.1.1", node="node-2"),
    endpoint("10.244.1.2", node="node-2", conditions=NOT_READY),
)


@pytest.mark.parametrize(
    ("options", "endpoints", "cluster", "local"),
    [
        ({}, ["10.244.0.1", "10.244.1.1"], [], []),
        ({"internal_traffic_policy": "Local"}, ["10.244.0.1"], [], []),
        ({"type": "NodePort"}, ["10.244.0.1", "10.244.1.1"], ["10.244.0.1", "10.244.1.1"], []),
        (
            {"type": "NodePort", "external_traffic_policy": "Local"},
            ["10.244.0.1", "10.244.1.1"], ["10.244.0.1", "10.244.1.1"], ["10.244.0.1"],
        ),
        (
            {"type": "NodePort", "internal_traffic_policy": "Local"},
            ["10.244.0.1"], ["10.244.0.1", "10.244.1.1"], [],
        ),
    ],
    ids=["cluster IP only", "internal Local", "node port", "external Local", "internal Local with node port"],
)  # fmt: skip
def test_policies_choose_endpoints(
    options: dict[str, Any], endpoints: list[str], cluster: list[str], local: list[str]
) -> None:
    """Each kind of traffic gets the endpoints its policy allows, ready ones only."""
    port = only((MIXED,), **options)
    assert (ips(port.endpoints), ips(port.cluster_endpoints), ips(port.local_endpoints)) == (endpoints, cluster, local)


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([endpoint("10.244.0.1", zones=("zone-a",)), endpoint("10.244.0.2", zones=("zone-b",))], ["10.244.0.1"]),
        ([endpoint("10.244.0.1", zones=("zone-a",)), endpoint("10.244.0.2")], ["10.244.0.1", "10.244.0.2"]),
        ([endpoint("10.244.0.1", zones=("zone-b",))], ["10.244.0.1"]),
        (
            [
                endpoint("10.244.0.1", zones=("zone-a",)),
                endpoint("10.244.0.2", zones=("zone-b",)),
                endpoint("10.244.0.3", conditions=NOT_READY),
            ],
            ["10.244.0.1"],
        ),
        (
            [
                endpoint("10.244.0.1", zones=("zone-a",), nodes=("node-2",)),
                endpoint("10.244.0.2", zones=("zone-a",), nodes=("node-1",)),
            ],
            ["10.244.0.2"],
        ),
        (
            [
                endpoint("10.244.0.1", zones=("zone-a",), nodes=("node-3",)),
                endpoint("10.244.0.2", zones=("zone-b",), nodes=("node-2",)),
            ],
            ["10.244.0.1"],
        ),
        ([endpoint("10.244.0.1", conditions=DRAINING), endpoint("10.244.0.2", conditions=NOT_READY)], ["10.244.0.1"]),
    ],
    ids=[
        "our zone", "some without hints", "none for our zone", "hints of unready endpoints do not matter",
        "our node before our zone", "none for our node: our zone", "draining when nothing is ready",
    ],
)  # fmt: skip
def test_hints_and_readiness(endpoints: list[Any], expected: list[str]) -> None:
    """Hints narrow the choice only when they are complete and leave something."""
    assert ips(only((slice_(*endpoints),)).endpoints) == expected


def test_a_node_with_only_terminating_endpoints_serves_but_asks_load_balancers_to_drain_it() -> None:
    """localEndpoints of a healthCheckNodePort counts ready endpoints (KEP-1669); terminating ones serve on."""
    spec = service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=32000)
    draining = slice_(endpoint("10.244.0.1", conditions=DRAINING))
    (port,) = service_ports(spec, [draining], 4, NodeTopology("node-1")).values()
    assert [each.ip for each in port.local_endpoints] == ["10.244.0.1"]
    assert port.local_ready == 0
    (port,) = service_ports(spec, [slice_(endpoint("10.244.0.1"))], 4, NodeTopology("node-1")).values()
    assert port.local_ready == 1
