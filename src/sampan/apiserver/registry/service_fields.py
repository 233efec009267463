"""Fields of a Service that depend on its type: carried over, dropped when stale, normalised.

A client that changes the type usually sends back what the server filled in for the old one. Whatever the new type has
no use for and the client has not touched is dropped; what the new type also needs and the client left out is kept.
Pure functions on decoded Services; `services.py` calls them before anything is allocated.
"""

from typing import Any

from sampan.apiserver.registry.allocators import HEADLESS
from sampan.machinery.objects import Object


def needs_cluster_ip(spec: Object) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_ports(spec: Object) -> bool:
    """Whether the type has node ports (a load balancer may do without)."""
    return spec.get("type") in ("NodePort", "LoadBalancer")


def allocates_node_ports(spec: Object) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def needs_health_check_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_external_name(spec: Object) -> bool:
    return spec.get("type") == "ExternalName"


def is_headless(spec: Object) -> bool:
    return spec.get("clusterIP") == HEADLESS


def is_external(spec: Object) -> bool:
    """Whether traffic from outside the cluster can reach it."""
    if spec.get("type") == "ClusterIP":
        return bool(spec.get("externalIPs"))
    return needs_node_ports(spec)


def carry_over(new: Object, old: Object) -> None:
    """Keep allocated values that the client left out, where both types need them."""
    if needs_cluster_ip(new) and needs_cluster_ip(old):
        if not new.get("clusterIP") and not new.get("clusterIPs"):
            _keep(new, old, "clusterIP")
            _keep(new, old, "clusterIPs")
        elif not new.get("clusterIPs") and new.get("clusterIP") == old.get("clusterIP"):
            _keep(new, old, "clusterIPs")
    if needs_node_ports(new) and needs_node_ports(old):
        _carry_node_ports(new, old)
    if needs_health_check_port(new) and needs_health_check_port(old) and not new.get("healthCheckNodePort"):
        _keep(new, old, "healthCheckNodePort")


def drop_stale(new: Object, old: Object) -> None:
    """Drop values of the old type that the new one has no use for, unless the client has changed them."""
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        if _same_addresses(new, old):
            _drop(new, "clusterIP", "clusterIPs")
        _drop_unchanged(new, old, "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if is_external_name(old) and not is_external_name(new):
        _drop_unchanged(new, old, "externalName")
    if needs_node_ports(old) and not needs_node_ports(new) and _node_ports(new) == _node_ports(old):
        for port in new.get("ports") or ():
            _drop(port, "nodePort")
    if needs_health_check_port(old) and not needs_health_check_port(new):
        _drop_unchanged(new, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and new.get("type") != "LoadBalancer":
        _drop_unchanged(new, old, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if is_external(old) and not is_external(new):
        _drop_unchanged(new, old, "externalTrafficPolicy")


def normalize_addresses(new: Object, old: Object | None) -> None:
    """Make `clusterIPs` follow `clusterIP` for clients that know only the latter."""
    address, addresses = new.get("clusterIP"), new.get("clusterIPs")
    if old is None:
        if address and not addresses:
            new["clusterIPs"] = [address]
        return
    unchanged = addresses == old.get("clusterIPs")
    if not address and old.get("clusterIP") and unchanged:
        _drop(new, "clusterIPs")
    elif address and address != old.get("clusterIP") and (unchanged or not addresses):
        new["clusterIPs"] = [address]


def _carry_node_ports(new: Object, old: Object) -> None:
    used = _node_ports(new)
    known = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in old.get("ports") or ()}
    for port in new.get("ports") or ():
        number = known.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and number and number not in used:
            port["nodePort"] = number
            used.add(number)


def _node_ports(spec: Object) -> set[Any]:
    return {port.get("nodePort") for port in spec.get("ports") or ()} - {None, 0}


def _same_addresses(new: Object, old: Object) -> bool:
    """Whether the request still shows the old addresses, in either field."""
    return new.get("clusterIP") in (None, "", old.get("clusterIP")) and (
        not new.get("clusterIPs") or new["clusterIPs"] == old.get("clusterIPs")
    )


def _keep(new: Object, old: Object, field: str) -> None:
    if field in old:
        value = old[field]
        new[field] = list(value) if isinstance(value, list) else value


def _drop(holder: Object, *fields: str) -> None:
    for field in fields:
        holder.pop(field, None)


def _drop_unchanged(new: Object, old: Object, *fields: str) -> None:
    for field in fields:
        if new.get(field) == old.get(field):
            new.pop(field, None)
