"""Why a name was not found: a slip of the pen, another namespace, no pods, a resolver that cannot know it."""

import pytest

from sampan.api.meta_v1 import ObjectMeta
from sampan.dns import hints, wire
from sampan.dns.cluster import Cluster
from sampan.dns.objects import Conditions, Endpoint, EndpointSlice, Namespace, Port, Service, ServiceSpec
from sampan.dns.walk import Resolver

DNS = "10.96.0.10"
POD = Resolver((DNS,), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)


def service(name: str, namespace: str = "shop", ip: str = "10.96.0.7", **spec: object) -> Service:
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(cluster_ip=ip, **spec))


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    for name in ("default", "shop", "staging"):
        made.set_namespace(None, Namespace(metadata=ObjectMeta(name=name)))
    for one in (
        service("payments", "default"),
        service("web", ports=(Port(name="http", protocol="TCP", port=80), Port(port=81))),
        service("plain", ports=(Port(port=80),)),
        service("peers", ip="None"),
        service("full", ip="None"),
        service("out", ip="", external_name="www.example.org"),
    ):
        made.set_service(None, one)
    ready = Endpoint(addresses=("10.244.0.5",), conditions=Conditions(ready=True))
    labels = {"kubernetes.io/service-name": "full"}
    made.set_slice(
        None, EndpointSlice(metadata=ObjectMeta(name="full-1", namespace="shop", labels=labels), endpoints=(ready,))
    )
    return made


def told(cluster: Cluster, name: str, kind: int = wire.A, resolver: Resolver = POD) -> str:
    return hints.hint(hints.Asked(name, kind, resolver, "default", "cluster.local", (DNS,)), cluster)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("payment", "There is no Service payment in namespace default; is it payments?"),
        ("webb.shop", "There is no Service webb in namespace shop; is it web?"),
        ("WEBB.shop.svc.cluster.local.", "There is no Service webb in namespace shop; is it web?"),
        ("web", "There is no Service web in namespace default, but in shop: ask for web.shop."),
        ("payments.shop", "There is no Service payments in namespace shop, but in default: ask for payments.default."),
        ("web.shopp", "There is no namespace shopp; is it web.shop?"),
        ("nix.shopp", "There is no namespace shopp; is it shop?"),
        ("web.production", "There is no namespace production; a Service web is in shop: ask for web.shop."),
        ("nix.production.svc", "There is no namespace production."),
        ("zzz", "There is no Service zzz in namespace default."),
        ("zzz.shop", "There is no Service zzz in namespace shop."),
        ("peers.shop", "Service shop/peers is headless and has no ready pod; "
         "its name stands for its ready pods' addresses."),
        ("db-0.full.shop", "Service shop/full has no ready pod whose hostname is db-0."),
        ("out.shop", "Service shop/out is an alias for www.example.org, for which nothing was found."),
        ("_https._tcp.web.shop", "Service shop/web has such records for _http._tcp; only named ports have them."),
        ("_http._tcp.plain.shop", "Service shop/plain has no such records; only named ports have them."),
        ("example.org", "It is no name of the cluster; what is outside was asked of the node's resolver."),
        ("9.0.96.10.in-addr.arpa.", "No Service has this address, and no ready endpoint of one."),
        (".", ""),
    ],
)  # fmt: skip
def test_the_likely_reason_is_told(cluster: Cluster, name: str, hint: str) -> None:
    assert told(cluster, name) == hint


def test_a_family_that_a_service_has_no_address_of_is_told(cluster: Cluster) -> None:
    assert told(cluster, "web.shop", wire.AAAA) == "Service shop/web has no IPv6 address."


def test_a_resolver_that_cannot_know_the_cluster_is_the_reason(cluster: Cluster) -> None:
    node = Resolver(("10.2.2.1",))
    assert told(cluster, "web.shop", resolver=node).startswith("The cluster's DNS at 10.96.0.10 was not asked")
    assert "dnsPolicy ClusterFirst" in told(cluster, "nix.shop.svc.cluster.local", resolver=node)
    assert told(cluster, "example.org", resolver=node) == ""


def test_a_resolver_without_the_search_path_needs_the_full_name(cluster: Cluster) -> None:
    bare = Resolver((DNS,))
    assert told(cluster, "web.shop", resolver=bare).endswith("ask for web.shop.svc.cluster.local.")
