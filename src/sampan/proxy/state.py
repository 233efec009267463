"""The desired state of one node's proxy: service ports and their endpoints, as frozen data for one address family.

`service_ports` is pure: it turns a Service and its EndpointSlices into `ServicePort`s, each with the addresses it
claims, its traffic policies and the endpoints that this node may use. tracker.py calls it for changed Services,
frontends.py removes addresses that another Service has, and the backends turn the result into kernel objects.

Objects are parsed only here: afterwards addresses and ranges are canonical text, and names and numbers are valid.
Invalid values are left out; `unreadable` lists them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from sampan.api.core_v1 import Service
from sampan.api.core_v1 import ServicePort as APIServicePort
from sampan.proxy.addresses import canonical_ip, canonical_network
from sampan.proxy.endpoints import (
    MAX_PORT,
    Candidate,
    NodeTopology,
    TrafficPolicy,
    candidates,
    endpoint_address,
    select,
)
from sampan.proxy.objects import HEADLESS, IPVS_SCHEDULER, SERVICE_PROXY_NAME, Slice

IPV4, IPV6 = 4, 6
FAMILY_NAMES = {IPV4: "IPv4", IPV6: "IPv6"}
PROTOCOLS = ("TCP", "UDP", "SCTP")
MAX_AFFINITY_SECONDS = 86400
DEFAULT_AFFINITY_SECONDS = 10800
IPVS_SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf", "twos")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)


class ServicePortName(NamedTuple):
    """The key of a service port, as upstream's ServicePortName: `namespace/name:port`."""

    namespace: str
    name: str
    port: str
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f":{self.port}" if self.port else "")


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """An endpoint. `local` tells whether it is on this node; None if its node is unknown."""

    ip: str
    port: int
    local: bool | None = False


class ServicePort(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One port of one Service, in one address family, as this node sees it.

    `endpoints` serve the cluster IP, `cluster_endpoints` external addresses under the Cluster policy (and pods that use
    an external address), `local_endpoints` external addresses under the Local policy. `has_endpoints` tells whether any
    node has one: if none has, clients are rejected; if only a policy excludes all of them, clients are dropped.
    `local_ready` is the number of ready endpoints on this node: with a healthCheckNodePort, load balancers must drain a
    node that has only terminating ones. `serving` (UDP only) has all serving endpoints, also those that get no new
    flows: existing flows keep them.
    """

    protocol: str
    port: int
    node_port: int = 0
    cluster_ip: str = ""
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int = 0
    ipvs_scheduler: str = ""
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0
    has_endpoints: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    cluster_endpoints: tuple[Endpoint, ...] = ()
    local_endpoints: tuple[Endpoint, ...] = ()
    local_ready: int = 0
    serving: frozenset[tuple[str, int]] = frozenset()

    def all_endpoints(self) -> Iterator[Endpoint]:
        """Every endpoint that some client may be sent to; some may repeat."""
        yield from self.endpoints
        if self.cluster_endpoints is not self.endpoints:
            yield from self.cluster_endpoints
        yield from self.local_endpoints


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All service ports of one family, and the node's addresses that serve node ports.

    `service_cidrs` are the networks that cluster IPs are allocated from, if known.
    """

    family: int
    node_ips: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    ports: Mapping[ServicePortName, ServicePort] = {}


def service_ports(
    service: Service, slices: Iterable[Slice], family: int, topology: NodeTopology
) -> dict[ServicePortName, ServicePort]:
    """The service ports of one Service in one family.

    Headless and ExternalName Services have none, nor do those with the label service.kubernetes.io/service-proxy-name.
    """
    cluster_ip = _cluster_ip(service, family)
    if cluster_ip is None:
        return {}
    known = [each for each in slices if each.address_type == FAMILY_NAMES[family]]
    meta, found = service.metadata, {}
    if not (_NAME.fullmatch(meta.namespace) and _NAME.fullmatch(meta.name)):
        return {}
    for port in service.spec.ports:
        if not _port_problem(port):
            name = ServicePortName(meta.namespace, meta.name, port.name, port.protocol)
            found[name] = _service_port(
                service, port, cluster_ip, candidates(known, port.name, port.protocol), topology
            )
    return found


def unreadable(service: Service, slices: Iterable[Slice]) -> list[str]:
    """The invalid values of a Service and its EndpointSlices, which are left out, as text."""
    spec, found = service.spec, []
    if not (_NAME.fullmatch(service.metadata.namespace) and _NAME.fullmatch(service.metadata.name)):
        found.append("metadata.name: not a DNS name")
    problems = ((port, _port_problem(port)) for port in spec.ports)
    found += [f"spec.ports[{port.name!r}]: {problem}" for port, problem in problems if problem]
    texts = [("spec.externalIPs", ip) for ip in spec.external_ips]
    texts += [("spec.clusterIPs", ip) for ip in _given_cluster_ips(service) if ip != "None"]
    texts += [("status.loadBalancer.ingress[].ip", each.ip) for each in service.status.load_balancer.ingress if each.ip]
    found += [f"{field}: {text!r} is not an IP address" for field, text in texts if canonical_ip(text) is None]
    found += [
        f"spec.loadBalancerSourceRanges: {text!r} is not a CIDR range"
        for text in spec.load_balancer_source_ranges
        if canonical_network(text) is None
    ]
    if problem := _scheduler_problem(service):
        found.append(problem)
    for each in slices:
        if each.address_type in FAMILY_NAMES.values():
            found += [
                f"EndpointSlice {each.metadata.name}: {endpoint.addresses[0]!r} is not an {each.address_type} address"
                for endpoint in each.endpoints
                if endpoint.addresses and not endpoint_address(each, endpoint.addresses)
            ]
    return found


def _port_problem(port: APIServicePort) -> str:
    """Why a port of a Service cannot be served; empty if it can."""
    if port.protocol not in PROTOCOLS:
        return f"{port.protocol!r} is not a protocol"
    if port.name and not _NAME.fullmatch(port.name):
        return "not a DNS name"
    if not 0 < port.port <= MAX_PORT:
        return f"{port.port} is not a port"
    return "" if 0 <= port.node_port <= MAX_PORT else f"{port.node_port} is not a node port"


def _scheduler_problem(service: Service) -> str:
    text = service.metadata.annotations.get(IPVS_SCHEDULER, "")
    known = ", ".join(IPVS_SCHEDULERS)
    return (
        f"{IPVS_SCHEDULER}: {text!r} is no scheduler of IPVS: {known}" if text and text not in IPVS_SCHEDULERS else ""
    )


def _given_cluster_ips(service: Service) -> tuple[str, ...]:
    spec = service.spec
    return spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())


def _cluster_ip(service: Service, family: int) -> str | None:
    """The Service's cluster IP of this family; None if this proxy does not serve it."""
    if {SERVICE_PROXY_NAME, HEADLESS} & service.metadata.labels.keys() or service.spec.type == "ExternalName":
        return None
    return next(iter(_of_family(_given_cluster_ips(service), family)), None)


def _of_family(texts: Iterable[str], family: int) -> tuple[str, ...]:
    """The valid addresses of a family, without duplicates."""
    ips = (canonical_ip(text) for text in texts)
    return tuple(dict.fromkeys(ip for ip in ips if ip and is_family(ip, family)))


def _service_port(
    service: Service, port: APIServicePort, cluster_ip: str, found: list[Candidate], topology: NodeTopology
) -> ServicePort:
    spec = service.spec
    family = IPV6 if ":" in cluster_ip else IPV4
    exposed = spec.type in ("NodePort", "LoadBalancer") or bool(spec.external_ips)
    external_local = exposed and spec.external_traffic_policy == "Local"
    internal_local = spec.internal_traffic_policy == "Local"
    everywhere = _endpoints(found, TrafficPolicy.CLUSTER, topology)
    here = _endpoints(found, TrafficPolicy.LOCAL, topology) if internal_local or external_local else ()
    return ServicePort(
        protocol=port.protocol,
        port=port.port,
        node_port=port.node_port if spec.type in ("NodePort", "LoadBalancer") else 0,
        cluster_ip=cluster_ip,
        external_ips=_of_family(spec.external_ips, family),
        load_balancer_ips=_load_balancer_ips(service, family),
        source_ranges=_source_ranges(service, family),
        affinity_seconds=_affinity_seconds(service),
        ipvs_scheduler="" if _scheduler_problem(service) else service.metadata.annotations.get(IPVS_SCHEDULER, ""),
        internal_local=internal_local,
        external_local=external_local,
        health_check_node_port=_health_check_node_port(service) if external_local else 0,
        local_ready=len({each.ip for each in found if each.ready and each.node_name == topology.node_name})
        if external_local and _health_check_node_port(service)
        else 0,
        has_endpoints=bool(everywhere or here),
        endpoints=here if internal_local else everywhere,
        cluster_endpoints=everywhere if exposed else (),
        local_endpoints=here if external_local else (),
        serving=_serving(found) if port.protocol == "UDP" else frozenset(),
    )


def _health_check_node_port(service: Service) -> int:
    port = service.spec.health_check_node_port
    return port if 0 <= port <= MAX_PORT else 0


def _serving(found: list[Candidate]) -> frozenset[tuple[str, int]]:
    return frozenset((each.ip, each.port) for each in found if each.ready or each.serving)


def _endpoints(found: list[Candidate], policy: TrafficPolicy, topology: NodeTopology) -> tuple[Endpoint, ...]:
    me = topology.node_name
    return tuple(
        Endpoint(each.ip, each.port, each.node_name == me if each.node_name is not None else None)
        for each in select(found, policy, topology)
    )


def _load_balancer_ips(service: Service, family: int) -> tuple[str, ...]:
    if service.spec.type != "LoadBalancer":
        return ()
    ingress = service.status.load_balancer.ingress
    return _of_family((each.ip for each in ingress if each.ip and each.ip_mode != "Proxy"), family)


def _source_ranges(service: Service, family: int) -> tuple[str, ...]:
    """loadBalancerSourceRanges of this family. If ranges are given but none is valid here, no client is admitted."""
    if service.spec.type != "LoadBalancer":
        return ()
    given = service.spec.load_balancer_source_ranges
    ranges = (canonical_network(each) for each in given)
    mine = tuple(dict.fromkeys(each for each in ranges if each and is_family(each, family)))
    return mine or (("255.255.255.255/32",) if given and family == IPV4 else ("::/128",) if given else ())


def _affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else DEFAULT_AFFINITY_SECONDS
    return seconds if 0 < seconds <= MAX_AFFINITY_SECONDS else DEFAULT_AFFINITY_SECONDS


def is_family(ip: str, family: int) -> bool:
    return (":" in ip) == (family == IPV6)
