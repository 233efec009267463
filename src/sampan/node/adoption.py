"""After a restart of the agent: bring saved records in line with what the runtime has now.

Nothing is started or stopped here; a container that runs as its record says is left alone, one that ended meanwhile
gets its end recorded, and one that is gone (the machine was restarted) counts as ended, to run again if its pod's
restart policy says so. A postStart hook that was cut short is not run again, as upstream. Pure but for reading what
ended containers left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sampan.api.core_v1 import Container, Pod
from sampan.node import ending
from sampan.node.containers import PodContainers
from sampan.node.records import Record
from sampan.node.runtime.types import ContainerState


def reconcile(
    pod: Pod, saved: Mapping[str, Record], states: Iterable[ContainerState], containers: PodContainers, now: float
) -> dict[str, Record]:
    """The records as they are now. Blocks shortly."""
    known = {state.id: state for state in states}
    declared = {one.name: one for one in (*pod.spec.init_containers, *pod.spec.containers)}
    return {
        name: _reconcile(declared[name], record, known.get(record.container_id), containers, now)
        for name, record in saved.items()
        if name in declared
    }


def recognized(saved: Mapping[str, Record], states: Iterable[ContainerState]) -> dict[str, Record]:
    """The saved records, and of runs that began so shortly before the agent died that it could not save them."""
    records = dict(saved)
    for state in states:
        record = records.get(state.name, Record())
        next_attempt = record.restart_count + bool(record.container_id)
        if state.started_at and state.attempt == next_attempt and not record.running:
            image, image_id = state.labels.get("image", ""), state.labels.get("imageID", "")
            records[state.name] = record.begin(state.id, image, image_id, state.started_at)
    return records


def strangers(saved: Mapping[str, Record], states: Iterable[ContainerState]) -> list[ContainerState]:
    """Containers that no record tells of: their creation, or their removal, was cut short."""
    known = {record.container_id for record in saved.values()}
    return [state for state in states if state.id not in known]


def sandbox_lost(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records once the pod has to begin anew, init containers included."""
    return {name: record.forget_run() for name, record in records.items()}


def _reconcile(
    container: Container, record: Record, state: ContainerState | None, containers: PodContainers, now: float
) -> Record:
    if not record.running:
        return record
    if state is None:
        return record.end(ending.vanished(record.container_id, record.running_since or now, now))
    if state.status == "stopped":
        message = containers.termination_log(container.name, state.attempt)
        return record.end(ending.exit_of(container, state, message))
    return replace(record, waiting=None).begun(container)
