"""Which nodes run a DaemonSet's pod, and how a pod is tied to its node: pure."""

from typing import Any

from sampan.api import nodes
from sampan.api.core_v1 import Node, Pod, PodSpec, Toleration
from sampan.machinery.objects import Object

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_NETWORK_UNAVAILABLE = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def tolerations(spec: PodSpec) -> tuple[Toleration, ...]:
    """What every daemon pod tolerates besides what its template says."""
    pairs = (*_TOLERATED, _NETWORK_UNAVAILABLE) if spec.host_network else _TOLERATED
    return tuple(Toleration(key=key, operator="Exists", effect=effect) for key, effect in pairs)


def wants(spec: PodSpec, node: Node) -> tuple[bool, bool]:
    """Whether a new pod should run on the node, and whether one that runs there may stay."""
    if spec.node_name and spec.node_name != node.metadata.name:
        return False, False
    if not nodes.accepts(spec, node):
        return False, False
    tolerated = (*spec.tolerations, *tolerations(spec))
    runs = nodes.untolerated(node.spec.taints, tolerated, (nodes.NO_SCHEDULE, nodes.NO_EXECUTE)) is None
    stays = nodes.untolerated(node.spec.taints, tolerated, (nodes.NO_EXECUTE,)) is None
    return runs, stays


def tied_to(pod: Object, node: str, spec: PodSpec) -> Object:
    """The pod to create, with the affinity that only this node satisfies and the daemon's tolerations."""
    body: Object = dict(pod["spec"])
    affinity: dict[str, Any] = dict(body.get("affinity") or {})
    node_affinity: dict[str, Any] = dict(affinity.get("nodeAffinity") or {})
    fields = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    given_terms: list[Object] = required.get("nodeSelectorTerms") or [{}]
    terms = [{**term, "matchFields": fields} for term in given_terms]
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    body["affinity"] = {**affinity, "nodeAffinity": node_affinity}
    given = list(body.get("tolerations") or ())
    added = [{"key": one.key, "operator": one.operator, "effect": one.effect} for one in tolerations(spec)]
    body["tolerations"] = given + [one for one in added if one not in given]
    return {**pod, "spec": body}


def node_of(pod: Pod) -> str:
    """The node that a daemon pod is on, or is meant for while it waits for the scheduler."""
    if pod.spec.node_name or pod.spec.affinity is None or pod.spec.affinity.node_affinity is None:
        return pod.spec.node_name
    required = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    for term in required.node_selector_terms if required else ():
        for field in term.match_fields:
            if field.key == "metadata.name" and field.operator == "In" and len(field.values) == 1:
                return field.values[0]
    return ""
