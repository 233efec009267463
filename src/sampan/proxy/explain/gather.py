"""Asks the API server for everything that an explanation needs."""

from collections.abc import Sequence

from sampan.api.core_v1 import Node, Pod, Service
from sampan.client.resources import ENDPOINT_SLICES, EVENTS, NODES, PODS, SERVICES
from sampan.client.rest import Client as APIClient
from sampan.proxy.explain.facts import NODE, OUTSIDE, POD, Client, ClusterFacts, PodEvent
from sampan.proxy.explain.families import node_ips, pod_ips
from sampan.proxy.explain.nearest import nearest
from sampan.proxy.objects import SERVICE_NAME, Slice


class NoSuchClient(ValueError):
    """Nobody has the name that was given as the one who asks."""


async def gather(api: APIClient, namespace: str, name: str, asked_by: str = "") -> ClusterFacts:
    """All facts about one Service and one client: a pod's name, a node's, `outside`, or nothing for the first node.

    Raises NoSuchClient, StatusError, OSError.
    """
    services = (await api.list(SERVICES, type=Service)).items
    pods = (await api.list(PODS, type=Pod)).items
    nodes = (await api.list(NODES, type=Node)).items
    slices = await api.list(ENDPOINT_SLICES, namespace, label_selector=f"{SERVICE_NAME}={name}", type=Slice)
    events = await api.list(EVENTS, namespace, field_selector="type=Warning", type=PodEvent)
    found = [each for each in services if (each.metadata.namespace, each.metadata.name) == (namespace, name)]
    return ClusterFacts(
        namespace=namespace,
        name=name,
        client=client_named(asked_by, namespace, pods, nodes),
        service=found[0] if found else None,
        services=tuple((each.metadata.namespace, each.metadata.name) for each in services),
        pods=tuple(pods),
        slices=tuple(slices.items),
        events=tuple(events.items),
        nodes=tuple(nodes),
    )


def client_named(name: str, namespace: str, pods: Sequence[Pod], nodes: Sequence[Node]) -> Client:
    """The client that a name means: `outside`, a node, or a pod as `name` or `namespace/name`. Raises NoSuchClient."""
    by_name = {node.metadata.name: node for node in nodes}
    if not by_name:
        raise NoSuchClient("the cluster has no node")
    first = min(by_name)
    if name == OUTSIDE:
        return Client(kind=OUTSIDE, node=first)
    if not name or name in by_name:
        node = name or first
        return Client(kind=NODE, node=node, ips=node_ips(by_name[node]))
    key = name if "/" in name else f"{namespace}/{name}"
    by_key = {pod.metadata.key: pod for pod in pods}
    if key in by_key:
        pod = by_key[key]
        if not pod.spec.node_name:
            raise NoSuchClient(f"pod {key} is on no node yet")
        return Client(kind=POD, name=key, node=pod.spec.node_name, ips=pod_ips(pod))
    meant = nearest(name, [*by_name, *(pod.metadata.name for pod in pods if pod.metadata.namespace == namespace)])
    raise NoSuchClient(f"there is no pod {key} and no node {name}" + (f"; did you mean {meant}?" if meant else ""))
