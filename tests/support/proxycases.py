"""The table of packet flows that every proxy mode must show: who asks, what for, and what comes of it."""

from dataclasses import dataclass, field
from typing import Any

from sampan.api.core_v1 import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus
from sampan.api.discovery_v1 import EndpointConditions, EndpointHints, EndpointPort, ForZone
from sampan.api.meta_v1 import ObjectMeta
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from support.proxyworld import ADDRESSES, NODE, PORT

CLUSTER_IP = {4: "10.96.0.50", 6: "fd00:96::50"}
EXTERNAL_IP = {4: "198.51.100.7", 6: "2001:db8:1::7"}
LOAD_BALANCER_IP = {4: "203.0.113.9", 6: "2001:db8:2::9"}
NODE_PORT = 30080

READY = EndpointConditions(ready=True, serving=True, terminating=False)
NOT_READY = EndpointConditions(ready=False, serving=False, terminating=False)
DRAINING = EndpointConditions(ready=False, serving=True, terminating=True)
GONE = EndpointConditions(ready=False, serving=False, terminating=True)

REFUSED = "refused"
DROPPED = "dropped"
KEPT = "kept"
MASQUERADED = "masqueraded"

LOCAL = ("local-1", "local-2")
EVERYWHERE = ("local-1", "local-2", "remote")
HERE = "node-1"
ZONE = "zone-a"


@dataclass(frozen=True)
class Case:
    """One flow. `endpoints` maps names to conditions; `hints` maps names to zones or `node/NAME`."""

    name: str
    client: str
    destination: str
    expect: tuple[str, ...] | str = EVERYWHERE
    source: str = ""
    endpoints: tuple[str, ...] = EVERYWHERE
    conditions: dict[str, EndpointConditions] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    protocol: str = "TCP"
    families: tuple[int, ...] = (4, 6)
    not_in: dict[str, str] = field(default_factory=dict)
    """Modes that cannot have this flow, and why."""


def service(case: Case, family: int) -> Service:
    """The Service that the case is about: it has every kind of address."""
    spec: dict[str, Any] = {
        "type": "LoadBalancer",
        "cluster_ip": CLUSTER_IP[family],
        "external_ips": (EXTERNAL_IP[family],),
        "ports": (ServicePort(name="web", protocol=case.protocol, port=80, node_port=NODE_PORT),),
        **case.spec,
    }
    mode = spec.pop("ip_mode", None)
    ingress = (LoadBalancerIngress(ip=LOAD_BALANCER_IP[family], ip_mode=mode),)
    return Service(
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=ServiceSpec(**spec),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def slice_(case: Case, family: int) -> Slice:
    """Its EndpointSlice."""
    return Slice(
        metadata=ObjectMeta(name="web-1", namespace="default", labels={SERVICE_NAME: "web"}),
        address_type=f"IPv{family}",
        ports=(EndpointPort(name="web", protocol=case.protocol, port=PORT),),
        endpoints=tuple(
            SliceEndpoint(
                addresses=(ADDRESSES[who][family],),
                conditions=case.conditions.get(who, READY),
                node_name="node-2" if who == "remote" else HERE,
                hints=_hints(case.hints.get(who)),
            )
            for who in case.endpoints
        ),
    )


def _hints(hint: str | None) -> EndpointHints | None:
    if hint is None:
        return None
    if hint.startswith("node/"):
        return EndpointHints(for_nodes=(ForZone(name=hint[5:]),))
    return EndpointHints(for_zones=(ForZone(name=hint),))


def address(case: Case, family: int) -> tuple[str, int]:
    return {
        "cluster-ip": (CLUSTER_IP[family], 80),
        "closed-port": (CLUSTER_IP[family], 81),
        "external-ip": (EXTERNAL_IP[family], 80),
        "load-balancer": (LOAD_BALANCER_IP[family], 80),
        "node-port": (NODE[family], NODE_PORT),
    }[case.destination]


ETP_LOCAL = {"external_traffic_policy": "Local"}
NO_OTHER_PORTS = {
    "iptables": "as upstream's, it has rules for known ports only; other packets leave the node as they are"
}
NO_RELAY = {"userspace": "it relays TCP and UDP only, as upstream's did"}
SOURCE_LOST = {"userspace": "it makes a connection of its own to the endpoint, which therefore sees the node"}
"""Modes in which no endpoint ever sees its client's address, and why. Who answers is the same as in the others."""

ONE_FOR_ALL = {"ipvs": "as upstream's: a virtual server cannot tell clients apart, and sends pods where outsiders go"}
ITP_LOCAL = {"internal_traffic_policy": "Local"}

CASES = (
    Case("a pod reaches all endpoints by cluster IP, and its address is kept", "pod", "cluster-ip", source=KEPT),
    Case("UDP is spread the same way", "pod", "cluster-ip", source=KEPT, protocol="UDP"),
    Case("SCTP is spread the same way", "pod", "cluster-ip", source=KEPT, protocol="SCTP",
         not_in=NO_RELAY),
    Case("the node itself reaches pods by cluster IP", "node", "cluster-ip"),
    Case("the node itself reaches pods by UDP", "node", "cluster-ip", protocol="UDP"),
    Case("an outsider's address is replaced on the way to a cluster IP", "outside", "cluster-ip", source=MASQUERADED),
    Case("a pod reaches itself through its Service", "local-1", "cluster-ip", expect=("local-1",), source=MASQUERADED,
         endpoints=("local-1",)),
    Case("an endpoint is one among all for itself", "local-1", "cluster-ip"),
    Case("a cluster IP refuses other ports", "pod", "closed-port", expect=REFUSED, not_in=NO_OTHER_PORTS),
    Case("a cluster IP refuses other ports to the node", "node", "closed-port", expect=REFUSED, not_in=NO_OTHER_PORTS),
    Case("without endpoints a cluster IP refuses pods", "pod", "cluster-ip", expect=REFUSED, endpoints=()),
    Case("without endpoints a cluster IP refuses UDP", "pod", "cluster-ip", expect=REFUSED, endpoints=(),
         protocol="UDP"),
    Case("without endpoints a cluster IP refuses the node", "node", "cluster-ip", expect=REFUSED, endpoints=()),
    Case("without endpoints a node port refuses outsiders", "outside", "node-port", expect=REFUSED, endpoints=()),
    Case("without endpoints an external IP refuses outsiders", "outside", "external-ip", expect=REFUSED, endpoints=()),
    Case("a node port serves outsiders from all nodes' endpoints, with the address replaced", "outside", "node-port",
         source=MASQUERADED),
    Case("a node port serves UDP", "outside", "node-port", source=MASQUERADED, protocol="UDP"),
    Case("a node port serves pods", "pod", "node-port", source=MASQUERADED),
    Case("a node port serves the node itself", "node", "node-port"),
    Case("an external IP serves outsiders", "outside", "external-ip", source=MASQUERADED),
    Case("an external IP serves pods", "pod", "external-ip", source=MASQUERADED),
    Case("a load balancer's address serves outsiders", "outside", "load-balancer", source=MASQUERADED),
    Case("a load balancer's address serves pods", "pod", "load-balancer"),
    Case("a load balancer's address serves the node", "node", "load-balancer"),
    # externalTrafficPolicy: Local
    Case("Local keeps the client's address and to this node", "outside", "node-port", LOCAL, KEPT, spec=ETP_LOCAL),
    Case("Local holds for load balancers", "outside", "load-balancer", LOCAL, KEPT, spec=ETP_LOCAL),
    Case("Local holds for external IPs", "outside", "external-ip", LOCAL, KEPT, spec=ETP_LOCAL),
    Case("Local drops outsiders where no endpoint is here", "outside", "node-port", DROPPED, endpoints=("remote",),
         spec=ETP_LOCAL),
    Case("Local refuses outsiders where no endpoint is anywhere", "outside", "node-port", REFUSED, endpoints=(),
         spec=ETP_LOCAL),
    Case("Local does not bind pods", "pod", "load-balancer", source=KEPT, spec=ETP_LOCAL, not_in=ONE_FOR_ALL),
    Case("Local does not bind pods without a local endpoint", "pod", "node-port", ("remote",), endpoints=("remote",),
         spec=ETP_LOCAL),
    Case("Local does not bind the node", "node", "node-port", ("remote",), endpoints=("remote",), spec=ETP_LOCAL),
    Case("external Local leaves the cluster IP alone", "pod", "cluster-ip", source=KEPT, spec=ETP_LOCAL),
    Case("Local falls back to draining endpoints here", "outside", "node-port", ("local-1",), KEPT, spec=ETP_LOCAL,
         endpoints=("local-1", "remote"), conditions={"local-1": DRAINING}),
    # internalTrafficPolicy: Local
    Case("internal Local keeps pods on their node", "pod", "cluster-ip", LOCAL, KEPT, spec=ITP_LOCAL),
    Case("internal Local drops where no endpoint is here", "pod", "cluster-ip", DROPPED, endpoints=("remote",),
         spec=ITP_LOCAL),
    Case("internal Local refuses where no endpoint is anywhere", "pod", "cluster-ip", REFUSED, endpoints=(),
         spec=ITP_LOCAL),
    Case("internal Local leaves node ports alone", "outside", "node-port", spec=ITP_LOCAL),
    # readiness
    Case("only ready endpoints serve", "pod", "cluster-ip", ("local-2",),
         conditions={"local-1": NOT_READY, "remote": NOT_READY}),
    Case("draining endpoints are avoided", "pod", "cluster-ip", ("local-2", "remote"),
         conditions={"local-1": DRAINING}),
    Case("draining endpoints serve when nothing else is left", "pod", "cluster-ip", ("local-1",),
         conditions={"local-1": DRAINING, "local-2": GONE, "remote": NOT_READY}),
    # topology
    Case("zone hints keep traffic in the zone", "pod", "cluster-ip", ("local-1",),
         hints={"local-1": ZONE, "local-2": "zone-b", "remote": "zone-b"}),
    Case("zone hints count only if all endpoints have them", "pod", "cluster-ip", hints={"local-1": ZONE}),
    Case("zone hints for other zones are ignored", "pod", "cluster-ip", hints=dict.fromkeys(EVERYWHERE, "zone-b")),
    Case("node hints keep traffic on the node", "pod", "cluster-ip", ("local-2",),
         hints={"local-1": "node/node-2", "local-2": f"node/{HERE}", "remote": "node/node-2"}),
    # who may use a load balancer
    Case("source ranges admit those inside", "outside", "load-balancer",
         spec={"load_balancer_source_ranges": ("10.2.2.0/24", "10.2.2.100/32", "fd00:2::/64")}),
    Case("source ranges drop those outside", "outside", "load-balancer", DROPPED,
         spec={"load_balancer_source_ranges": ("192.0.2.0/24", "2001:db8:9::/64")}),
    Case("source ranges of the other family admit nobody", "outside", "load-balancer", DROPPED,
         spec={"load_balancer_source_ranges": ("fd00:2::/64",)}, families=(4,)),
    Case("source ranges do not concern node ports", "outside", "node-port",
         spec={"load_balancer_source_ranges": ("192.0.2.0/24", "2001:db8:9::/64")}),
    Case("source ranges hold with Local, too", "outside", "load-balancer", LOCAL, KEPT,
         spec={"load_balancer_source_ranges": ("10.2.2.0/24", "fd00:2::/64"), **ETP_LOCAL}),
)  # fmt: skip
