"""Pure questions about pods, asked by controllers, the scheduler and the node agent alike.

A pod is *active* while it runs or may still run, *ready* when its Ready condition says so, and *available* once it has
been ready for a minimum time; these are the words that every workload's status counts in.
"""

from collections.abc import Iterator

from sampan.api.core_v1 import Container, ContainerPort, Pod
from sampan.api.meta_v1 import Condition
from sampan.machinery import times

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})


def condition(pod: Pod, kind: str) -> Condition | None:
    return next((one for one in pod.status.conditions if one.type == kind), None)


def is_terminal(pod: Pod) -> bool:
    """Its containers have ended for good."""
    return pod.status.phase in TERMINAL_PHASES


def is_terminating(pod: Pod) -> bool:
    """Its deletion was asked for, and it still exists."""
    return pod.metadata.deletion_timestamp is not None


def is_active(pod: Pod) -> bool:
    return not is_terminal(pod) and not is_terminating(pod)


def is_ready(pod: Pod) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)


def ready_since(pod: Pod) -> float | None:
    """The epoch at which a ready pod became ready; None when it is not."""
    ready = condition(pod, "Ready")
    if ready is None or ready.status != "True" or not ready.last_transition_time:
        return None
    return times.epoch(ready.last_transition_time)


def available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until a ready pod counts as available, 0 when it does already, None while it is not ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if not min_ready_seconds:
        return 0.0
    return None if since is None else max(0.0, since + min_ready_seconds - now)


def is_available(pod: Pod, min_ready_seconds: int, now: float) -> bool:
    return available_in(pod, min_ready_seconds, now) == 0.0


def is_sidecar(init_container: Container) -> bool:
    """A restartable init container (KEP-753): it runs beside the others and its ports count."""
    return init_container.restart_policy == "Always"


def serving_containers(pod: Pod) -> Iterator[Container]:
    """The containers whose ports can be reached while the pod runs."""
    yield from pod.spec.containers
    yield from (one for one in pod.spec.init_containers if is_sidecar(one))


def named_port(pod: Pod, name: str, protocol: str) -> ContainerPort | None:
    for container in serving_containers(pod):
        for port in container.ports:
            if port.name == name and port.protocol == protocol:
                return port
    return None


def restarts(pod: Pod) -> int:
    """The highest restart count among its containers."""
    return max((one.restart_count for one in pod.status.container_statuses), default=0)
