"""Services and EndpointSlices for the proxy's tests, as tables and as hypothesis strategies."""

from typing import Any

from hypothesis import strategies as st

from sampan.api.core_v1 import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus
from sampan.api.discovery_v1 import EndpointConditions, EndpointHints, EndpointPort, ForZone
from sampan.api.meta_v1 import ObjectMeta
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from sampan.proxy.tracker import Tracker

READY = EndpointConditions(ready=True, serving=True, terminating=False)
NOT_READY = EndpointConditions(ready=False, serving=False, terminating=False)
DRAINING = EndpointConditions(ready=False, serving=True, terminating=True)
CONDITIONS = (READY, NOT_READY, DRAINING, EndpointConditions())


def service(
    name: str = "web", labels: dict[str, str] | None = None, ingress: tuple[Any, ...] = (), **spec: Any
) -> Service:
    spec.setdefault("cluster_ip", "10.96.0.1")
    spec.setdefault("ports", (ServicePort(name="http", port=80, node_port=30080),))
    return Service(
        metadata=ObjectMeta(name=name, namespace="default", labels=labels or {}),
        spec=ServiceSpec(**spec),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def endpoint(
    ip: str,
    node: str | None = "node-1",
    conditions: EndpointConditions = READY,
    zones: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
) -> SliceEndpoint:
    hints = None
    if zones or nodes:
        hints = EndpointHints(
            for_zones=tuple(ForZone(name=zone) for zone in zones), for_nodes=tuple(ForZone(name=each) for each in nodes)
        )
    return SliceEndpoint(addresses=(ip,), conditions=conditions, node_name=node, hints=hints)


def slice_(
    *endpoints: SliceEndpoint,
    service: str = "web",
    name: str = "web-1",
    family: int = 4,
    port: int | None = 8080,
    port_name: str | None = "http",
    protocol: str | None = "TCP",
) -> Slice:
    return Slice(
        metadata=ObjectMeta(name=name, namespace="default", labels={SERVICE_NAME: service}),
        address_type=f"IPv{family}",
        ports=(EndpointPort(name=port_name, port=port, protocol=protocol),),
        endpoints=endpoints,
    )


NAMES = ("a", "b", "c")


@st.composite
def services(draw: st.DrawFn) -> Service:
    index = draw(st.integers(0, len(NAMES) - 1))
    ports = draw(
        st.lists(
            st.builds(
                ServicePort,
                name=st.sampled_from(["http", "dns"]),
                protocol=st.sampled_from(["TCP", "UDP"]),
                port=st.integers(80, 82),
                node_port=st.integers(30000, 30003),
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda port: (port.name, port.protocol),
        )
    )
    ip = f"10.96.0.{index + 1}"
    return service(
        NAMES[index],
        ingress=draw(st.sampled_from([(), (LoadBalancerIngress(ip="203.0.113.1"),)])),
        type=draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])),
        cluster_ip=draw(st.sampled_from([ip, "None"])),
        cluster_ips=draw(st.sampled_from([(), (ip,), (ip, f"fd00::{index + 1}")])),
        ports=tuple(ports),
        external_ips=draw(st.sampled_from([(), ("198.51.100.1",), ("198.51.100.1", "2001:db8::1")])),
        session_affinity=draw(st.sampled_from(["None", "ClientIP"])),
        external_traffic_policy=draw(st.sampled_from(["Cluster", "Local"])),
        internal_traffic_policy=draw(st.sampled_from(["Cluster", "Local"])),
        load_balancer_source_ranges=draw(st.sampled_from([(), ("10.0.0.0/8", "10.1.0.0/16"), ("fd00::/8",)])),
    )


@st.composite
def slices(draw: st.DrawFn) -> Slice:
    family = draw(st.sampled_from([4, 6]))
    base = "10.244.0." if family == 4 else "fd00:244::"
    endpoints = draw(
        st.lists(
            st.builds(
                endpoint,
                ip=st.integers(1, 6).map(lambda number: f"{base}{number}"),
                node=st.sampled_from(["node-1", "node-2", None]),
                conditions=st.sampled_from(CONDITIONS),
                zones=st.sampled_from([(), ("zone-a",)]),
            ),
            max_size=5,
        )
    )
    return slice_(
        *endpoints,
        service=draw(st.sampled_from(NAMES)),
        name=draw(st.sampled_from(["one", "two", "three"])),
        family=family,
        port=draw(st.sampled_from([8080, 9090, None])),
        port_name=draw(st.sampled_from(["http", "dns", None])),
        protocol=draw(st.sampled_from(["TCP", "UDP", None])),
    )


def tracker() -> Tracker:
    return Tracker("node-1", (4, 6), ("10.2.2.10", "fd00:2::10"))


Event = tuple[str, Any]
EVENTS = st.lists(
    st.one_of(st.tuples(st.just("service"), services()), st.tuples(st.just("slice"), slices())), max_size=15
)


def feed(tracking: Tracker, known: dict[tuple[str, str], Any], event: Event) -> None:
    kind, item = event
    key = (kind, item.metadata.name)
    old = known.get(key)
    known[key] = item
    (tracking.service_changed if kind == "service" else tracking.slice_changed)(old, item)
