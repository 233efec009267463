"""Tables of Services, endpoints, ingresses and the other networking kinds."""

from collections.abc import Iterable

from sampan.apiserver.registry.tables.table import (
    NONE,
    UNSET,
    Cells,
    Table,
    age,
    columns,
    first_few,
    label_selector,
    labels,
    name,
    or_none,
)
from sampan.machinery.objects import Object


def _service(obj: Object, now: float) -> Cells:
    spec = obj.get("spec") or {}
    address = next(iter(spec.get("clusterIPs") or ()), spec.get("clusterIP"))
    return [
        name(obj),
        spec.get("type", ""),
        or_none(address),
        _external_address(obj),
        ",".join(map(_service_port, spec.get("ports") or ())) or NONE,
        age(obj, now),
        labels(spec.get("selector")),
    ]


def _external_address(obj: Object) -> str:
    spec = obj.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    assigned = _ingress_addresses(obj) if spec.get("type") == "LoadBalancer" else []
    shown = ",".join([*assigned, *(spec.get("externalIPs") or ())])
    return shown or ("<pending>" if spec.get("type") == "LoadBalancer" else NONE)


def _ingress_addresses(obj: Object) -> list[str]:
    """The addresses that a load balancer reported, without repetition."""
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    found = [one.get("ip") or one.get("hostname") for one in balancer.get("ingress") or ()]
    return sorted({address for address in found if address})


def _service_port(port: Object) -> str:
    node = port.get("nodePort")
    number = f"{port.get('port')}:{node}" if node else port.get("port")
    return f"{number}/{port.get('protocol')}"


def _endpoints(obj: Object, now: float) -> Cells:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [one.get("ip", "") for one in subset.get("addresses") or ()]
        ports = [port.get("port") for port in subset.get("ports") or ()]
        if ports:
            found += [_host_port(address, port) for port in ports for address in addresses]
        else:
            found += addresses
    return [name(obj), first_few(found, "" if obj.get("subsets") else NONE), age(obj, now)]


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoint_slice(obj: Object, now: float) -> Cells:
    ports = ["*" if port.get("port") is None else str(port["port"]) for port in obj.get("ports") or ()]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [
        name(obj),
        obj.get("addressType", ""),
        first_few(ports, UNSET),
        first_few(addresses, UNSET),
        age(obj, now),
    ]


def _ingress(obj: Object, now: float) -> Cells:
    spec = obj.get("spec") or {}
    return [
        name(obj),
        or_none(spec.get("ingressClassName")),
        _hosts(spec.get("rules") or ()),
        ",".join(_ingress_addresses(obj)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _hosts(rules: Iterable[Object]) -> str:
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    return first_few(hosts, "*")


def _ingress_class(obj: Object, now: float) -> Cells:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind')}{group}/{parameters.get('name')}"
    return [name(obj), spec.get("controller", ""), shown, age(obj, now)]


def _network_policy(obj: Object, now: float) -> Cells:
    return [name(obj), label_selector((obj.get("spec") or {}).get("podSelector")), age(obj, now)]


def _service_cidr(obj: Object, now: float) -> Cells:
    return [name(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now)]


def _ip_address(obj: Object, now: float) -> Cells:
    parent = (obj.get("spec") or {}).get("parentRef") or {}
    shown = parent.get("resource", "")
    if parent.get("group"):
        shown += f".{parent['group']}"
    for part in ("namespace", "name"):
        if parent.get(part):
            shown += f"/{parent[part]}"
    return [name(obj), shown or NONE, age(obj, now)]


SERVICES = Table(
    columns(("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"), wide=("Selector",)),
    _service,
)
ENDPOINTS = Table(columns(("Name", "Endpoints", "Age")), _endpoints)
ENDPOINT_SLICES = Table(columns(("Name", "AddressType", "Ports", "Endpoints", "Age")), _endpoint_slice)
INGRESSES = Table(columns(("Name", "Class", "Hosts", "Address", "Ports", "Age")), _ingress)
INGRESS_CLASSES = Table(columns(("Name", "Controller", "Parameters", "Age")), _ingress_class)
NETWORK_POLICIES = Table(columns(("Name", "Pod-Selector", "Age")), _network_policy)
SERVICE_CIDRS = Table(columns(("Name", "CIDRs", "Age")), _service_cidr)
IP_ADDRESSES = Table(columns(("Name", "ParentRef", "Age")), _ip_address)
