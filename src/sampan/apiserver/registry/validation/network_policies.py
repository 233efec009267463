"""Checks of NetworkPolicies: peers, ports and address blocks."""

from ipaddress import ip_network

from sampan.apiserver.registry.validation.addresses import VALID_CIDR
from sampan.apiserver.registry.validation.labels import selector_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, named, optional_one_of, port
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_PROTOCOLS = ("SCTP", "TCP", "UDP")


def _network_policy(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors = selector_errors(spec.get("podSelector"), "spec.podSelector")
    for direction, field in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            for position, one in enumerate(rule.get("ports") or ()):
                errors += _policy_port_errors(one, f"{path}.ports[{position}]")
            for position, peer in enumerate(rule.get(field) or ()):
                errors += _peer_errors(peer, f"{path}.{field}[{position}]")
    for index, kind in enumerate(spec.get("policyTypes") or ()):
        errors += optional_one_of(kind, ("Egress", "Ingress"), f"spec.policyTypes[{index}]")
    return errors


def _policy_port_errors(one: Object, path: str) -> Errors:
    errors = optional_one_of(one.get("protocol"), _PROTOCOLS, f"{path}.protocol")
    value, end = one.get("port"), one.get("endPort")
    if isinstance(value, str):
        errors += named(names.port_name, value, f"{path}.port")
    elif value is not None:
        errors += port(value, f"{path}.port")
        if end is not None and end < value:
            message = "must be greater than or equal to `port`"
            errors.append(FieldError.invalid(f"{path}.endPort", end, message))
    elif end is not None:
        errors.append(FieldError.invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    return errors


def _peer_errors(peer: Object, path: str) -> Errors:
    present = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None]
    if not present:
        return [FieldError.required(path, "must specify a peer")]
    errors = selector_errors(peer.get("podSelector"), f"{path}.podSelector")
    errors += selector_errors(peer.get("namespaceSelector"), f"{path}.namespaceSelector")
    if block := peer.get("ipBlock"):
        if len(present) > 1:
            message = "may not specify both ipBlock and another peer"
            errors.append(FieldError.forbidden(path, message))
        errors += _block_errors(block, f"{path}.ipBlock")
    return errors


def _block_errors(block: Object, path: str) -> Errors:
    try:
        whole = ip_network(block.get("cidr") or "", strict=False)
    except ValueError:
        return [FieldError.invalid(f"{path}.cidr", block.get("cidr") or "", VALID_CIDR)]
    errors: Errors = []
    for index, cidr in enumerate(block.get("except") or ()):
        where = f"{path}.except[{index}]"
        try:
            part = ip_network(cidr, strict=False)
        except ValueError:
            errors.append(FieldError.invalid(where, cidr, VALID_CIDR))
            continue
        inside = whole.version == part.version and part.network_address in whole and part.prefixlen > whole.prefixlen
        if not inside:
            errors.append(FieldError.invalid(where, cidr, "must be a strict subset of `cidr`"))
    return errors


NETWORK_POLICIES = Rules.of(_network_policy)
