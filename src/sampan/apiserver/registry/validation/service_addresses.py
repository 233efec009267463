"""Checks of a Service's ClusterIPs and IP families, and of how an update may change them."""

from ipaddress import ip_address

from sampan.apiserver.registry.validation.rules import Errors
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_HEADLESS = "None"
_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")


def address_errors(spec: Object) -> Errors:
    """What is wrong with clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy taken together."""
    if spec.get("type") == "ExternalName":
        return [
            FieldError.forbidden(f"spec.{field}", "may not be set for ExternalName services")
            for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
            if spec.get(field)
        ]
    return [*_family_errors(spec), *_list_errors(spec), *_each_address(spec)]


def address_change_errors(new: Object, old: Object) -> Errors:
    """ClusterIPs stay for life, unless the Service becomes or was an ExternalName."""
    if "ExternalName" in (new.get("type"), old.get("type")):
        return []
    before, after = old.get("clusterIPs") or [], new.get("clusterIPs") or []
    if before[:1] == [_HEADLESS] == after[:1]:
        return []
    errors = [
        FieldError.invalid(f"spec.clusterIPs[{index}]", after, "may not change once set")
        for index, (was, now) in enumerate(zip(before, after, strict=False))
        if was != now
    ]
    if before and not after:
        return [FieldError.invalid("spec.clusterIPs[0]", None, "primary clusterIP can not be unset")]
    if len(before) > len(after) and new.get("ipFamilyPolicy") != "SingleStack":
        message = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        errors.append(FieldError.invalid("spec.ipFamilyPolicy", new.get("ipFamilyPolicy"), message))
    return errors


def _family_errors(spec: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        path = f"spec.ipFamilies[{index}]"
        if family not in _FAMILIES:
            errors.append(FieldError.not_supported(path, family, _FAMILIES))
        elif family in seen:
            errors.append(FieldError.duplicate(path, family))
        seen.add(family)
    policy = spec.get("ipFamilyPolicy")
    if policy and policy not in _POLICIES:
        errors.append(FieldError.not_supported("spec.ipFamilyPolicy", policy, _POLICIES))
    return errors


def _list_errors(spec: Object) -> Errors:
    """How clusterIP and clusterIPs fit together."""
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    if not addresses:
        return []
    if not address:
        return [FieldError.invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")]
    errors: Errors = []
    if addresses[0] != address:
        errors.append(FieldError.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    if len(addresses) > 2:
        errors.append(FieldError.invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    if _HEADLESS in addresses and len(addresses) > 1:
        errors.append(FieldError.invalid("spec.clusterIPs", addresses, "'None' must be the first and only value"))
    return errors


def _each_address(spec: Object) -> Errors:
    errors: Errors = []
    addresses = spec.get("clusterIPs") or []
    families = spec.get("ipFamilies") or []
    found: list[str] = []
    for index, address in enumerate(addresses):
        path = f"spec.clusterIPs[{index}]"
        if address == _HEADLESS:
            continue
        family = _family(address)
        if family is None:
            message = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            errors.append(FieldError.invalid(path, address, message))
            continue
        if index < len(families) and families[index] != family:
            errors.append(
                FieldError.invalid(
                    path, address, f"expected an {families[index]} value as indicated by `ipFamilies[{index}]`"
                )
            )
        found.append(family)
    if len(found) == 2 and found[0] == found[1]:
        message = "may specify no more than one IP for each IP family"
        errors.append(FieldError.invalid("spec.clusterIPs", addresses, message))
    return errors


def _family(address: str) -> str | None:
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return None
