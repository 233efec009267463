"""What pods use, in the formats that metrics servers read: /stats/summary, /metrics/resource, and the agent's own."""

import time
from collections.abc import Iterable, Iterator

from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.node.node import Node
from sampan.node.runtime.types import Stats
from sampan.node.worker import PodWorker

_Usage = tuple[PodWorker, str, float, Stats]


def summary(node: Node, workers: Iterable[PodWorker]) -> Object:
    """The kubelet's stats/v1alpha1 Summary, as far as metrics-server and `kubectl top` read it."""
    pods: dict[str, Object] = {}
    for worker, container, started, used in _usage(node, workers):
        meta = worker.pod.metadata
        reference = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
        pod = pods.setdefault(meta.uid, {"podRef": reference, "startTime": times.from_epoch(started), "containers": []})
        entry = {"name": container, "startTime": times.from_epoch(started)} | _amounts(used)
        pod["containers"].append(entry)
    return {"node": {"nodeName": node.options.node_name}, "pods": list(pods.values())}


def resource_metrics(node: Node, workers: Iterable[PodWorker]) -> str:
    """Prometheus text with upstream's names."""
    cpu = ["# TYPE container_cpu_usage_seconds_total counter"]
    memory = ["# TYPE container_memory_working_set_bytes gauge"]
    start = ["# TYPE container_start_time_seconds gauge"]
    for worker, container, started, used in _usage(node, workers):
        meta = worker.pod.metadata
        labels = f'{{container="{container}",namespace="{meta.namespace}",pod="{meta.name}"}}'
        cpu.append(f"container_cpu_usage_seconds_total{labels} {used.cpu_nanoseconds / 1e9:.6f}")
        memory.append(f"container_memory_working_set_bytes{labels} {used.memory_working_set}")
        start.append(f"container_start_time_seconds{labels} {started:.3f}")
    return "\n".join((*cpu, *memory, *start)) + "\n"


def agent_metrics(workers: Iterable[PodWorker]) -> str:
    """The agent's own counters, with upstream's names."""
    pods = list(workers)
    running = sum(record.running for worker in pods for record in worker.records.values())
    lines = (
        "# TYPE kubelet_running_pods gauge",
        f"kubelet_running_pods {len(pods)}",
        "# TYPE kubelet_running_containers gauge",
        f'kubelet_running_containers{{container_state="running"}} {running}',
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {time.process_time():.3f}",
    )
    return "\n".join(lines) + "\n"


def _usage(node: Node, workers: Iterable[PodWorker]) -> Iterator[_Usage]:
    for worker in list(workers):
        for name, record in worker.records.items():
            used = node.runtime.stats(record.container_id) if record.running else None
            if used is not None:
                yield worker, name, record.running_since or 0.0, used


def _amounts(used: Stats) -> Object:
    moment = times.now()
    return {
        "cpu": {"time": moment, "usageCoreNanoSeconds": used.cpu_nanoseconds},
        "memory": {"time": moment, "usageBytes": used.memory_usage, "workingSetBytes": used.memory_working_set},
    }
