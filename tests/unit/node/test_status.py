"""A pod's status from the records of its containers, as upstream computes it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from sampan.api.core_v1 import Container, Pod, PodReadinessGate, PodSpec, Probe, ResourceRequirements
from sampan.api.meta_v1 import Condition, ObjectMeta
from sampan.node.qos import qos_class
from sampan.node.records import Exit, Record, Waiting
from sampan.node.status import PodFate, PodView, pod_status

T0, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
EPOCH = 1767225600.0
RUNNING = Record(container_id="abc", image="img", image_id="sha", running_since=EPOCH, started=True, ready=True)
FAILED = Exit(3, "Error", EPOCH, EPOCH + 9, "abc")
DONE = Exit(0, "Completed", EPOCH, EPOCH + 9, "abc")


def pod(policy: str = "Always", **spec: Any) -> Pod:
    containers = spec.pop("containers", (Container(name="a", image="web:1"),))
    meta = ObjectMeta(name="p", namespace="ns", uid="u", generation=2)
    return Pod(metadata=meta, spec=PodSpec(restart_policy=policy, containers=containers, **spec))


def status(of: Pod, records: dict[str, Record], previous: tuple[Condition, ...] = (), **view: Any) -> dict[str, Any]:
    view = {"host_ip": "10.2.2.10", "pod_ips": ("10.244.0.5",), "sandbox_ready": True, **view}
    return pod_status(PodView(pod=of, records=records, start_time=EPOCH, **view), previous, T0)


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in found["conditions"] if one["type"] == kind)


def test_a_running_pod() -> None:
    found = status(pod(), {"a": RUNNING})
    assert found["phase"] == "Running"
    assert [(one["type"], one["status"]) for one in found["conditions"]] == [
        ("PodReadyToStartContainers", "True"),
        ("Initialized", "True"),
        ("Ready", "True"),
        ("ContainersReady", "True"),
        ("PodScheduled", "True"),
    ]
    assert found["podIPs"] == [{"ip": "10.244.0.5"}]
    assert found["hostIPs"] == [{"ip": "10.2.2.10"}]
    assert found["observedGeneration"] == 2
    assert found["containerStatuses"] == [
        {
            "name": "a",
            "state": {"running": {"startedAt": T0}},
            "lastState": {},
            "ready": True,
            "restartCount": 0,
            "image": "img",
            "imageID": "sha",
            "containerID": "sampan://abc",
            "started": True,
        }
    ]


@pytest.mark.parametrize(
    ("why", "policy", "record", "phase"),
    [
        ("nothing started yet", "Always", Record(), "Pending"),
        ("an image is missing", "Always", Record(waiting=Waiting("ErrImagePull")), "Pending"),
        ("it runs", "Never", RUNNING, "Running"),
        ("it crashed and restarts", "Always", Record(container_id="abc", exit=FAILED), "Running"),
        ("it crashed and waits", "Always",
         Record(container_id="abc", exit=FAILED, waiting=Waiting("CrashLoopBackOff")), "Running"),
        ("it is retried", "OnFailure", Record(container_id="abc", exit=FAILED), "Running"),
        ("it failed for good", "Never", Record(container_id="abc", exit=FAILED), "Failed"),
        ("it succeeded", "OnFailure", Record(container_id="abc", exit=DONE), "Succeeded"),
        ("a success restarts", "Always", Record(container_id="abc", exit=DONE), "Running"),
    ],
)  # fmt: skip
def test_phases(why: str, policy: str, record: Record, phase: str) -> None:
    assert status(pod(policy), {"a": record})["phase"] == phase, why


def test_a_crashed_container_that_waits_shows_its_end_as_last_state() -> None:
    record = Record(container_id="abc", exit=FAILED, waiting=Waiting("CrashLoopBackOff", "back-off"), restart_count=4)
    container = status(pod(), {"a": record})["containerStatuses"][0]
    assert container["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert container["lastState"]["terminated"]["containerID"] == "sampan://abc"
    assert container["restartCount"] == 4
    assert not container["ready"]


def test_unready_containers_are_named() -> None:
    two = pod(containers=(Container(name="a"), Container(name="b", readiness_probe=Probe())))
    found = status(two, {"a": RUNNING, "b": replace(RUNNING, ready=False)})
    for kind in ("Ready", "ContainersReady"):
        assert condition(found, kind)["reason"] == "ContainersNotReady"
        assert condition(found, kind)["message"] == "containers with unready status: [b]"


def test_a_pod_that_initializes_says_which_containers_it_waits_for() -> None:
    two = pod(init_containers=(Container(name="first"), Container(name="second")))
    found = status(two, {"first": replace(RUNNING, ready=False)})
    assert condition(found, "Initialized")["reason"] == "ContainersNotInitialized"
    assert condition(found, "Initialized")["message"] == "containers with incomplete status: [first second]"
    assert found["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert found["phase"] == "Pending"


def test_a_completed_pod_is_not_ready_any_more() -> None:
    found = status(pod("Never"), {"a": Record(container_id="abc", exit=DONE)})
    assert condition(found, "Ready")["reason"] == "PodCompleted"
    assert condition(found, "Initialized") | {"status": "True", "reason": "PodCompleted"} == condition(
        found, "Initialized"
    )


def test_a_stopped_pod_has_succeeded_only_if_all_containers_have() -> None:
    assert status(pod(), {"a": Record(container_id="abc", exit=DONE)}, stopped=True)["phase"] == "Succeeded"
    assert status(pod(), {"a": Record(container_id="abc", exit=FAILED)}, stopped=True)["phase"] == "Failed"


def test_a_pods_fate_overrules_its_containers() -> None:
    found = status(pod(), {"a": RUNNING}, fate=PodFate(reason="DeadlineExceeded", message="too long"))
    assert (found["phase"], found["reason"], found["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_readiness_gates_are_waited_for() -> None:
    gated = pod(readiness_gates=(PodReadinessGate(condition_type="example.com/lb"),))
    found = status(gated, {"a": RUNNING})
    assert condition(found, "ContainersReady")["status"] == "True"
    assert condition(found, "Ready")["reason"] == "ReadinessGatesNotReady"


def test_transition_times_change_only_with_the_status() -> None:
    first = status(pod(), {"a": RUNNING})
    previous = msgspec.convert(first["conditions"], tuple[Condition, ...])
    view = PodView(pod=pod(), records={"a": replace(RUNNING, ready=False)}, start_time=EPOCH, sandbox_ready=True)
    second = pod_status(view, previous, LATER)
    assert condition(second, "Ready")["lastTransitionTime"] == LATER
    assert condition(second, "Initialized")["lastTransitionTime"] == T0


@pytest.mark.parametrize(
    ("limits", "requests", "expected"),
    [
        ({}, {}, "BestEffort"),
        ({}, {"cpu": "100m"}, "Burstable"),
        ({"cpu": "1"}, {}, "Burstable"),
        ({"cpu": "1", "memory": "1Gi"}, {}, "Guaranteed"),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "1000m", "memory": "1024Mi"}, "Guaranteed"),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "500m"}, "Burstable"),
    ],
)
def test_quality_of_service(limits: dict[str, str], requests: dict[str, str], expected: str) -> None:
    wanted = ResourceRequirements(limits=limits, requests=requests)  # type: ignore[arg-type]
    assert qos_class(pod(containers=(Container(name="a", resources=wanted),))) == expected
