"""A pod's status, computed from the records of its containers as upstream's agent computes it.

Pure: the same inputs give the same status, and transition times are carried over from the status before, so that the
writer (`status_writer.py`) sends a patch only when something changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.api.core_v1 import Container, Pod
from sampan.api.meta_v1 import Condition
from sampan.api.pods import is_sidecar
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.node import plan as planning
from sampan.node.container_status import container_status
from sampan.node.qos import qos_class
from sampan.node.records import Record

Records = Mapping[str, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFate:
    """Why a pod ends regardless of its containers: rejected, past its deadline, evicted."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """Everything a status is computed from."""

    pod: Pod
    records: Records
    start_time: float
    host_ip: str = ""
    pod_ips: tuple[str, ...] = ()
    sandbox_ready: bool = False
    fate: PodFate | None = None
    stopped: bool = False
    """The pod was told to end and all its containers have."""


def pod_status(view: PodView, previous: Iterable[Condition], now: str) -> Object:
    """The whole `status` of a pod. `previous` are the conditions written last, `now` the time of new transitions."""
    pod = view.pod
    init = [container_status(pod, one, view.records) for one in pod.spec.init_containers]
    main = [container_status(pod, one, view.records) for one in pod.spec.containers]
    phase = pod_phase(view)
    status: Object = {
        "phase": phase,
        "conditions": _conditions(view, phase, {one.type: one for one in previous}, now),
        "startTime": times.from_epoch(view.start_time),
        "containerStatuses": main,
        "qosClass": qos_class(pod),
    }
    if init:
        status["initContainerStatuses"] = init
    if view.fate:
        told = {"reason": view.fate.reason, "message": view.fate.message}
        status |= {name: text for name, text in told.items() if text}
    if pod.metadata.generation:
        status["observedGeneration"] = pod.metadata.generation
    return status | _addresses(view)


def rejected_status(pod: Pod, fate: PodFate, now: str) -> Object:
    """The status of a pod that this node cannot run."""
    message = f"Pod was rejected: {fate.message}"
    return {"phase": "Failed", "reason": fate.reason, "message": message, "startTime": now, "qosClass": qos_class(pod)}


def pod_phase(view: PodView) -> str:
    """Pending, Running, Succeeded or Failed."""
    pod, records = view.pod, view.records
    if view.fate:
        return "Failed"
    if planning.init_failed(pod, records):
        return "Failed"
    main = [records.get(one.name) or Record() for one in pod.spec.containers]
    ended = [one for one in main if not one.running and (one.exit or one.last_exit)]
    if view.stopped:
        return "Succeeded" if main and all(one.succeeded for one in main) else "Failed"
    if not planning.initialized(pod, records) and len(ended) + sum(one.running for one in main) == 0:
        return "Pending"
    if any(not one.running and one not in ended for one in main):
        return "Pending"
    if planning.is_over(pod, records):
        return "Succeeded" if all(one.succeeded for one in main) else "Failed"
    return "Running"


def _addresses(view: PodView) -> Object:
    found: Object = {}
    if view.host_ip:
        found |= {"hostIP": view.host_ip, "hostIPs": [{"ip": view.host_ip}]}
    if view.pod_ips:
        found |= {"podIP": view.pod_ips[0], "podIPs": [{"ip": address} for address in view.pod_ips]}
    return found


# --- conditions


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A condition before it has a time."""

    type: str
    true: bool
    reason: str = ""
    message: str = ""


def _conditions(view: PodView, phase: str, previous: Mapping[str, Condition], now: str) -> list[Object]:
    containers_ready = _containers_ready(view, phase)
    verdicts = (
        _Verdict("PodReadyToStartContainers", view.sandbox_ready),
        _initialized(view, phase),
        _ready(view.pod, containers_ready, previous),
        containers_ready,
        _Verdict("PodScheduled", True),
    )
    return [_condition(view.pod, verdict, previous.get(verdict.type), now) for verdict in verdicts]


def _condition(pod: Pod, verdict: _Verdict, before: Condition | None, now: str) -> Object:
    status = "True" if verdict.true else "False"
    since = before.last_transition_time if before and before.status == status else None
    condition: Object = {"type": verdict.type, "status": status, "lastProbeTime": None}
    condition["lastTransitionTime"] = since or now
    if verdict.reason:
        condition["reason"] = verdict.reason
    if verdict.message:
        condition["message"] = verdict.message
    if pod.metadata.generation:
        condition["observedGeneration"] = pod.metadata.generation
    return condition


def _initialized(view: PodView, phase: str) -> _Verdict:
    if phase == "Succeeded":
        return _Verdict("Initialized", True, "PodCompleted")
    main_ran = any((record := view.records.get(one.name)) and record.container_id for one in view.pod.spec.containers)
    if main_ran or planning.initialized(view.pod, view.records):
        return _Verdict("Initialized", True)
    unfinished = [one.name for one in view.pod.spec.init_containers if not _init_complete(one, view.records)]
    message = f"containers with incomplete status: {_listed(unfinished)}"
    return _Verdict("Initialized", False, "ContainersNotInitialized", message)


def _init_complete(container: Container, records: Records) -> bool:
    record = records.get(container.name) or Record()
    return record.started if is_sidecar(container) else record.succeeded


def _containers_ready(view: PodView, phase: str) -> _Verdict:
    if phase == "Succeeded":
        return _Verdict("ContainersReady", False, "PodCompleted")
    if phase == "Failed":
        return _Verdict("ContainersReady", False, "PodFailed")
    needed = [one for one in view.pod.spec.init_containers if is_sidecar(one)] + list(view.pod.spec.containers)
    unready = [one.name for one in needed if not (view.records.get(one.name) or Record()).ready]
    if not unready:
        return _Verdict("ContainersReady", True)
    message = f"containers with unready status: {_listed(unready)}"
    return _Verdict("ContainersReady", False, "ContainersNotReady", message)


def _ready(pod: Pod, containers_ready: _Verdict, previous: Mapping[str, Condition]) -> _Verdict:
    if not containers_ready.true:
        return _Verdict("Ready", False, containers_ready.reason, containers_ready.message)
    complaints = []
    for gate in pod.spec.readiness_gates:
        kind = gate.condition_type
        found = next((one for one in pod.status.conditions if one.type == kind), previous.get(kind))
        if found is None:
            complaints.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found.status != "True":
            complaints.append(f'the status of pod readiness gate "{kind}" is not "True", but {found.status}')
    if complaints:
        return _Verdict("Ready", False, "ReadinessGatesNotReady", ", ".join(complaints))
    return _Verdict("Ready", True)


def _listed(names: list[str]) -> str:
    return "[" + " ".join(names) + "]"
