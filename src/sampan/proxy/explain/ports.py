"""Target ports: what a Service's port means in each pod, and whether anybody listens there."""

from collections.abc import Iterator, Sequence

from sampan.api.core_v1 import Pod, Service, ServicePort
from sampan.api.pods import is_ready, named_port, serving_containers
from sampan.proxy.explain.facts import ClusterFacts, Listening, NodeFacts
from sampan.proxy.explain.families import pod_ips, service_families
from sampan.proxy.explain.nearest import nearest
from sampan.proxy.explain.report import Step, fine, note, wrong
from sampan.proxy.explain.selection import selected
from sampan.proxy.state import FAMILY_NAMES, is_family

TARGETS, SOCKETS = "Target port", "Socket"


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The number of a Service's port in a pod; None if the pod has no port of that name."""
    target = port.target_port or port.port
    if isinstance(target, int):
        return target
    found = named_port(pod, target, port.protocol)
    return found.container_port if found else None


def target_steps(service: Service, facts: ClusterFacts) -> Iterator[Step]:
    """Whether named target ports exist."""
    for port in service.spec.ports:
        if not isinstance(port.target_port, str):
            continue
        pods = selected(facts)
        lacking = [pod for pod in pods if target_port(port, pod) is None]
        if not lacking:
            numbers = sorted({str(target_port(port, pod)) for pod in pods})
            if pods:
                yield fine(TARGETS, f"{port.target_port} is port {', '.join(numbers)}")
            continue
        names = sorted({each.name for pod in lacking for container in serving_containers(pod)
                        for each in container.ports if each.name})  # fmt: skip
        text = f"pod {lacking[0].metadata.name} has no {port.protocol} port named {port.target_port!r}"
        have = f"; it has {', '.join(names)}" if names else ", nor any other name for a port"
        if len(lacking) < len(pods):
            yield note(TARGETS, text + have + ": it is left out")
        else:
            yield wrong(TARGETS, text + have, _rename(port, names, facts))


def _rename(port: ServicePort, names: Sequence[str], facts: ClusterFacts) -> str:
    meant = nearest(str(port.target_port), names) or (names[0] if len(names) == 1 else "")
    if meant:
        return f"write targetPort: {meant} in the Service (kubectl -n {facts.namespace} edit service {facts.name})"
    return f"name the container's port {port.target_port!r} in the pod's template, or write a number as targetPort"


def socket_steps(service: Service, facts: ClusterFacts, kernel: NodeFacts) -> Iterator[Step]:
    """Whether the processes in the pods listen where they are sent to."""
    for port in service.spec.ports:
        listening: dict[str, list[str]] = {}
        for pod in selected(facts):
            sockets = kernel.sockets.get(pod.metadata.key)
            number = target_port(port, pod)
            if sockets is None or number is None or not is_ready(pod):
                continue
            here = [each for each in sockets if each.port == number and each.protocol == port.protocol]
            families = [each for each in service_families(service) if any(is_family(ip, each) for ip in pod_ips(pod))]
            unheard = [family for family in families if not any(each.hears(family) for each in here)]
            if unheard:
                yield _deaf(pod, port, number, sockets, facts, unheard[0])
            else:
                listening.setdefault(f"{number}/{port.protocol}", []).append(pod.metadata.name)
        for where, names in listening.items():
            yield fine(SOCKETS, f"{', '.join(names)} listen{'s' if len(names) == 1 else ''} on {where}")


def _deaf(
    pod: Pod, port: ServicePort, number: int, sockets: Sequence[Listening], facts: ClusterFacts, family: int
) -> Step:
    """Nobody else reaches this pod at its target port by that family."""
    name, where = pod.metadata.name, f"{number}/{port.protocol}"
    here = [each for each in sockets if each.port == number and each.protocol == port.protocol]
    everywhere = "0.0.0.0" if family == 4 else "::"
    if here:
        by = f"by {FAMILY_NAMES[family]}" if any(not each.loopback for each in here) else "but itself"
        return wrong(
            SOCKETS,
            f"{name} listens on {where} only at {here[0].ip}, where nobody {by} can reach it",
            f"make the program listen on {everywhere} (all addresses)",
        )
    others = sorted({each.port for each in sockets if each.protocol == port.protocol and not each.loopback})
    heard = f"it listens on {', '.join(map(str, others))}" if others else "it listens on no other port"
    return wrong(SOCKETS, f"nothing listens on {where} in {name}", _other_port(port, others, facts), [heard])


def _other_port(port: ServicePort, others: Sequence[int], facts: ClusterFacts) -> str:
    if len(others) == 1:
        patch = f'[{{"op":"replace","path":"/spec/ports/{_index(port, facts)}/targetPort","value":{others[0]}}}]'
        return f"kubectl -n {facts.namespace} patch service {facts.name} --type=json -p '{patch}'"
    return "set targetPort to the port that the program listens on, or make the program listen there"


def _index(port: ServicePort, facts: ClusterFacts) -> int:
    return facts.service.spec.ports.index(port) if facts.service else 0
