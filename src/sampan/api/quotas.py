"""What objects take of the amounts that a ResourceQuota limits: pure, over decoded objects.

The API server refuses by it (`apiserver/quota_admission.py`), the resourcequota controller reports by it. The names are
upstream's: `pods`, `requests.cpu`, `limits.memory`, `services.nodeports`, `requests.storage`, `count/RESOURCE.GROUP`.
"""

from collections.abc import Iterable, Mapping

from sampan.machinery import quantity
from sampan.machinery.objects import Object
from sampan.machinery.quantity import ZERO, Quantity

Usage = dict[str, Quantity]

COUNTED = frozenset(
    {"pods", "services", "configmaps", "secrets", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas"}
)
"""Resources that are counted under their own names."""

_ONE = quantity.parse("1")
_ENDED = ("Succeeded", "Failed")
_BARE = {"cpu": "requests.cpu", "memory": "requests.memory", "ephemeral-storage": "requests.ephemeral-storage"}
_SERVICE_NAMES = frozenset({"services.nodeports", "services.loadbalancers"})
_STORAGE = "requests.storage"


def hard_limits(quota: Object) -> Usage:
    """The limits that a quota sets."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    return {name: quantity.parse(text) for name, text in hard.items()}


def has_scopes(quota: Object) -> bool:
    """Whether the quota is for some objects only, which is not supported: it limits nothing."""
    spec = quota.get("spec") or {}
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def resource_of(name: str) -> str:
    """The resource (`plural` or `plural.group`) whose objects are counted for a limited name."""
    if name.startswith("count/"):
        return name.removeprefix("count/")
    if name in COUNTED:
        return name
    if name in _SERVICE_NAMES:
        return "services"
    return "persistentvolumeclaims" if name == _STORAGE or ".storageclass.storage.k8s.io/" in name else "pods"


def is_compute(name: str) -> bool:
    """Whether every container must say how much it wants of this."""
    return _BARE.get(name, name).startswith(("requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))


def usage(resource: str, obj: Object, names: Iterable[str]) -> Usage:
    """What one object takes of the limited names; a name of which it does not say how much is left out."""
    found: Usage = {}
    for name in names:
        if resource_of(name) != resource:
            continue
        amount = _ONE if name in (resource, f"count/{resource}") else _amount(resource, obj, name)
        if amount is not None:
            found[name] = amount
    return found


def total(resource: str, objects: Iterable[Object], names: Iterable[str]) -> Usage:
    """What all objects of a resource take together. Pods that have ended take nothing but their count as objects."""
    names = [name for name in names if resource_of(name) == resource]
    result = dict.fromkeys(names, ZERO)
    for obj in objects:
        ended = resource == "pods" and (obj.get("status") or {}).get("phase") in _ENDED
        for name, amount in usage(resource, obj, names).items():
            if not ended or name.startswith("count/"):
                result[name] += amount
    return result


def _amount(resource: str, obj: Object, name: str) -> Quantity | None:
    spec = obj.get("spec") or {}
    if resource == "pods":
        return _pod_amount(spec, name)
    if resource == "services":
        return _service_amount(spec, name)
    if name == _STORAGE:
        return quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage") or "0")
    return None


def _pod_amount(spec: Object, name: str) -> Quantity | None:
    """The containers together, or the largest init container if that is more."""
    kind, _, resource = _BARE.get(name, name).partition(".")
    containers = _amounts(spec.get("containers") or (), kind, resource)
    if kind not in ("requests", "limits") or any(amount is None for amount in containers):
        return None
    together = sum((amount for amount in containers if amount is not None), ZERO)
    first = [one for one in _amounts(spec.get("initContainers") or (), kind, resource) if one is not None]
    return max([together, *first])


def _amounts(containers: Iterable[Object], kind: str, resource: str) -> list[Quantity | None]:
    texts = [((one.get("resources") or {}).get(kind) or {}).get(resource) for one in containers]
    return [None if text is None else quantity.parse(text) for text in texts]


def _service_amount(spec: Mapping[str, object], name: str) -> Quantity:
    kind = spec.get("type")
    if name == "services.loadbalancers":
        return _ONE if kind == "LoadBalancer" else ZERO
    ports = spec.get("ports")
    has_node_ports = kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))
    return quantity.parse(str(len(ports))) if has_node_ports and isinstance(ports, list) else ZERO
