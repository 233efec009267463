"""The IP families of a Service: what the client asked for, completed from what the cluster offers.

Pure: from a Service, the old one and the families in the cluster's order of preference to a Service whose ipFamilies
and ipFamilyPolicy are set, or to the errors that say why not. Source: KEP-563 (dual-stack).
"""

from collections.abc import Sequence
from ipaddress import ip_address

from sampan.apiserver.registry.allocators import HEADLESS
from sampan.apiserver.registry.service_fields import is_external_name, is_headless
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_SINGLE, _PREFER, _REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}


def family_of(address: str) -> str:
    return f"IPv{ip_address(address).version}"


def complete_families(spec: Object, old: Object | None, offered: Sequence[str]) -> list[FieldError]:
    """Set ipFamilyPolicy and ipFamilies. The Service's addresses must have been validated."""
    if is_external_name(spec):
        return []
    selectorless = is_headless(spec) and not spec.get("selector")
    _choose_policy(spec, old, selectorless)
    if old is not None and spec["ipFamilyPolicy"] == _SINGLE:
        _reduce(spec, old)
    errors = _policy_errors(spec) + _infer(spec, offered)
    if errors:
        return errors
    if not selectorless:
        errors = _availability_errors(spec, offered)
    if errors:
        return errors
    families = spec.setdefault("ipFamilies", [offered[0]])
    wants_both = spec["ipFamilyPolicy"] != _SINGLE and (selectorless or len(offered) == 2)
    if wants_both and len(families) == 1:
        spec["ipFamilies"] = [families[0], _OTHER[families[0]]]
    return []


def _choose_policy(spec: Object, old: Object | None, selectorless: bool) -> None:
    if spec.get("ipFamilyPolicy"):
        return
    inherited = (old or {}).get("ipFamilyPolicy")
    spec["ipFamilyPolicy"] = inherited or (_REQUIRE if selectorless else _SINGLE)


def _reduce(spec: Object, old: Object) -> None:
    """Asking for a single stack is enough to give the second address up."""
    for field in ("clusterIPs", "ipFamilies"):
        held = spec.get(field) or []
        if len(held) > 1 and held == old.get(field):
            spec[field] = held[:1]


def _policy_errors(spec: Object) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != _SINGLE:
        return []
    return [
        FieldError.invalid(
            "spec.ipFamilyPolicy",
            _SINGLE,
            f"must be '{_REQUIRE}' or '{_PREFER}' when multiple {what} are specified",
        )
        for field, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(spec.get(field) or ()) == 2
    ]


def _infer(spec: Object, offered: Sequence[str]) -> list[FieldError]:
    """Families that follow from the addresses asked for."""
    errors = []
    families: list[str] = list(spec.get("ipFamilies") or ())
    for index, address in enumerate(spec.get("clusterIPs") or ()):
        if address == HEADLESS:
            break
        if index < len(families):
            continue
        family = family_of(address)
        if family in offered:
            families.append(family)
        else:
            path = f"spec.clusterIPs[{index}]"
            errors.append(FieldError.invalid(path, spec["clusterIPs"], f"{family} is not configured on this cluster"))
    if families:
        spec["ipFamilies"] = families
    else:
        spec.pop("ipFamilies", None)
    return errors


def _availability_errors(spec: Object, offered: Sequence[str]) -> list[FieldError]:
    errors = []
    if spec["ipFamilyPolicy"] == _REQUIRE and len(offered) < 2:
        message = "this cluster is not configured for dual-stack services"
        errors.append(FieldError.invalid("spec.ipFamilyPolicy", _REQUIRE, message))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in offered:
            message = "not configured on this cluster"
            errors.append(FieldError.invalid(f"spec.ipFamilies[{index}]", family, message))
    return errors
