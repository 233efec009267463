"""Endpoints of the Services that routes ask for.

Pure. A Service's EndpointSlices give its endpoints: those that are ready, or, where none is, those that still serve
while they terminate. What is missing is a Backend without endpoints and a problem of the Ingresses that ask for it.
"""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from sampan.api.core_v1 import Service, ServicePort
from sampan.api.discovery_v1 import Endpoint as SliceEndpoint
from sampan.api.discovery_v1 import EndpointSlice
from sampan.ingress.model import Backend, Endpoint
from sampan.ingress.translate.types import Options, Wanted

SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Found:
    """A Backend, and why it has no endpoints: an event's reason and message, or ""."""

    backend: Backend
    reason: str = ""
    message: str = ""


def find(wanted: Wanted, service: Service | None, slices: Collection[EndpointSlice], options: Options) -> Found:
    key = wanted.key
    empty = Backend(wanted.name, key, (), wanted.balancing, wanted.service_upstream)
    name = f"{key.namespace}/{key.service}"
    if service is None:
        return Found(empty, "MissingService", f"Service {name} does not exist; its paths answer 503")
    if service.spec.type == "ExternalName":
        return _external(wanted, service, options)
    port = find_port(service, key.port)
    if port is None:
        known = ", ".join(each.name or str(each.port) for each in service.spec.ports) or "none"
        message = f"Service {name} has no port {key.port[:60] or '(any)'}; it has {known}; its paths answer 503"
        return Found(empty, "MissingServicePort", message)
    if port.protocol != wanted.protocol:
        message = f"port {key.port} of Service {name} is not {wanted.protocol}; its paths answer 503"
        return Found(empty, "MissingServicePort", message)
    if wanted.service_upstream and service.spec.cluster_ip not in ("", "None"):
        address = Endpoint(service.spec.cluster_ip, port.port)
        return Found(Backend(wanted.name, key, (address,), wanted.balancing, True))
    endpoints = _endpoints(service, port, slices, options)
    backend = Backend(wanted.name, key, endpoints, wanted.balancing, False)
    if not endpoints:
        return Found(backend, "NoEndpoints", f"Service {name} has no ready endpoint; its paths answer 503")
    return Found(backend)


def find_port(service: Service, written: str) -> ServicePort | None:
    """The port that is `written` by name or number; "" is the first. A targetPort will do, as in ingress-nginx."""
    ports = service.spec.ports
    if not written:
        return ports[0] if ports else None
    by_port = next((each for each in ports if each.name == written or str(each.port) == written), None)
    return by_port or next((each for each in ports if str(each.target_port) == written), None)


def _external(wanted: Wanted, service: Service, options: Options) -> Found:
    key, target = wanted.key, service.spec.external_name
    empty = Backend(wanted.name, key, (), wanted.balancing, False)
    name = f"{key.namespace}/{key.service}"
    if options.disable_svc_external_name:
        message = f"Service {name} is an ExternalName, and the controller runs with --disable-svc-external-name"
        return Found(empty, "ExternalNameDisabled", message)
    port = find_port(service, key.port)
    if port is not None:
        number = port.target_port if isinstance(port.target_port, int) and port.target_port else port.port
    elif key.port.isdecimal() and 0 < int(key.port) < 65536 and not service.spec.ports:
        number = int(key.port)
    else:
        message = f"Service {name} is an ExternalName: its port must be a number or one of its ports"
        return Found(empty, "MissingServicePort", message)
    if not target or _is_local(target):
        message = f"Service {name} is an ExternalName of {target[:60] or 'nothing'!r}, which is not allowed"
        return Found(empty, "InvalidExternalName", message)
    return Found(Backend(wanted.name, key, (Endpoint(target, number),), wanted.balancing, False))


def _is_local(target: str) -> bool:
    """Whether a name leads to the controller itself: its status page would answer."""
    try:
        address = ipaddress.ip_address(target.strip("[]"))
    except ValueError:
        return target.lower().rstrip(".") == "localhost" or target.lower().rstrip(".").endswith(".localhost")
    return address.is_loopback or address.is_unspecified or address.is_link_local


def _endpoints(
    service: Service, port: ServicePort, slices: Collection[EndpointSlice], options: Options
) -> tuple[Endpoint, ...]:
    ready: dict[Endpoint, SliceEndpoint] = {}
    serving: dict[Endpoint, SliceEndpoint] = {}
    families = {each.address_type for each in slices if each.endpoints}
    wanted = _family(service, families)
    for each in slices:
        if each.address_type != wanted:
            continue
        numbers = [
            found.port
            for found in each.ports
            if found.port and (found.name or "") == port.name and (found.protocol or "TCP") == port.protocol
        ]
        for endpoint in each.endpoints:
            for number in numbers:
                if not endpoint.addresses:
                    continue
                address = Endpoint(endpoint.addresses[0], number)
                conditions = endpoint.conditions
                if conditions.ready is not False or service.spec.publish_not_ready_addresses:
                    ready[address] = endpoint
                elif conditions.serving is not False and conditions.terminating:
                    serving[address] = endpoint
    chosen = ready or serving
    if options.enable_topology_aware_routing and options.zone:
        chosen = _in_zone(chosen, options.zone)
    return tuple(sorted(chosen))


def _family(service: Service, present: Collection[str]) -> str:
    """The family of addresses to use: the Service's first that has endpoints."""
    for family in (*service.spec.ip_families, "IPv4", "IPv6"):
        if family in present:
            return family
    return "IPv4"


def _in_zone(found: dict[Endpoint, SliceEndpoint], zone: str) -> dict[Endpoint, SliceEndpoint]:
    """Those hinted at for `zone`, if every endpoint has hints and some are for it."""
    if any(each.hints is None for each in found.values()):
        return found
    near = {
        address: each
        for address, each in found.items()
        if each.hints is not None and any(hint.name == zone for hint in each.hints.for_zones)
    }
    return near or found
