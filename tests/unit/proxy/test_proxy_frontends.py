"""Which Service has a contested address, and how addresses that API servers of old admitted are read."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.core_v1 import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus
from sampan.api.discovery_v1 import EndpointPort
from sampan.api.meta_v1 import ObjectMeta
from sampan.proxy.addresses import canonical_ip, canonical_network
from sampan.proxy.frontends import frontends
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from sampan.proxy.state import ServicePortName, State
from sampan.proxy.tracker import Tracker

NODE_IP, API_SERVER = "10.2.2.10", "10.2.2.1"
HTTP = ServicePort(name="http", port=80)


def service(
    namespace: str, name: str, cluster_ip: str, *, created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> Service:
    ingress = tuple(LoadBalancerIngress(ip=ip) for ip in spec.pop("load_balancer_ips", ()))
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace, creation_timestamp=created, uid=f"{namespace}-{name}"),
        spec=ServiceSpec(cluster_ip=cluster_ip, **{"ports": (HTTP,), **spec}),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def tracker(*services: Service) -> Tracker:
    tracking = Tracker("node-1", (4,), (NODE_IP,))
    for each in services:
        tracking.service_changed(None, each)
    return tracking


def state(tracking: Tracker) -> State:
    return tracking.take()[4].state


def owner(of: State, ip: str, port: int = 80) -> str | None:
    """The Service that a state serves at an address."""
    found = {
        f"{name.namespace}/{name.name}"
        for name, each in of.ports.items()
        for frontend, _ in frontends(each)
        if (frontend.ip, frontend.port) == (ip, port)
    }
    assert len(found) <= 1
    return next(iter(found), None)


WEB = service("default", "web", "10.96.0.1")
OLD, NEW = "2025-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


@pytest.mark.parametrize("namespace", ["aaa", "zzz"])
@pytest.mark.parametrize("created", [OLD, NEW])
@pytest.mark.parametrize(
    "claim",
    [{"external_ips": ("10.96.0.1",)}, {"type": "LoadBalancer", "load_balancer_ips": ("10.96.0.1",)}],
    ids=["external IP", "load balancer IP"],
)
def test_no_spelling_of_a_namespace_and_no_age_takes_anothers_cluster_ip(
    namespace: str, created: str, claim: dict[str, Any]
) -> None:
    found = state(tracker(service(namespace, "x", "10.96.0.66", created=created, **claim), WEB))
    assert owner(found, "10.96.0.1") == "default/web"
    assert owner(found, "10.96.0.66") == f"{namespace}/x"


def test_a_cluster_ip_is_no_external_ip_of_another_port_either() -> None:
    tracking = tracker(service("aaa", "x", "10.96.0.66", external_ips=("10.96.0.1",), ports=(replace_port(8080),)), WEB)
    assert owner(state(tracking), "10.96.0.1", 8080) is None


def replace_port(number: int) -> ServicePort:
    return ServicePort(name="http", port=number)


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ({"type": "LoadBalancer", "load_balancer_ips": ("192.0.2.1",)}, {"external_ips": ("192.0.2.1",)}, "first"),
        ({"external_ips": ("192.0.2.1",)}, {"type": "LoadBalancer", "load_balancer_ips": ("192.0.2.1",)}, "second"),
        ({"external_ips": ("192.0.2.1",), "created": NEW}, {"external_ips": ("192.0.2.1",), "created": OLD}, "second"),
        ({"external_ips": ("192.0.2.1",)}, {"external_ips": ("192.0.2.1",)}, "first"),
    ],
    ids=["load balancer before external", "external behind load balancer", "the older", "the first by name"],
)
def test_rank_of_claims(first: dict[str, Any], second: dict[str, Any], winner: str) -> None:
    tracking = tracker(service("a", "first", "10.96.0.2", **first), service("b", "second", "10.96.0.3", **second))
    found = owner(state(tracking), "192.0.2.1")
    assert found is not None
    assert found.endswith(winner)


def test_of_two_services_with_one_node_port_the_older_has_it() -> None:
    port = ServicePort(name="http", port=80, node_port=30080)
    young = service("a", "young", "10.96.0.2", created=NEW, type="NodePort", ports=(port,))
    old = service("b", "old", "10.96.0.3", created=OLD, type="NodePort", ports=(port,))
    found = state(tracker(young, old))
    assert {name.name: each.node_port for name, each in found.ports.items()} == {"young": 0, "old": 30080}


@pytest.mark.parametrize("ip", [NODE_IP, API_SERVER])
def test_an_external_ip_of_the_node_or_the_api_server_is_not_served(ip: str) -> None:
    tracking = tracker(service("a", "x", "10.96.0.2", external_ips=(ip,)))
    tracking.slice_changed(None, kubernetes_slice())
    assert owner(state(tracking), ip) is None
    assert "is not served" in tracking.take_problems()["a", "x"][0]


def kubernetes_slice() -> Slice:
    return Slice(
        metadata=ObjectMeta(name="kubernetes", namespace="default", labels={SERVICE_NAME: "kubernetes"}),
        address_type="IPv4",
        ports=(EndpointPort(name="https", port=6443),),
        endpoints=(SliceEndpoint(addresses=(API_SERVER,)),),
    )


def test_the_next_in_rank_takes_over_and_the_loser_is_told() -> None:
    old = service("b", "old", "10.96.0.3", created=OLD, external_ips=("192.0.2.1",))
    tracking = tracker(service("a", "young", "10.96.0.2", created=NEW, external_ips=("192.0.2.1",)), old)
    assert owner(state(tracking), "192.0.2.1") == "b/old"
    assert tracking.take_problems() == {
        ("a", "young"): ("external IP 192.0.2.1:80/TCP is not served: it is the external IP of b/old:http",)
    }
    tracking.service_changed(old, None)
    assert owner(state(tracking), "192.0.2.1") == "a/young"
    assert tracking.take_problems() == {("a", "young"): ()}


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_every_frontend_is_served_once_and_the_order_of_events_does_not_matter(
    seed: int, claims: list[tuple[int, int, int]]
) -> None:
    services = {
        name: service(
            "n",
            f"s{name}",
            f"10.96.0.{name}",
            created=(OLD, NEW)[name % 2],
            type="LoadBalancer",
            external_ips=(f"192.0.2.{external}", f"10.96.0.{external}"),
            load_balancer_ips=(f"192.0.2.{balancer}",),
        )
        for name, external, balancer in claims
    }
    one, other = tracker(), tracker()
    for each in services.values():
        one.service_changed(None, each)
        one.take()
    shuffled = list(services.values())
    random.Random(seed).shuffle(shuffled)
    for each in shuffled:
        other.service_changed(None, each)
    found = state(one)
    assert dict(found.ports) == dict(state(other).ports)
    served = [frontend for port in found.ports.values() for frontend, _ in frontends(port)]
    assert len(served) == len(set(served))
    assert {owner(found, f"10.96.0.{name}") for name in services} == {f"n/s{name}" for name in services}


# --- values that cannot be read


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("010.000.0.01", "10.0.0.1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("FD00:0:0::1", "fd00::1"),
        ("fe80::1%eth0", None),
        ("256.1.1.1", None),
        ("1.2.3", None),
        ("0x10.1.1.1", None),
        ("1.2.3.4\n", None),
        ("", None),
        ("9" * 100_000 + ".1.1.1", None),
        ("१.1.1.1", None),
    ],
)  # fmt: skip
def test_addresses(text: str, ip: str | None) -> None:
    assert canonical_ip(text) == ip


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("010.0.0.0/8", "10.0.0.0/8"),
        (" 10.1.2.3/8 ", "10.0.0.0/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("fd00::1/8", "fd00::/8"),
        ("10.0.0.0/33", None),
        ("10.0.0.1", None),
        ("10.0.0.0/-1", None),
        ("10.0.0.0/8/8", None),
        ("::ffff:10.0.0.0/8", None),
        ("/", None),
    ],
)
def test_networks(text: str, network: str | None) -> None:
    assert canonical_network(text) == network


BAD: dict[str, Service] = {
    "external IP": service("t", "bad", "10.96.0.9", external_ips=("300.1.1.1", "192.0.2.9")),
    "source range": service(
        "t", "bad", "10.96.0.9", type="LoadBalancer", load_balancer_source_ranges=("x", "10.0.0.0/8")
    ),
    "load balancer IP": service("t", "bad", "10.96.0.9", type="LoadBalancer", load_balancer_ips=("a.b",)),
    "cluster IP": service("t", "bad", "10.96.0.x"),
    "port": service("t", "bad", "10.96.0.9", ports=(ServicePort(name="http", port=70000),)),
    "node port": service("t", "bad", "10.96.0.9", type="NodePort", ports=(ServicePort(port=80, node_port=-1),)),
    "protocol": service("t", "bad", "10.96.0.9", ports=(ServicePort(port=80, protocol="tcp"),)),
    "port name": service("t", "bad", "10.96.0.9", ports=(ServicePort(name='x" -j ACCEPT\n', port=80),)),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_is_left_out_told_and_harms_no_other_service(what: str) -> None:
    tracking = tracker(BAD[what], WEB)
    found = state(tracking)
    assert owner(found, "10.96.0.1") == "default/web"
    assert tracking.take_problems().keys() == {("t", "bad")}


def test_an_unreadable_endpoint_is_left_out() -> None:
    tracking = tracker(WEB)
    bad = Slice(
        metadata=ObjectMeta(name="web-1", namespace="default", labels={SERVICE_NAME: "web"}),
        address_type="IPv4",
        ports=(EndpointPort(name="http", port=8080),),
        endpoints=tuple(SliceEndpoint(addresses=(ip,)) for ip in ("010.244.0.1", "10.244.0.x", "fd00::1")),
    )
    tracking.slice_changed(None, bad)
    found = state(tracking).ports[ServicePortName("default", "web", "http")]
    assert [each.ip for each in found.endpoints] == ["10.244.0.1"]
    assert len(tracking.take_problems()["default", "web"]) == 2


def test_a_bug_in_one_service_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from sampan.proxy import tracker as module

    real = module.service_ports

    def failing(service: Service, *rest: Any) -> Any:
        if service.metadata.name == "bad":
            raise RuntimeError("a bug")
        return real(service, *rest)

    monkeypatch.setattr(module, "service_ports", failing)
    assert owner(state(tracker(service("t", "bad", "10.96.0.9"), WEB)), "10.96.0.1") == "default/web"
