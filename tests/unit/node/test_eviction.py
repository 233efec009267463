"""Who is evicted when a node runs short, and what is said about it."""

from dataclasses import replace

import pytest

from sampan.api.core_v1 import Container, Pod, PodSpec, PodStatus, ResourceRequirements
from sampan.api.meta_v1 import ObjectMeta
from sampan.node import eviction
from sampan.node.eviction import DISK, MEMORY, Candidate, Shortage
from sampan.node.facts import MachineFacts

MIB = 1 << 20
ROOMY = MachineFacts(
    cpus=2,
    memory_bytes=1000 * MIB,
    disk_bytes=1000 * MIB,
    disk_available_bytes=500 * MIB,
    memory_available_bytes=500 * MIB,
    kernel="",
    os_image="",
    machine_id="",
    boot_id="",
)
THRESHOLDS = {MEMORY: "100Mi", DISK: "5%"}


def candidate(name: str, used: int, *, request: str = "0", priority: int = 0, phase: str = "Running") -> Candidate:
    container = Container(name="main", resources=ResourceRequirements(requests={"memory": request}))
    spec = PodSpec(containers=(container,), priority=priority)
    return Candidate(
        Pod(metadata=ObjectMeta(name=name), spec=spec, status=PodStatus(phase=phase)), {"main": used * MIB}
    )


@pytest.mark.parametrize(
    ("facts", "signals"),
    [
        (ROOMY, []),
        (replace(ROOMY, memory_available_bytes=100 * MIB), []),
        (replace(ROOMY, memory_available_bytes=100 * MIB - 1), [MEMORY]),
        (replace(ROOMY, disk_available_bytes=50 * MIB), []),
        (replace(ROOMY, disk_available_bytes=49 * MIB), [DISK]),
        (replace(ROOMY, disk_available_bytes=0, memory_available_bytes=0), [MEMORY, DISK]),
    ],
)
def test_a_node_is_short_of_what_is_below_its_threshold(facts: MachineFacts, signals: list[str]) -> None:
    assert [one.signal for one in eviction.shortages(facts, THRESHOLDS)] == signals


def test_without_thresholds_a_node_is_never_short() -> None:
    assert eviction.shortages(replace(ROOMY, memory_available_bytes=0), {}) == ()


@pytest.mark.parametrize(
    ("candidates", "signal", "chosen"),
    [
        ([candidate("small", 10), candidate("large", 50)], MEMORY, "large"),
        ([candidate("modest", 60, request="100Mi"), candidate("greedy", 50)], MEMORY, "greedy"),
        ([candidate("important", 50, priority=1000), candidate("cheap", 10)], MEMORY, "cheap"),
        ([candidate("within", 10, request="20Mi"), candidate("above", 50, priority=9)], MEMORY, "above"),
        ([candidate("system", 50, priority=2_000_000_000), candidate("user", 1)], MEMORY, "user"),
        ([candidate("ended", 50, phase="Succeeded"), candidate("running", 1)], MEMORY, "running"),
        ([candidate("important", 1, priority=5), candidate("cheap", 1)], DISK, "cheap"),
        ([candidate("system", 50, priority=2_000_001_000)], MEMORY, None),
        ([], MEMORY, None),
    ],
)
def test_the_least_deserving_pod_goes_first(candidates: list[Candidate], signal: str, chosen: str | None) -> None:
    found = eviction.victim(candidates, signal)
    assert (found.pod.metadata.name if found else None) == chosen


def test_an_evicted_pod_is_told_why_in_upstream_s_words() -> None:
    fate = eviction.fate(candidate("web", 50, request="20Mi"), Shortage(MEMORY, 90 * MIB, 100 * MIB))
    assert fate.reason == "Evicted"
    assert fate.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 92160Ki. "
        "Container main was using 51200Ki, request is 20Mi, has larger consumption of memory. "
    )
