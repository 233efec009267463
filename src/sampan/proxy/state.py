"""What one node must do about Services, as plain frozen data for one address family.

`service_ports` decides: it turns a Service and its EndpointSlices into `ServicePort`s, each with the addresses it is
reached by, its policies and the endpoints that this node may use, already filtered. It is pure. tracker.py calls it for
what changed; the backends turn the result into kernel objects.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from sampan.api.core_v1 import Service
from sampan.api.core_v1 import ServicePort as APIServicePort
from sampan.proxy.endpoints import Candidate, Reach, Where, candidates, select
from sampan.proxy.objects import HEADLESS, IPVS_SCHEDULER, SERVICE_PROXY_NAME, Slice

IPV4, IPV6 = 4, 6
FAMILY_NAMES = {IPV4: "IPv4", IPV6: "IPv6"}


class ServicePortName(NamedTuple):
    """Upstream's key of everything a proxy does: `namespace/name:port`."""

    namespace: str
    name: str
    port: str
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f":{self.port}" if self.port else "")


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One place to send connections to. `local` is None where its node is not known."""

    ip: str
    port: int
    local: bool | None = False


class ServicePort(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One port of one Service, in one address family, as this node sees it.

    `endpoints` serve the cluster IP, `cluster_endpoints` external addresses under the Cluster policy (and pods that use
    an external address), `local_endpoints` external addresses under the Local policy. `anywhere` tells whether some
    node has an endpoint: without any, clients are refused; where only a policy stands in the way, they are dropped.
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
    anywhere: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    cluster_endpoints: tuple[Endpoint, ...] = ()
    local_endpoints: tuple[Endpoint, ...] = ()

    def all_endpoints(self) -> Iterator[Endpoint]:
        """Every endpoint that some client may be sent to; some may repeat."""
        yield from self.endpoints
        if self.cluster_endpoints is not self.endpoints:
            yield from self.cluster_endpoints
        yield from self.local_endpoints


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything for one family: the node's own addresses that answer to node ports, and all service ports.

    `service_cidrs` are those that cluster IPs come from, if known.
    """

    family: int
    node_ips: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    ports: Mapping[ServicePortName, ServicePort] = {}


def service_ports(
    service: Service, slices: Iterable[Slice], family: int, where: Where
) -> dict[ServicePortName, ServicePort]:
    """The proxied ports of one Service in one family; none for headless, ExternalName and foreign Services."""
    cluster_ip = _cluster_ip(service, family)
    if cluster_ip is None:
        return {}
    known = [each for each in slices if each.address_type == FAMILY_NAMES[family]]
    meta, found = service.metadata, {}
    for port in service.spec.ports:
        name = ServicePortName(meta.namespace, meta.name, port.name, port.protocol)
        found[name] = _service_port(service, port, cluster_ip, candidates(known, port.name, port.protocol), where)
    return found


def _cluster_ip(service: Service, family: int) -> str | None:
    """The Service's cluster IP of this family; None if this proxy has nothing to do there."""
    spec = service.spec
    if {SERVICE_PROXY_NAME, HEADLESS} & service.metadata.labels.keys() or spec.type == "ExternalName":
        return None
    addresses = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    return next((ip for ip in addresses if ip != "None" and is_family(ip, family)), None)


def _service_port(
    service: Service, port: APIServicePort, cluster_ip: str, found: list[Candidate], where: Where
) -> ServicePort:
    spec = service.spec
    family = IPV6 if ":" in cluster_ip else IPV4
    exposed = spec.type in ("NodePort", "LoadBalancer") or bool(spec.external_ips)
    external_local = exposed and spec.external_traffic_policy == "Local"
    internal_local = spec.internal_traffic_policy == "Local"
    everywhere = _endpoints(found, Reach.CLUSTER, where)
    here = _endpoints(found, Reach.LOCAL, where) if internal_local or external_local else ()
    return ServicePort(
        protocol=port.protocol,
        port=port.port,
        node_port=port.node_port if spec.type in ("NodePort", "LoadBalancer") else 0,
        cluster_ip=cluster_ip,
        external_ips=tuple(ip for ip in spec.external_ips if is_family(ip, family)),
        load_balancer_ips=_load_balancer_ips(service, family),
        source_ranges=_source_ranges(service, family),
        affinity_seconds=_affinity_seconds(service),
        ipvs_scheduler=service.metadata.annotations.get(IPVS_SCHEDULER, ""),
        internal_local=internal_local,
        external_local=external_local,
        health_check_node_port=spec.health_check_node_port if external_local else 0,
        anywhere=bool(everywhere or here),
        endpoints=here if internal_local else everywhere,
        cluster_endpoints=everywhere if exposed else (),
        local_endpoints=here if external_local else (),
    )


def _endpoints(found: list[Candidate], reach: Reach, where: Where) -> tuple[Endpoint, ...]:
    me = where.node_name
    return tuple(
        Endpoint(each.ip, each.port, each.node_name == me if each.node_name is not None else None)
        for each in select(found, reach, where)
    )


def _load_balancer_ips(service: Service, family: int) -> tuple[str, ...]:
    if service.spec.type != "LoadBalancer":
        return ()
    ingress = service.status.load_balancer.ingress
    return tuple(each.ip for each in ingress if each.ip and each.ip_mode != "Proxy" and is_family(each.ip, family))


def _source_ranges(service: Service, family: int) -> tuple[str, ...]:
    """loadBalancerSourceRanges of this family; a Service that has only ranges of the other admits nobody."""
    if service.spec.type != "LoadBalancer":
        return ()
    ranges = [each.strip() for each in service.spec.load_balancer_source_ranges]
    mine = tuple(each for each in ranges if is_family(each, family))
    return mine or (("255.255.255.255/32",) if ranges and family == IPV4 else ("::/128",) if ranges else ())


def _affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    return config.client_ip.timeout_seconds if config and config.client_ip else 10800


def is_family(ip: str, family: int) -> bool:
    return (":" in ip) == (family == IPV6)
