"""What a running cluster uses of the machine, and how long it took to start."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.cluster import launch
from sampan.cluster.paths import ClusterPaths
from sampan.kernel import processes


@dataclass(frozen=True, slots=True)
class Usage:
    """Processes of the box, pods and supervisor included, and their memory in bytes (PSS)."""

    processes: int
    memory: int


def usage(cluster: ClusterPaths, box_pid: int) -> Usage:
    everyone = [launch.supervisor_pid(cluster), box_pid, *processes.descendants(box_pid)]
    return Usage(len(everyone), processes.total_set_size(everyone))


def note_start(cluster: ClusterPaths, seconds: float) -> None:
    """Keep how long the start took, for `start_seconds`."""
    cluster.started.write_text(f"{seconds:.3f}")


def start_seconds(cluster: ClusterPaths) -> float:
    """How long the last start took; 0 if it has not finished."""
    return float(cluster.started.read_text()) if cluster.started.exists() else 0.0
