"""What goes on beside a running container: its postStart hook and its probes, and what follows from their failures."""

from collections.abc import Callable
from dataclasses import dataclass

from sampan.api.core_v1 import Container, Pod
from sampan.node import hooks
from sampan.node.node import Node
from sampan.node.probes import ContainerProbes, Kind, Listener
from sampan.node.records import Record


@dataclass(frozen=True, slots=True)
class Callbacks:
    """How the worker hears of a container, by name."""

    started: Callable[[str], None]
    ready: Callable[[str, bool], None]
    restart: Callable[[str, str], None]
    """The container must be stopped, so that the plan restarts it; the message says why."""


class Supervision:
    """Hooks and probes of a pod's containers."""

    def __init__(self, node: Node, pod: Pod, callbacks: Callbacks) -> None:
        self._node = node
        self._pod = pod
        self._callbacks = callbacks
        self._probes: dict[str, ContainerProbes] = {}

    def watch(self, container: Container, record: Record, pod_ip: str) -> None:
        """Begin probing a container that runs."""
        self.forget(container.name)
        probes = ContainerProbes(
            self._node.runtime,
            container,
            record.container_id,
            pod_ip,
            record.running_since or 0.0,
            self._listener(container.name),
        )
        self._probes[container.name] = probes
        probes.begin(started=record.started)

    def forget(self, name: str) -> None:
        """The container has ended."""
        probes = self._probes.pop(name, None)
        if probes:
            probes.end()

    def wind_down(self, name: str) -> None:
        """The container is being stopped: only its readiness still matters."""
        probes = self._probes.get(name)
        if probes:
            probes.end(keep_readiness=True)

    def close(self) -> None:
        for name in list(self._probes):
            self.forget(name)

    async def post_start(self, container: Container, record: Record, pod_ip: str) -> bool:
        """Run the hook, if there is one; a failure is the end of the container."""
        hook = container.lifecycle.post_start if container.lifecycle else None
        if hook is None:
            return True
        try:
            await hooks.run(self._node.runtime, container, record.container_id, pod_ip, hook)
        except hooks.HookFailed:
            self._node.event(self._pod, "Warning", "FailedPostStartHook", "PostStartHook failed", container.name)
            self._callbacks.restart(container.name, "FailedPostStartHook")
            return False
        return True

    def _listener(self, name: str) -> Listener:
        def unhealthy(kind: Kind) -> None:
            self._callbacks.restart(name, f"Container {name} failed {kind.lower()} probe, will be restarted")

        def failed_attempt(kind: Kind, output: str) -> None:
            self._node.event(self._pod, "Warning", "Unhealthy", f"{kind} probe failed: {output}", name)

        return Listener(
            started=lambda: self._callbacks.started(name),
            ready=lambda ready: self._callbacks.ready(name, ready),
            unhealthy=unhealthy,
            failed_attempt=failed_attempt,
        )
