"""Checks of a Service's type, ports, selector, affinity, traffic policies and external addresses."""

from collections.abc import Mapping

from sampan.apiserver.registry.validation.addresses import (
    VALID_CIDR,
    address_errors,
    is_address,
    is_network,
    special_address_errors,
)
from sampan.apiserver.registry.validation.labels import label_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, named, one_of, optional_one_of, port
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_AFFINITIES = ("ClientIP", "None")
_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_IP_MODES = ("Proxy", "VIP")
_EXTERNAL = ("LoadBalancer", "NodePort")
_AFFINITY_MAX = 86400
_AGENT_PORT = 10250


def _create(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    return [
        *_type_errors(spec),
        *_port_list_errors(spec),
        *label_errors(spec.get("selector"), "spec.selector"),
        *_affinity_errors(spec),
        *_external_address_errors(spec),
        *one_of(spec.get("type"), _TYPES, "spec.type"),
        *_node_port_errors(spec),
        *_duplicate_errors(spec),
        *_load_balancer_errors(spec),
        *_policy_errors(spec),
    ]


def _update(new: Object, old: Object) -> Errors:
    errors = _create(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    stays = spec.get("type") == before.get("type") == "LoadBalancer"
    if stays and spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
        value = spec.get("loadBalancerClass")
        errors.append(FieldError.invalid("spec.loadBalancerClass", value, "may not change once set"))
    return errors


SERVICES = Rules(_create, _update)


def status_errors(obj: Object) -> Errors:
    """What a load balancer must not write (upstream's ValidateLoadBalancerStatus)."""
    path = "status.loadBalancer.ingress"
    listed = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if listed and (obj.get("spec") or {}).get("type") != "LoadBalancer":
        return [FieldError.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    return [error for index, one in enumerate(listed) for error in _ingress_errors(one, f"{path}[{index}]")]


def _ingress_errors(ingress: Object, path: str) -> Errors:
    errors: Errors = []
    if ip := ingress.get("ip"):
        errors += address_errors(ip, f"{path}.ip")
        errors += one_of(ingress.get("ipMode"), _IP_MODES, f"{path}.ipMode")
    elif ingress.get("ipMode") is not None:
        errors.append(FieldError.forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    if hostname := ingress.get("hostname"):
        errors += named(names.dns1123_subdomain, hostname, f"{path}.hostname")
        if is_address(hostname):
            errors.append(FieldError.invalid(f"{path}.hostname", hostname, "must be a DNS name, not an IP address"))
    return errors


def _type_errors(spec: Object) -> Errors:
    kind, headless = spec.get("type"), spec.get("clusterIP") == "None"
    errors: Errors = []
    if not spec.get("ports") and not headless and kind != "ExternalName":
        errors.append(FieldError.required("spec.ports"))
    if kind in _EXTERNAL and headless:
        message = f"may not be set to 'None' for {kind} services"
        errors.append(FieldError.invalid("spec.clusterIPs[0]", "None", message))
    if kind == "LoadBalancer":
        message = f"may not expose port {_AGENT_PORT} externally since it is used by kubelet"
        errors += [
            FieldError.invalid(f"spec.ports[{index}]", one["port"], message)
            for index, one in enumerate(spec.get("ports") or ())
            if one.get("port") == _AGENT_PORT
        ]
    if kind == "ExternalName":
        target = (spec.get("externalName") or "").removesuffix(".")
        path = "spec.externalName"
        errors += named(names.dns1123_subdomain, target, path) if target else [FieldError.required(path)]
    return errors


def _port_list_errors(spec: Object) -> Errors:
    errors: Errors = []
    ports = spec.get("ports") or ()
    seen: set[str] = set()
    for index, one in enumerate(ports):
        errors += _port_errors(one, len(ports) > 1, seen, f"spec.ports[{index}]")
    return errors


def _port_errors(one: Object, needs_name: bool, seen: set[str], path: str) -> Errors:
    errors: Errors = []
    name = one.get("name")
    if not name:
        errors += [FieldError.required(f"{path}.name")] if needs_name else []
    else:
        errors += named(names.dns1123_label, name, f"{path}.name")
        if name in seen:
            errors.append(FieldError.duplicate(f"{path}.name", name))
        seen.add(name)
    errors += port(one.get("port"), f"{path}.port")
    errors += one_of(one.get("protocol"), _PROTOCOLS, f"{path}.protocol")
    errors += target_port_errors(one.get("targetPort"), f"{path}.targetPort")
    if one.get("appProtocol"):
        errors += named(names.qualified_name, one["appProtocol"], f"{path}.appProtocol")
    return errors


def target_port_errors(value: int | str | None, path: str) -> Errors:
    """A port's number or name."""
    return named(names.port_name, value, path) if isinstance(value, str) else port(value, path)


def _affinity_errors(spec: Object) -> Errors:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    errors = one_of(affinity, _AFFINITIES, "spec.sessionAffinity")
    path = "spec.sessionAffinityConfig"
    if affinity == "None" and config is not None:
        errors.append(FieldError.forbidden(path, "must not be set when session affinity is None"))
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None or not 0 < seconds <= _AFFINITY_MAX:
            message = f"must be greater than 0 and less than {_AFFINITY_MAX}"
            errors.append(FieldError.invalid(f"{path}.clientIP.timeoutSeconds", seconds, message))
    return errors


def _external_address_errors(spec: Object) -> Errors:
    errors: Errors = []
    for index, address in enumerate(spec.get("externalIPs") or ()):
        path = f"spec.externalIPs[{index}]"
        wrong = address_errors(address, path)
        errors += wrong or special_address_errors(address, path)
    return errors


def _node_port_errors(spec: Object) -> Errors:
    if spec.get("type") != "ClusterIP":
        return []
    return [
        FieldError.forbidden(f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'")
        for index, one in enumerate(spec.get("ports") or ())
        if one.get("nodePort")
    ]


def _duplicate_errors(spec: Object) -> Errors:
    """One protocol has one use for a port, and for a node port."""
    errors: Errors = []
    for field in ("nodePort", "port"):
        seen: set[tuple[str, int]] = set()
        for index, one in enumerate(spec.get("ports") or ()):
            key = (one.get("protocol", ""), one.get(field) or 0)
            if key[1] and key in seen:
                errors.append(_duplicate(field, index, one))
            seen.add(key)
    return errors


def _duplicate(field: str, index: int, one: Object) -> FieldError:
    path = f"spec.ports[{index}]"
    if field == "nodePort":
        return FieldError.duplicate(f"{path}.nodePort", one["nodePort"])
    return FieldError.duplicate(path, {"port": one["port"], "protocol": one.get("protocol"), "targetPort": 0})


def _load_balancer_errors(spec: Object) -> Errors:
    errors: Errors = []
    only = "may only be used when `type` is 'LoadBalancer'"
    is_balancer = spec.get("type") == "LoadBalancer"
    for index, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if not is_network(cidr.strip()):
            errors.append(FieldError.invalid(f"spec.loadBalancerSourceRanges[{index}]", cidr, VALID_CIDR))
    if spec.get("loadBalancerSourceRanges") and not is_balancer:
        errors.append(FieldError.forbidden("spec.loadBalancerSourceRanges", only))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balancer:
        errors.append(FieldError.forbidden("spec.allocateLoadBalancerNodePorts", only))
    if (kind := spec.get("loadBalancerClass")) is not None:
        errors += named(names.qualified_name, kind, "spec.loadBalancerClass")
        if not is_balancer:
            errors.append(FieldError.forbidden("spec.loadBalancerClass", only))
    return errors


def _policy_errors(spec: Object) -> Errors:
    kind = spec.get("type")
    errors = optional_one_of(spec.get("internalTrafficPolicy"), _POLICIES, "spec.internalTrafficPolicy")
    path = "spec.externalTrafficPolicy"
    is_external = kind in _EXTERNAL or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    policy = spec.get("externalTrafficPolicy")
    if is_external:
        errors += one_of(policy, _POLICIES, path)
    elif policy:
        message = "may only be set for externally-accessible services"
        errors.append(FieldError.invalid(path, policy, message))
    errors += _health_check_errors(spec)
    return errors + optional_one_of(spec.get("trafficDistribution"), _DISTRIBUTIONS, "spec.trafficDistribution")


def _health_check_errors(spec: Mapping[str, object]) -> Errors:
    value = spec.get("healthCheckNodePort")
    if value and not (spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"):
        message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        return [FieldError.invalid("spec.healthCheckNodePort", value, message)]
    return []
