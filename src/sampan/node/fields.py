"""The downward API: values of a pod's own fields and of its containers' resources, as text.

Used for environment variables (`env.py`) and for files (`volumes/downward_api.py`).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.api.core_v1 import Container, Pod, ResourceFieldSelector
from sampan.machinery import quantity

_SUBSCRIPT = re.compile(r"^(metadata\.(?:annotations|labels))\['(.+)'\]$")


class UnsupportedField(ValueError):
    """A field path or resource that the downward API does not offer."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the agent knows about a pod before the API server does: its addresses and those of its node."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_name: str = ""
    allocatable: Mapping[str, str | int] | None = None


def pod_field(pod: Pod, facts: PodFacts, path: str) -> str:
    """The value of `fieldRef.fieldPath`. Raises UnsupportedField."""
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        source = pod.metadata.annotations if subscript[1].endswith("annotations") else pod.metadata.labels
        return source.get(subscript[2], "")
    values = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "metadata.labels": format_map(pod.metadata.labels),
        "metadata.annotations": format_map(pod.metadata.annotations),
        "spec.nodeName": pod.spec.node_name or facts.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": next(iter(facts.host_ips), ""),
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": next(iter(facts.pod_ips), ""),
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path not in values:
        raise UnsupportedField(f"unsupported fieldPath: {path}")
    return values[path]


def format_map(values: Mapping[str, str]) -> str:
    """One `key="quoted value"` a line, sorted, without a final newline."""
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def container_resource(pod: Pod, container: Container, facts: PodFacts, ref: ResourceFieldSelector) -> str:
    """The value of a `resourceFieldRef`, rounded up to whole divisors. A missing limit means what the node has."""
    if ref.container_name and ref.container_name != container.name:
        container = _container_named(pod, ref.container_name)
    kind, _, resource = ref.resource.partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise UnsupportedField(f"unsupported container resource : {ref.resource}")
    amount = quantity.parse(str(_amount(container, kind, resource, facts)))
    divisor = quantity.parse(str(ref.divisor or "1"))
    if not divisor.milli():
        divisor = quantity.parse("1")
    if resource == "cpu":
        return str(math.ceil(amount.milli() / divisor.milli()))
    return str(math.ceil(amount.value() / divisor.value()))


def _amount(container: Container, kind: str, resource: str, facts: PodFacts) -> str | int | float:
    limits, requests = container.resources.limits, container.resources.requests
    if kind == "requests":
        return requests.get(resource, limits.get(resource, 0))
    return limits.get(resource) or (facts.allocatable or {}).get(resource, 0)


def _container_named(pod: Pod, name: str) -> Container:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == name:
            return container
    raise UnsupportedField(f"container {name} not found")
