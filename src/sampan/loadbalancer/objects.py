"""The fields of Services, Nodes and EndpointSlices that load balancing reads, and a Service's allocation request."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import field

from sampan.api.core_v1 import LoadBalancerStatus, ServicePort, Taint
from sampan.api.discovery_v1 import EndpointConditions
from sampan.api.meta_v1 import APIObject, Condition, Struct
from sampan.loadbalancer.allocation import Request
from sampan.loadbalancer.pools import parse_address, quoted

DEFAULT_CLASS = "sampan.dev/loadbalancer"
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
SERVICE_NAME = "kubernetes.io/service-name"
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
TAINT_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"

PREFIXES = ("metallb.io", "metallb.universe.tf")
"""Prefixes of MetalLB's annotations: the current one and the old one."""
FROM_POOL = f"{PREFIXES[0]}/ip-allocated-from-pool"
_FAMILIES = {"IPv4": 4, "IPv6": 6}


class ServiceSpec(Struct, frozen=True):
    type: str = "ClusterIP"
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    external_traffic_policy: str = ""
    load_balancer_ip: str = field(default="", name="loadBalancerIP")
    load_balancer_class: str | None = None
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""


class ServiceStatus(Struct, frozen=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(APIObject, frozen=True):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The IPs in its status.loadBalancer.ingress."""
        return tuple(one.ip for one in self.status.load_balancer.ingress if one.ip)

    def is_of_class(self, name: str) -> bool:
        """Whether its type is LoadBalancer and its loadBalancerClass is this one or unset."""
        return self.spec.type == "LoadBalancer" and self.spec.load_balancer_class in (None, name)


class NodeSpec(Struct, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeStatus(Struct, frozen=True):
    conditions: tuple[Condition, ...] = ()


class Node(APIObject, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class SliceEndpoint(Struct, frozen=True):
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None


class Slice(APIObject, frozen=True):
    """An EndpointSlice."""

    endpoints: tuple[SliceEndpoint, ...] = ()


def annotation(service: Service, name: str) -> str:
    """The value of a MetalLB annotation under either prefix; empty if it is not set."""
    given = service.metadata.annotations
    return next((given[f"{prefix}/{name}"] for prefix in PREFIXES if f"{prefix}/{name}" in given), "").strip()


def allocation_request(service: Service, held: tuple[str, ...]) -> Request:
    """What a Service requests. If the request contradicts itself, `problem` says how."""
    meta, spec = service.metadata, service.spec
    families = tuple(_FAMILIES[name] for name in spec.ip_families if name in _FAMILIES) or (4,)
    requested, problem = _requested(service, families)
    local = spec.external_traffic_policy == "Local"
    return Request(
        key=meta.key,
        uid=meta.uid,
        created=meta.creation_timestamp or "",
        namespace=meta.namespace,
        labels=meta.labels,
        families=families,
        needs_all=spec.ip_family_policy != "PreferDualStack",
        requested=requested,
        pool=annotation(service, "address-pool"),
        sharing_key=annotation(service, "allow-shared-ip"),
        ports=frozenset((port.protocol, port.port) for port in spec.ports),
        backend=f"{meta.namespace} {sorted(spec.selector.items())}" if local else "",
        held=held,
        in_status=canonical(service.addresses),
        is_terminating=meta.deletion_timestamp is not None,
        problem=problem,
    )


def canonical(addresses: Iterable[str]) -> tuple[str, ...]:
    """The valid addresses among these texts, in canonical form, which `allocate` compares."""
    return tuple(str(parsed) for parsed in map(parse_address, addresses) if parsed)


def _requested(service: Service, families: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """The specific addresses requested, in canonical form, and what is wrong with them."""
    named, listed = service.spec.load_balancer_ip, annotation(service, "loadBalancerIPs")
    if named and listed:
        return (), "spec.loadBalancerIP and the annotation loadBalancerIPs are both set"
    requested: list[str] = []
    seen: set[int] = set()
    for text in filter(None, (part.strip() for part in (named or listed).split(","))):
        address = parse_address(text)
        if address is None:
            return (), f"invalid loadBalancerIPs {quoted(text)}"
        if address.version in seen:
            return (), f"more than one IPv{address.version} address is requested"
        if address.version not in families:
            return (), f'requested IP "{address}" does not match the ipFamilies of the service'
        seen.add(address.version)
        requested.append(str(address))
    return tuple(requested), ""
