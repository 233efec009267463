"""From Services to their pods and back, by index: the cost grows with what is found, not with what exists."""

from collections.abc import Iterator, Mapping

from sampan.api import pods
from sampan.api.core_v1 import Pod, Service
from sampan.client.informer import Informer


def selected_pods(cache: Informer[Pod], namespace: str, selector: Mapping[str, str]) -> list[Pod]:
    """The pods of the namespace that have all labels of a non-empty selector."""
    wanted = selector.items()
    buckets = (cache.by_index("label", (namespace, key, value)) for key, value in wanted)
    smallest = min(buckets, key=len)
    return [pod for pod in smallest if wanted <= pod.metadata.labels.items()]


def services_of(cache: Informer[Service], pod: Pod) -> Iterator[Service]:
    """The Services that select the pod."""
    labels = pod.metadata.labels.items()
    for key, value in labels:
        for service in cache.by_index("selector", (pod.metadata.namespace, key, value)):
            if service.spec.selector.items() <= labels:
                yield service


def services_touched(cache: Informer[Service], old: Pod | None, new: Pod | None) -> Iterator[Service]:
    """The Services whose endpoints a pod's change may change."""
    if old is not None and new is not None and endpoint_state(old) == endpoint_state(new):
        return
    if new is not None:
        yield from services_of(cache, new)
    if old is not None and (new is None or old.metadata.labels != new.metadata.labels):
        yield from services_of(cache, old)


def endpoint_state(pod: Pod) -> tuple[object, ...]:
    """All that a pod's endpoints depend on and that can change while it lives."""
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        pod.status.pod_ips,
        pod.status.pod_ip,
        pod.spec.node_name,
        pods.is_terminal(pod),
        pods.is_terminating(pod),
        pods.is_ready(pod),
    )
