"""What pods ask for, in whole units: CPU in thousandths of a core, memory in bytes, everything else as counted."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from sampan.api.core_v1 import Pod
from sampan.api.pods import is_sidecar
from sampan.machinery import quantity

Resources = dict[str, int]
Written = Mapping[str, str | int | float]

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024


def resources(written: Written) -> Resources:
    """Quantities as numbers."""
    return {name: _number(name, value) for name, value in written.items()}


def pod_requests(pod: Pod) -> Resources:
    """What a node must have left: containers together, or the largest init step if that is more, and the overhead."""
    spec = pod.spec
    total = _sum(resources(one.resources.requests) for one in spec.containers)
    beside: Resources = {}
    largest: Resources = {}
    for container in spec.init_containers:
        asked = resources(container.resources.requests)
        if is_sidecar(container):
            beside = _sum((beside, asked))
            asked = beside
        else:
            asked = _sum((beside, asked))
        largest = _max(largest, asked)
    total = _max(_sum((total, beside)), largest)
    return _sum((total, resources(spec.overhead)))


def with_defaults(requests: Resources) -> tuple[int, int]:
    """CPU and memory for scoring: pods that ask for nothing still use something."""
    return requests.get("cpu", 0) or DEFAULT_MILLI_CPU, requests.get("memory", 0) or DEFAULT_MEMORY


def _sum(parts: Iterable[Resources]) -> Resources:
    total: Resources = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total


def _max(left: Resources, right: Resources) -> Resources:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {*left, *right}}


@lru_cache(maxsize=4096)
def _number(name: str, value: str | int | float) -> int:
    parsed = quantity.parse(value)
    return parsed.milli() if name == "cpu" else parsed.value()
