"""Pod admission on the node (kubelet's lifecycle.PodAdmitHandler): sysctls, node selector, host ports, resources.

The scheduler checks the same, but a pod may be bound by hand or by another scheduler. Pure; `pods.py` calls it before
it starts a worker. Reasons and messages are upstream's.
"""

from collections.abc import Iterable, Iterator, Mapping

from sampan.api.core_v1 import ContainerPort, Pod
from sampan.api.pods import is_sidecar, is_terminal, serving_containers
from sampan.machinery import quantity
from sampan.node.status import PodFate

SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced": "ipc",
    "net.ipv4.ip_local_port_range": "net",
    "net.ipv4.ip_local_reserved_ports": "net",
    "net.ipv4.ip_unprivileged_port_start": "net",
    "net.ipv4.ping_group_range": "net",
    "net.ipv4.tcp_fin_timeout": "net",
    "net.ipv4.tcp_keepalive_intvl": "net",
    "net.ipv4.tcp_keepalive_probes": "net",
    "net.ipv4.tcp_keepalive_time": "net",
    "net.ipv4.tcp_rmem": "net",
    "net.ipv4.tcp_syncookies": "net",
    "net.ipv4.tcp_wmem": "net",
}
"""What pods may set, and the namespace that it belongs to: upstream's safe sysctls, none of the unsafe ones."""
_EVERY_ADDRESS = ("", "0.0.0.0", "::")


def refusal(
    pod: Pod, others: Iterable[Pod], labels: Mapping[str, str], allocatable: Mapping[str, str | int]
) -> PodFate | None:
    """Why the node refuses the pod; None if it takes it. `others` are the pods it has taken already."""
    if forbidden := _forbidden_sysctl(pod):
        return PodFate(reason="SysctlForbidden", message=f"forbidden sysctl: {forbidden}")
    running = [other for other in others if not is_terminal(other)]
    if any(labels.get(key) != value for key, value in pod.spec.node_selector.items()):
        return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    if _conflicts(pod, running):
        return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    return _shortage(pod, running, allocatable)


def _forbidden_sysctl(pod: Pod) -> str:
    """What is wrong with the pod's sysctls; empty if nothing is (kubelet/sysctl/allowlist.go)."""
    context = pod.spec.security_context
    for one in context.sysctls if context else ():
        name = one.get("name", "").replace("/", ".")
        kind = SAFE_SYSCTLS.get(name)
        if kind is None:
            return f'"{name}" not allowlisted'
        if (kind == "net" and pod.spec.host_network) or (kind == "ipc" and pod.spec.host_ipc):
            return f'"{name}" not allowed with host {kind} enabled'
    return ""


def host_ports(pod: Pod) -> Iterator[ContainerPort]:
    """The ports of the node that a pod claims; all of its ports if it lives in the node's network."""
    for container in serving_containers(pod):
        for port in container.ports:
            if port.host_port:
                yield port


def _predicate(name: str, why: str) -> PodFate:
    return PodFate(reason=name, message=f"Predicate {name} failed: {why}")


def _conflicts(pod: Pod, others: list[Pod]) -> bool:
    wanted = list(host_ports(pod))
    return bool(wanted) and any(_clash(mine, theirs) for mine in wanted for one in others for theirs in host_ports(one))


def _clash(one: ContainerPort, other: ContainerPort) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    return one.host_ip == other.host_ip or one.host_ip in _EVERY_ADDRESS or other.host_ip in _EVERY_ADDRESS


def _shortage(pod: Pod, others: list[Pod], allocatable: Mapping[str, str | int]) -> PodFate | None:
    if len(others) + 1 > int(allocatable.get("pods", 0) or len(others) + 1):
        return _out_of("pods", 1, len(others), int(allocatable["pods"]))
    for resource in ("cpu", "memory"):
        requested = _request(pod, resource)
        if not requested or resource not in allocatable:
            continue
        used = sum(_request(one, resource) for one in others)
        capacity = _amount(allocatable[resource], resource)
        if used + requested > capacity:
            return _out_of(resource, requested, used, capacity)
    return None


def _out_of(resource: str, requested: int, used: int, capacity: int) -> PodFate:
    message = (
        f"Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    )
    return PodFate(reason=f"OutOf{resource}", message=message)


def _request(pod: Pod, resource: str) -> int:
    def ask(amounts: Mapping[str, str | int | float]) -> int:
        return _amount(amounts.get(resource, 0), resource)

    sidecars = sum(ask(one.resources.requests) for one in pod.spec.init_containers if is_sidecar(one))
    main = sum(ask(one.resources.requests) for one in pod.spec.containers)
    init = max((ask(one.resources.requests) for one in pod.spec.init_containers if not is_sidecar(one)), default=0)
    return max(main, init) + sidecars


def _amount(amount: str | float, resource: str) -> int:
    parsed = quantity.parse(str(amount))
    return parsed.milli() if resource == "cpu" else parsed.value()
