"""The endpoints that a Service must have: pure, from the Service, its pods and their nodes' zones.

Every pod that has an address and has not ended is an endpoint; whether traffic should go to it is in its conditions
(KEP-1672). A named target port is looked up in each pod, so that pods may differ in their ports: endpoints are grouped
by the ports they have. Next: `packing`.
"""

from collections.abc import Callable, Iterable, Mapping

from sampan.api import pods
from sampan.api.core_v1 import Pod, Service, ServicePort
from sampan.api.discovery_v1 import Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForZone
from sampan.api.meta_v1 import ObjectReference

Ports = tuple[EndpointPort, ...]
Groups = Mapping[Ports, tuple[Endpoint, ...]]
ZoneOf = Callable[[str], str | None]
"""The zone of the node with this name, None when it has or is none."""


def families(service: Service) -> tuple[str, ...]:
    """The address types of the Service's slices."""
    return service.spec.ip_families or ("IPv4",)


def desired_endpoints(service: Service, selected: Iterable[Pod], zone_of: ZoneOf, family: str) -> Groups:
    """The Service's endpoints of one address family by the ports they serve."""
    groups: dict[Ports, list[Endpoint]] = {}
    for pod in selected:
        addresses = _addresses(pod, family)
        if addresses and not pods.is_terminal(pod):
            endpoint = _endpoint(service, pod, addresses, zone_of)
            groups.setdefault(target_ports(service, pod), []).append(endpoint)
    return {ports: tuple(found) for ports, found in groups.items()}


def target_ports(service: Service, pod: Pod) -> Ports:
    """The Service's ports as this pod has them; those it does not have are left out."""
    found = []
    for port in service.spec.ports:
        number = target_port(pod, port)
        if number is not None:
            found.append(
                EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
            )
    return tuple(found)


def target_port(pod: Pod, port: ServicePort) -> int | None:
    """The pod's number for a Service port; None when it does not name that port."""
    if isinstance(port.target_port, int):
        return port.target_port or port.port
    named = pods.named_port(pod, port.target_port, port.protocol)
    return named.container_port if named else None


def hostname_of(service: Service, pod: Pod) -> str | None:
    """The name that the pod has of its own within a headless Service."""
    same = pod.spec.subdomain == service.metadata.name and pod.metadata.namespace == service.metadata.namespace
    return pod.spec.hostname if same and pod.spec.hostname else None


def pod_reference(pod: Pod) -> ObjectReference:
    meta = pod.metadata
    return ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)


def _addresses(pod: Pod, family: str) -> tuple[str, ...]:
    wants_ipv6 = family == "IPv6"
    ips = [one.ip for one in pod.status.pod_ips] or ([pod.status.pod_ip] if pod.status.pod_ip else [])
    return tuple(ip for ip in ips if (":" in ip) is wants_ipv6)


def _endpoint(service: Service, pod: Pod, addresses: tuple[str, ...], zone_of: ZoneOf) -> Endpoint:
    serving, terminating = pods.is_ready(pod), pods.is_terminating(pod)
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    node = pod.spec.node_name or None
    zone = zone_of(node) if node else None
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=hostname_of(service, pod),
        target_ref=pod_reference(pod),
        node_name=node,
        zone=zone,
        hints=_hints(service, ready, node, zone),
    )


def _hints(service: Service, ready: bool, node: str | None, zone: str | None) -> EndpointHints | None:
    """Where an endpoint should be used, when the Service asks that traffic stay near (KEP-4444, KEP-3015)."""
    near = service.spec.traffic_distribution
    if not ready or near not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return None
    zones = (ForZone(name=zone),) if zone else ()
    nodes = (ForZone(name=node),) if node and near == "PreferSameNode" else ()
    return EndpointHints(for_zones=zones, for_nodes=nodes) if zones or nodes else None
