"""The table of pods: what one word says about a pod's whole state, in the words that `kubectl get pods` shows."""

from dataclasses import dataclass

from sampan.apiserver.registry.tables.table import (
    NONE,
    Cells,
    Table,
    age,
    columns,
    human_duration,
    is_true,
    name,
    or_none,
)
from sampan.machinery import times
from sampan.machinery.objects import Object

_TERMINAL = ("Succeeded", "Failed")


@dataclass(slots=True)
class _Summary:
    """What is gathered while walking the container statuses."""

    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def count(self, status: Object) -> None:
        self.restarts += status.get("restartCount") or 0
        ended = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last_restart = max(self.last_restart, ended)

    def restarts_cell(self, now: float) -> str:
        if not self.restarts or not self.last_restart:
            return str(self.restarts)
        return f"{self.restarts} ({human_duration(now - times.epoch(self.last_restart))} ago)"


def _cells(pod: Object, now: float) -> Cells:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    summary = summarize(pod)
    sidecars = sum(map(_is_sidecar, spec.get("initContainers") or ()))
    total = len(spec.get("containers") or ()) + sidecars
    addresses = status.get("podIPs") or [{"ip": status.get("podIP")}]
    return [
        name(pod),
        f"{summary.ready}/{total}",
        summary.reason,
        summary.restarts_cell(now),
        age(pod, now),
        or_none(addresses[0].get("ip")),
        or_none(spec.get("nodeName")),
        or_none(status.get("nominatedNodeName")),
        _readiness_gates(pod),
    ]


PODS = Table(
    columns(
        ("Name", "Ready", "Status", "Restarts", "Age"),
        wide=("IP", "Node", "Nominated Node", "Readiness Gates"),
    ),
    _cells,
)


def summarize(pod: Object) -> _Summary:
    """STATUS, READY and RESTARTS of a pod."""
    summary = _Summary(_phase_reason(pod))
    sidecar_summary = _Summary("")
    initializing = _walk_init(pod, summary, sidecar_summary)
    if not initializing or is_true(pod, "Initialized"):
        summary.restarts, summary.last_restart = sidecar_summary.restarts, sidecar_summary.last_restart
        _walk_containers(pod, summary)
    if pod["metadata"].get("deletionTimestamp"):
        status = pod.get("status") or {}
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif status.get("phase") not in _TERMINAL:
            summary.reason = "Terminating"
    return summary


def _phase_reason(pod: Object) -> str:
    status = pod.get("status") or {}
    gated = any(
        one.get("type") == "PodScheduled" and one.get("reason") == "SchedulingGated"
        for one in status.get("conditions") or ()
    )
    return "SchedulingGated" if gated else status.get("reason") or status.get("phase") or ""


def _walk_init(pod: Object, summary: _Summary, sidecars: _Summary) -> bool:
    """Count init containers up to the first that is not done; whether there is such a one."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    known = {container["name"]: container for container in spec.get("initContainers") or ()}
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        sidecar = _is_sidecar(known.get(one.get("name"), {}))
        summary.count(one)
        if sidecar:
            sidecars.count(one)
        if _is_done(one):
            continue
        if sidecar and one.get("started"):
            summary.ready += bool(one.get("ready"))
            continue
        summary.reason = _init_reason(one.get("state") or {}, f"{index}/{len(known)}")
        return True
    return False


def _init_reason(state: Object, progress: str) -> str:
    if (ended := state.get("terminated")) is not None:
        return "Init:" + (ended.get("reason") or _exit(ended))
    waiting = (state.get("waiting") or {}).get("reason")
    return f"Init:{waiting}" if waiting and waiting != "PodInitializing" else f"Init:{progress}"


def _walk_containers(pod: Object, summary: _Summary) -> None:
    """The first container that waits or has ended speaks for the pod."""
    running = False
    for one in reversed((pod.get("status") or {}).get("containerStatuses") or ()):
        summary.count(one)
        state = one.get("state") or {}
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif ended is not None:
            summary.reason = ended.get("reason") or _exit(ended)
        elif one.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if is_true(pod, "Ready") else "NotReady"


def _is_done(status: Object) -> bool:
    ended = (status.get("state") or {}).get("terminated")
    return ended is not None and not ended.get("exitCode")


def _exit(ended: Object) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _is_sidecar(container: Object) -> bool:
    return container.get("restartPolicy") == "Always"


def _readiness_gates(pod: Object) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates")
    if not gates:
        return NONE
    met = sum(is_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}"
