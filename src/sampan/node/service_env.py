"""Environment variables that announce Services to the containers of a pod.

Containers find `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` and the variables of old Docker links for every Service of
their namespace that exists when they start. The Services that lead to the API server are announced in all
namespaces, even to pods that set `enableServiceLinks: false`. Next: `env.py` merges them below the container's own.
"""

from collections.abc import Iterable

from sampan.api.core_v1 import Service

API_SERVER_SERVICES = frozenset({("default", "kubernetes")})


def service_variables(services: Iterable[Service], namespace: str, enable_service_links: bool) -> dict[str, str]:
    """Variables for a pod in `namespace`. A Service of the pod's own namespace wins over one shared with everybody."""
    visible: dict[str, Service] = {}
    for service in services:
        name, space = service.metadata.name, service.metadata.namespace
        if service.spec.cluster_ip in ("", "None"):
            continue
        if space == namespace and enable_service_links:
            visible[name] = service
        elif (space, name) in API_SERVER_SERVICES:
            visible.setdefault(name, service)
    return {key: value for name in sorted(visible) for key, value in _variables(visible[name])}


def _variables(service: Service) -> Iterable[tuple[str, str]]:
    prefix = _variable_name(service.metadata.name)
    ports = service.spec.ports
    yield f"{prefix}_SERVICE_HOST", service.spec.cluster_ip
    if ports:
        yield f"{prefix}_SERVICE_PORT", str(ports[0].port)
    for port in ports:
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{_variable_name(port.name)}", str(port.port)
    yield from _link_variables(prefix, service)


def _link_variables(prefix: str, service: Service) -> Iterable[tuple[str, str]]:
    """What Docker's `--link` used to set."""
    address = service.spec.cluster_ip
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(service.spec.ports):
        protocol = port.protocol.lower()
        url = f"{protocol}://{host}:{port.port}"
        if index == 0:
            yield f"{prefix}_PORT", url
        stem = f"{prefix}_PORT_{port.port}_{port.protocol.upper()}"
        yield stem, url
        yield f"{stem}_PROTO", protocol
        yield f"{stem}_PORT", str(port.port)
        yield f"{stem}_ADDR", address


def _variable_name(name: str) -> str:
    return name.upper().replace("-", "_")
