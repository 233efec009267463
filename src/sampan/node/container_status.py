"""The status of one container, from its record: state, last state, readiness and restarts."""

from collections.abc import Mapping

from sampan.api.core_v1 import Container, Pod
from sampan.api.pods import is_sidecar
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.node import plan as planning
from sampan.node.records import Exit, Record, Role, role_of

CONTAINER_ID_SCHEME = "sampan://"


def container_status(pod: Pod, container: Container, records: Mapping[str, Record]) -> Object:
    """One entry of `containerStatuses` or `initContainerStatuses`."""
    record = records.get(container.name) or Record()
    last = _last_exit(record)
    return {
        "name": container.name,
        "state": _state(pod, record, records),
        "lastState": {"terminated": _terminated(last)} if last else {},
        "ready": _ready(pod, container, record),
        "restartCount": record.restart_count,
        "image": record.image or container.image,
        "imageID": record.image_id,
        "containerID": _container_id(record.container_id),
        "started": record.running and record.started,
    }


def waiting_by_default(pod: Pod, records: Mapping[str, Record]) -> str:
    """Why a container that nothing happened to yet does not run."""
    return "ContainerCreating" if planning.initialized(pod, records) else "PodInitializing"


def _state(pod: Pod, record: Record, records: Mapping[str, Record]) -> Object:
    if record.running_since is not None:
        return {"running": {"startedAt": times.from_epoch(record.running_since)}}
    if record.waiting:
        waiting = {"reason": record.waiting.reason}
        return {"waiting": waiting | ({"message": record.waiting.message} if record.waiting.message else {})}
    if record.exit:
        return {"terminated": _terminated(record.exit)}
    return {"waiting": {"reason": waiting_by_default(pod, records)}}


def _last_exit(record: Record) -> Exit | None:
    """A container that waits to be restarted shows its latest end as its last state."""
    return (record.exit or record.last_exit) if record.waiting else record.last_exit


def _ready(pod: Pod, container: Container, record: Record) -> bool:
    if role_of(pod, container) is Role.INIT and not is_sidecar(container):
        return record.succeeded
    return record.running and record.ready


def _terminated(ended: Exit) -> Object:
    found: Object = {"exitCode": ended.code, "reason": ended.reason}
    if ended.signal:
        found["signal"] = ended.signal
    if ended.message:
        found["message"] = ended.message
    found |= {"startedAt": times.from_epoch(ended.started_at), "finishedAt": times.from_epoch(ended.finished_at)}
    if ended.container_id:
        found["containerID"] = _container_id(ended.container_id)
    return found


def _container_id(identifier: str) -> str:
    return CONTAINER_ID_SCHEME + identifier if identifier else ""
