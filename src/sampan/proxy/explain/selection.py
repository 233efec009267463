"""Which pods are a Service's, and why the others are not: labels, phase, address, readiness, named port."""

from collections.abc import Iterator, Sequence

from sampan.api.core_v1 import Container, ContainerStatus, Pod, Probe, Service
from sampan.api.pods import condition, is_ready, is_terminal, is_terminating, serving_containers
from sampan.proxy.explain.facts import ClusterFacts, PodEvent
from sampan.proxy.explain.nearest import Miss, misses
from sampan.proxy.explain.report import Step, fine, note, wrong

LABELS, READINESS = "Pods", "Readiness"


def selected(facts: ClusterFacts) -> list[Pod]:
    """The pods of the Service's namespace whose labels it selects."""
    selector = facts.service.spec.selector if facts.service else {}
    if not selector:
        return []
    return [pod for pod in _pods_here(facts) if not misses(selector, pod.metadata.labels)]


def label_steps(service: Service, facts: ClusterFacts) -> Iterator[Step]:
    """Whether the selector finds pods."""
    selector = service.spec.selector
    if not selector:
        yield note(LABELS, "the Service has no selector: its EndpointSlices are made by somebody else")
        return
    found, text = selected(facts), _text(selector)
    if found:
        names = ", ".join(pod.metadata.name for pod in found)
        yield fine(LABELS, f"{len(found)} with {text}: {names}", _details(_near_misses(facts)))
        return
    near = _near_misses(facts)
    if near:
        pod, missed = near[0]
        labels = ",".join(f"{key}={value}" for key, value in sorted(_corrected(selector, missed).items()))
        yield wrong(
            LABELS,
            f"no pod has {text}; pod {pod.metadata.name} {missed[0]}",
            f"make them agree: kubectl -n {facts.namespace} set selector service {facts.name} {labels}"
            f" (or give the pods the label {'='.join(missed[0].wanted)})",
            _details(near),
        )
    else:
        yield wrong(LABELS, f"no pod in namespace {facts.namespace} has {text}", _where_else(facts, selector))


def readiness_steps(facts: ClusterFacts) -> Iterator[Step]:
    """Whether the selected pods may be sent to."""
    service, pods = facts.service, selected(facts)
    if service is None or not pods:
        return
    reasons = {pod.metadata.name: why_not_ready(pod, facts.events) for pod in pods}
    bad = {name: reason for name, reason in reasons.items() if reason}
    details = [f"{name}: {reason}" for name, reason in bad.items()]
    if service.spec.publish_not_ready_addresses and bad:
        yield note(READINESS, "pods that are not ready are used, too (publishNotReadyAddresses)", details)
    elif not bad:
        yield fine(READINESS, "all of them are ready")
    elif len(bad) < len(pods):
        yield note(READINESS, f"{len(pods) - len(bad)} of {len(pods)} pods are ready", details)
    else:
        name, reason = next(iter(bad.items()))
        yield wrong(READINESS, f"no pod is ready; {name}: {reason}", _advice(pods[0], facts), details[1:])


def why_not_ready(pod: Pod, events: Sequence[PodEvent] = ()) -> str:
    """The reason in words; empty if the pod is ready."""
    if is_terminating(pod):
        return "it is being deleted"
    if is_terminal(pod):
        return f"it has ended ({pod.status.phase})"
    scheduled = condition(pod, "PodScheduled")
    if not pod.spec.node_name:
        return f"it is on no node: {scheduled.message if scheduled and scheduled.message else 'not scheduled yet'}"
    if is_ready(pod):
        return "" if pod.status.pod_ip else "it has no address"
    return _container_reason(pod, events) or _gate_reason(pod) or f"it is {pod.status.phase or 'Pending'}, not Ready"


def _container_reason(pod: Pod, events: Sequence[PodEvent]) -> str:
    statuses = {status.name: status for status in pod.status.container_statuses}
    for container in pod.spec.containers:
        status = statuses.get(container.name, ContainerStatus())
        if status.state.waiting is not None:
            waiting = status.state.waiting
            return f"container {container.name} waits: {waiting.reason}" + (
                f" ({waiting.message})" if waiting.message else ""
            )
        if status.state.terminated is not None:
            ended = status.state.terminated
            return f"container {container.name} ended with exit code {ended.exit_code} ({ended.reason})"
        if status.state.running is not None and not status.ready:
            return _probe_reason(pod, container, events)
    return ""


def _probe_reason(pod: Pod, container: Container, events: Sequence[PodEvent]) -> str:
    if container.readiness_probe is None:
        return f"container {container.name} has not started yet"
    said = [
        event.message
        for event in events
        if event.reason == "Unhealthy" and event.involved_object.name == pod.metadata.name
        and event.message.startswith("Readiness")
    ]  # fmt: skip
    why = f": {said[-1]}" if said else ""
    return f"the readiness probe of container {container.name} ({_probe(container.readiness_probe)}) fails{why}"


def _probe(probe: Probe) -> str:
    if probe.http_get is not None:
        action = probe.http_get
        return f"{(action.scheme or 'HTTP').lower()} GET :{action.port}{action.path}"
    if probe.tcp_socket is not None:
        return f"TCP connection to :{probe.tcp_socket.port}"
    if probe.grpc is not None:
        return f"gRPC health at :{probe.grpc.port}"
    return f"command {' '.join(probe.exec.command)}" if probe.exec is not None else "no action"


def _gate_reason(pod: Pod) -> str:
    for gate in pod.spec.readiness_gates:
        state = condition(pod, gate.condition_type)
        if state is None or state.status != "True":
            return f"its readiness gate {gate.condition_type} is not True"
    return ""


def _advice(pod: Pod, facts: ClusterFacts) -> str:
    ports = [f"{port.container_port}" for container in serving_containers(pod) for port in container.ports]
    declared = f"; the pod declares port {', '.join(ports)}" if ports else ""
    name = f"-n {facts.namespace} {pod.metadata.name}"
    return f"look at: kubectl describe pod {name}, kubectl logs {name}{declared}"


def _pods_here(facts: ClusterFacts) -> list[Pod]:
    return [pod for pod in facts.pods if pod.metadata.namespace == facts.namespace]


def _near_misses(facts: ClusterFacts) -> list[tuple[Pod, list[Miss]]]:
    """Pods that are not selected although each label that is wrong is nearly right."""
    selector = facts.service.spec.selector if facts.service else {}
    found = [(pod, misses(selector, pod.metadata.labels)) for pod in _pods_here(facts)]
    return [(pod, missed) for pod, missed in found if missed and all(miss.close for miss in missed)]


def _details(near: Sequence[tuple[Pod, list[Miss]]]) -> list[str]:
    return [f"not {pod.metadata.name}: it {miss}" for pod, missed in near for miss in missed]


def _corrected(selector: dict[str, str], missed: Sequence[Miss]) -> dict[str, str]:
    wanted = {miss.wanted[0] for miss in missed}
    return {key: value for key, value in selector.items() if key not in wanted} | dict(miss.found for miss in missed)


def _where_else(facts: ClusterFacts, selector: dict[str, str]) -> str:
    others = sorted({pod.metadata.namespace for pod in facts.pods if not misses(selector, pod.metadata.labels)})
    if others:
        return f"a Service selects pods of its own namespace only, and such pods are in {', '.join(others)}"
    return f"start such pods, or change the selector; see: kubectl get pods -n {facts.namespace} --show-labels"


def _text(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
