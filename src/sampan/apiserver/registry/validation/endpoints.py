"""Checks of EndpointSlices and Endpoints."""

from ipaddress import ip_address

from sampan.apiserver.registry.validation.addresses import VALID_IP, is_address, special_address_errors
from sampan.apiserver.registry.validation.rules import Errors, Rules, immutable, named, one_of, port
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ENDPOINTS_MAX = 1000
_ADDRESSES_MAX = 100
_SLICE_PORTS_MAX = 100


def _slice(obj: Object) -> Errors:
    kind = obj.get("addressType")
    errors = one_of(kind, _ADDRESS_TYPES, "addressType")
    endpoints, ports = obj.get("endpoints") or (), obj.get("ports") or ()
    if len(endpoints) > _ENDPOINTS_MAX:
        errors.append(FieldError.too_many("endpoints", len(endpoints), _ENDPOINTS_MAX))
    for index, endpoint in enumerate(endpoints):
        errors += _endpoint_errors(endpoint, kind, f"endpoints[{index}]")
    if len(ports) > _SLICE_PORTS_MAX:
        errors.append(FieldError.too_many("ports", len(ports), _SLICE_PORTS_MAX))
    seen: set[str] = set()
    for index, one in enumerate(ports):
        errors += _slice_port_errors(one, seen, f"ports[{index}]")
    return errors


def _slice_update(new: Object, old: Object) -> Errors:
    return _slice(new) + immutable(new.get("addressType"), old.get("addressType"), "addressType")


def _endpoint_errors(endpoint: Object, kind: str | None, path: str) -> Errors:
    addresses = endpoint.get("addresses") or ()
    errors: Errors = []
    if not addresses:
        errors.append(FieldError.required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _ADDRESSES_MAX:
        errors.append(FieldError.too_many(f"{path}.addresses", len(addresses), _ADDRESSES_MAX))
    for index, address in enumerate(addresses):
        errors += _typed_address_errors(address, kind, f"{path}.addresses[{index}]")
    if hostname := endpoint.get("hostname"):
        errors += named(names.dns1123_label, hostname, f"{path}.hostname")
    if node := endpoint.get("nodeName"):
        errors += named(names.dns1123_subdomain, node, f"{path}.nodeName")
    return errors


def _typed_address_errors(address: str, kind: str | None, path: str) -> Errors:
    if kind == "FQDN":
        return named(names.dns1123_subdomain, address, path)
    if not is_address(address):
        return [FieldError.invalid(path, address, VALID_IP)]
    if kind in ("IPv4", "IPv6") and f"IPv{ip_address(address).version}" != kind:
        return [FieldError.invalid(path, address, f"must be an {kind} address")]
    return special_address_errors(address, path)


def _slice_port_errors(one: Object, seen: set[str], path: str) -> Errors:
    errors: Errors = []
    name = one.get("name") or ""
    if name:
        errors += named(names.dns1123_label, name, f"{path}.name")
    if name in seen:
        errors.append(FieldError.duplicate(f"{path}.name", name))
    seen.add(name)
    errors += one_of(one.get("protocol"), _PROTOCOLS, f"{path}.protocol")
    if one.get("port") is not None:
        errors += port(one["port"], f"{path}.port")
    return errors


def _endpoints(obj: Object) -> Errors:
    errors: Errors = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            message = "must specify `addresses` or `notReadyAddresses`"
            errors.append(FieldError.required(path, message))
        for field in ("addresses", "notReadyAddresses"):
            for position, one in enumerate(subset.get(field) or ()):
                errors += _typed_address_errors(one.get("ip") or "", None, f"{path}.{field}[{position}].ip")
        ports = subset.get("ports") or ()
        for position, one in enumerate(ports):
            errors += _subset_port_errors(one, len(ports) > 1, f"{path}.ports[{position}]")
    return errors


def _subset_port_errors(one: Object, needs_name: bool, path: str) -> Errors:
    name = one.get("name")
    errors: Errors = []
    if name:
        errors += named(names.dns1123_label, name, f"{path}.name")
    elif needs_name:
        errors.append(FieldError.required(f"{path}.name"))
    errors += port(one.get("port"), f"{path}.port")
    return errors + one_of(one.get("protocol"), _PROTOCOLS, f"{path}.protocol")


ENDPOINT_SLICES = Rules(_slice, _slice_update)
ENDPOINTS = Rules.of(_endpoints)
