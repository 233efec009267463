"""Pure questions about nodes and the pods that may run on them: readiness, taints, node selectors and affinity."""

from collections.abc import Iterable, Mapping

from sampan.api.core_v1 import (
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodSpec,
    Taint,
    Toleration,
)
from sampan.api.meta_v1 import Condition
from sampan.api.pods import serving_containers

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"


def condition(node: Node, kind: str) -> Condition | None:
    return next((one for one in node.status.conditions if one.type == kind), None)


def is_ready(node: Node) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers one taint: an empty effect, key or operator Exists covers all of its kind."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    if toleration.operator in ("Lt", "Gt"):
        return _compares(taint.value, toleration.operator, toleration.value)
    return bool(toleration.key) and toleration.value == taint.value


def untolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration], effects: Iterable[str]) -> Taint | None:
    """The first taint with one of the effects that nothing tolerates."""
    tolerations, effects = tuple(tolerations), frozenset(effects)
    for taint in taints:
        if taint.effect in effects and not any(tolerates(one, taint) for one in tolerations):
            return taint
    return None


def accepts(spec: PodSpec, node: Node) -> bool:
    """Whether the pod's nodeSelector and required node affinity allow the node."""
    labels = node.metadata.labels
    if spec.node_selector and not spec.node_selector.items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return required is None or selects(required, node)


def selects(selector: NodeSelector, node: Node) -> bool:
    """A node selector holds when any of its terms does."""
    return any(term_selects(term, node) for term in selector.node_selector_terms)


def term_selects(term: NodeSelectorTerm, node: Node) -> bool:
    """A term holds when all its requirements do; an empty one never does."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_holds(one, node.metadata.labels) for one in term.match_expressions) and all(
        _holds(one, fields) for one in term.match_fields
    )


def host_ports(pod: Pod) -> frozenset[tuple[str, str, int]]:
    """The (hostIP, protocol, port) that the pod's containers take on their node."""
    return frozenset(
        (port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)
        for container in serving_containers(pod)
        for port in container.ports
        if port.host_port
    )


def host_ports_conflict(wanted: Iterable[tuple[str, str, int]], used: Iterable[tuple[str, str, int]]) -> bool:
    """Whether any wanted host port is taken; 0.0.0.0 (and ::) stands for every address."""
    taken = tuple(used)
    return any(
        port == used_port and protocol == used_protocol and (ip == used_ip or ip in _ANY or used_ip in _ANY)
        for ip, protocol, port in wanted
        for used_ip, used_protocol, used_port in taken
    )


_ANY = ("0.0.0.0", "::", "")


def _holds(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    value = values.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            bound = requirement.values[0] if requirement.values else ""
            return value is not None and _compares(value, requirement.operator, bound)
    return False


def _compares(value: str, operator: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)
    except ValueError:
        return False
