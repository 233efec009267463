"""The quality-of-service class that the server gives a pod when it is made."""

from collections.abc import Iterator

from sampan.machinery import quantity
from sampan.machinery.objects import Object

_COUNTED = ("cpu", "memory")


def qos_class(spec: Object) -> str:
    """`Guaranteed` when every container limits both and requests as much, `BestEffort` when none asks for anything."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    asked = [one.get("resources") or {} for one in containers]
    if not any(dict(_nonzero(one.get("limits"))) or dict(_nonzero(one.get("requests"))) for one in asked):
        return "BestEffort"
    return "Guaranteed" if all(map(_is_guaranteed, asked)) else "Burstable"


def _is_guaranteed(resources: Object) -> bool:
    limits = dict(_nonzero(resources.get("limits")))
    requests = limits | dict(_nonzero(resources.get("requests")))
    return len(limits) == len(_COUNTED) and limits == requests


def _nonzero(amounts: Object | None) -> Iterator[tuple[str, quantity.Quantity]]:
    for name in _COUNTED:
        if amounts and (amount := amounts.get(name)):
            try:
                parsed = quantity.parse(amount)
            except ValueError:
                continue
            if parsed:
                yield name, parsed
