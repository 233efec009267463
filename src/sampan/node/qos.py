"""The quality-of-service class of a pod, from the CPU and memory of its containers."""

from collections.abc import Iterator

from sampan.api.core_v1 import Container, Pod
from sampan.machinery import quantity

_COUNTED = ("cpu", "memory")


def qos_class(pod: Pod) -> str:
    """`Guaranteed` when every container limits both and requests as much, `BestEffort` when none asks for anything."""
    containers = [*pod.spec.containers, *pod.spec.init_containers]
    if not any(_amounts(one) for one in containers):
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(one) for one in containers) else "Burstable"


def _amounts(container: Container) -> dict[str, object]:
    return dict(_nonzero(container.resources.limits)) | dict(_nonzero(container.resources.requests))


def _nonzero(amounts: dict[str, str | int | float]) -> Iterator[tuple[str, object]]:
    for name in _COUNTED:
        amount = quantity.parse(str(amounts.get(name, 0)))
        if amount.milli():
            yield name, amount


def _is_guaranteed(container: Container) -> bool:
    limits = dict(_nonzero(container.resources.limits))
    requests = limits | dict(_nonzero(container.resources.requests))
    return len(limits) == len(_COUNTED) and limits == requests
