"""Each kind shows in `kubectl get` what upstream shows."""

from typing import Any

import pytest

from sampan.apiserver.registry.tables import TABLES
from sampan.apiserver.registry.tables.table import human_duration
from sampan.apiserver.resources import RESOURCES
from sampan.machinery import times
from sampan.machinery.objects import Object

NOW = times.epoch("2026-01-01T00:10:00Z")


def cells(group: str, kind: str, **fields: Any) -> dict[str, Any]:
    meta = {"name": "x", "creationTimestamp": "2026-01-01T00:05:00Z", **fields.pop("metadata", {})}
    table = TABLES[group, kind]
    values = table.cells({"kind": kind, "metadata": meta, **fields}, NOW)
    return dict(zip((column.name for column in table.columns), values, strict=True))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"),
        (10799, "179m"), (10800, "3h"), (11100, "3h5m"), (28800, "8h"), (172799, "47h"), (172800, "2d"),
        (180000, "2d2h"), (691200, "8d"), (63072000, "2y"), (63158400, "2y1d"), (252288000, "8y"),
    ],
)  # fmt: skip
def test_ages_grow_coarser(seconds: int, words: str) -> None:
    assert human_duration(seconds) == words


@pytest.mark.parametrize("key", TABLES, ids=lambda key: f"{key[0] or 'core'}/{key[1]}")
def test_an_object_with_nothing_in_it_still_has_a_row(key: tuple[str, str]) -> None:
    assert cells(*key)


def test_every_table_belongs_to_a_served_kind() -> None:
    assert set(TABLES) <= {(row.group, row.kind) for row in RESOURCES}


def status(phase: str = "Running", **fields: Any) -> Object:
    return {"phase": phase, **fields}


def running(ready: bool = True, restarts: int = 0, **last: Any) -> Object:
    return {"name": "a", "ready": ready, "restartCount": restarts, "state": {"running": {}}, "lastState": last}


def waiting(reason: str, restarts: int = 0, **last: Any) -> Object:
    return {
        "name": "a",
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": reason}},
        "lastState": last,
    }


def ended(code: int, reason: str = "", **more: Any) -> Object:
    return {"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": code, "reason": reason, **more}}}


LAST = {"terminated": {"finishedAt": "2026-01-01T00:09:55Z"}}
DELETED = {"deletionTimestamp": "2026-01-01T00:10:30Z"}
ONE: Object = {"containers": [{"name": "a"}]}
WITH_INIT: Object = {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]}
SIDECAR: Object = {"containers": [{"name": "a"}], "initContainers": [{"name": "a", "restartPolicy": "Always"}]}

POD_STATES: list[tuple[str, Object, Object, Object, tuple[str, str, str]]] = [
    ("pending", {}, ONE, status("Pending"), ("0/1", "Pending", "0")),
    ("running", {}, ONE, status(containerStatuses=[running()]), ("1/1", "Running", "0")),
    ("not ready", {}, ONE, status(containerStatuses=[running(ready=False)]), ("0/1", "Running", "0")),
    (
        "creating", {}, ONE, status("Pending", containerStatuses=[waiting("ContainerCreating")]),
        ("0/1", "ContainerCreating", "0"),
    ),
    (
        "crashing", {}, ONE, status(containerStatuses=[waiting("CrashLoopBackOff", 3, **LAST)]),
        ("0/1", "CrashLoopBackOff", "3 (5s ago)"),
    ),
    ("completed", {}, ONE, status("Succeeded", containerStatuses=[ended(0, "Completed")]), ("0/1", "Completed", "0")),
    ("failed with a code", {}, ONE, status("Failed", containerStatuses=[ended(3)]), ("0/1", "ExitCode:3", "0")),
    (
        "killed by a signal", {}, ONE, status("Failed", containerStatuses=[ended(137, signal=9)]),
        ("0/1", "Signal:9", "0"),
    ),
    ("evicted", {}, ONE, status("Failed", reason="Evicted"), ("0/1", "Evicted", "0")),
    ("terminating", DELETED, ONE, status(containerStatuses=[running()]), ("1/1", "Terminating", "0")),
    ("deleted when done", DELETED, ONE, status("Succeeded"), ("0/1", "Succeeded", "0")),
    ("on a lost node", DELETED, ONE, status(reason="NodeLost"), ("0/1", "Unknown", "0")),
    (
        "initialising", {}, WITH_INIT,
        status("Pending", initContainerStatuses=[ended(0), {"name": "j", "state": {"running": {}}}]),
        ("0/1", "Init:1/2", "0"),
    ),
    (
        "failing to initialise", {}, WITH_INIT,
        status("Pending", initContainerStatuses=[waiting("CrashLoopBackOff", 2)]),
        ("0/1", "Init:CrashLoopBackOff", "2"),
    ),
    (
        "initialisation failed", {}, WITH_INIT, status("Failed", initContainerStatuses=[ended(1, "Error")]),
        ("0/1", "Init:Error", "0"),
    ),
    (
        "with a sidecar", {}, SIDECAR,
        status(initContainerStatuses=[{**running(), "started": True}], containerStatuses=[running()]),
        ("2/2", "Running", "0"),
    ),
    (
        "gated", {}, ONE,
        status("Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
        ("0/1", "SchedulingGated", "0"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("meta", "spec", "state", "expected"), [case[1:] for case in POD_STATES], ids=[case[0] for case in POD_STATES]
)
def test_a_pods_state_in_one_word(meta: Object, spec: Object, state: Object, expected: tuple[str, str, str]) -> None:
    row = cells("", "Pod", metadata=meta, spec=spec, status=state)
    assert (row["Ready"], row["Status"], row["Restarts"]) == expected


def test_wide_columns_of_a_pod() -> None:
    row = cells("", "Pod", spec={**ONE, "nodeName": "node-1"}, status=status(podIPs=[{"ip": "10.244.1.2"}]))
    assert (row["IP"], row["Node"], row["Nominated Node"], row["Readiness Gates"]) == (
        "10.244.1.2", "node-1", "<none>", "<none>",
    )  # fmt: skip
    assert row["Age"] == "5m"


SERVICES: list[tuple[str, Object, Object, tuple[str, str, str]]] = [
    (
        "ClusterIP", {"clusterIPs": ["10.96.0.1"], "ports": [{"port": 443, "protocol": "TCP"}]}, {},
        ("10.96.0.1", "<none>", "443/TCP"),
    ),
    (
        "NodePort", {"clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "nodePort": 30921, "protocol": "TCP"}]}, {},
        ("10.96.0.9", "<none>", "80:30921/TCP"),
    ),
    ("LoadBalancer", {"clusterIPs": ["10.96.0.9"], "ports": []}, {}, ("10.96.0.9", "<pending>", "<none>")),
    (
        "LoadBalancer", {"clusterIPs": ["10.96.0.9"], "externalIPs": ["1.2.3.4"]},
        {"loadBalancer": {"ingress": [{"ip": "10.2.2.100"}]}}, ("10.96.0.9", "10.2.2.100,1.2.3.4", "<none>"),
    ),
    ("ExternalName", {"externalName": "example.com"}, {}, ("<none>", "example.com", "<none>")),
    ("ClusterIP", {"clusterIPs": ["None"], "ports": []}, {}, ("None", "<none>", "<none>")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "state", "expected"), SERVICES)
def test_services(kind: str, spec: Object, state: Object, expected: tuple[str, str, str]) -> None:
    row = cells("", "Service", spec={"type": kind, "selector": {"b": "2", "a": "1"}, **spec}, status=state)
    assert (row["Type"], row["Cluster-IP"], row["External-IP"], row["Port(s)"]) == (kind, *expected)
    assert row["Selector"] == "a=1,b=2"


def test_nodes() -> None:
    labels = {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "master"}
    conditions = [{"type": "Ready", "status": "True"}]
    info = {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1"}
    state = {
        "conditions": conditions,
        "nodeInfo": info,
        "addresses": [{"type": "InternalIP", "address": "10.2.2.10"}],
    }
    row = cells("", "Node", metadata={"labels": labels}, spec={"unschedulable": True}, status=state)
    assert row["Status"] == "Ready,SchedulingDisabled"
    assert row["Roles"] == "control-plane,master"
    assert (row["Internal-IP"], row["External-IP"]) == ("10.2.2.10", "<none>")
    assert row["Container-Runtime"] == "<unknown>"
    assert cells("", "Node")["Status"] == "Unknown"


def test_deployments() -> None:
    spec = {
        "replicas": 3,
        "selector": {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "t", "operator": "In", "values": ["b"]}],
        },
        "template": {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}},
    }
    state = {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}
    row = cells("apps", "Deployment", spec=spec, status=state)
    assert list(row.values()) == ["x", "2/3", 3, 1, "5m", "a,b", "x:1,y:2", "app=web,t in (b)"]


def test_endpoints_show_three_and_count_the_rest() -> None:
    addresses = [{"ip": f"10.0.0.{number}"} for number in range(1, 6)]
    row = cells("", "Endpoints", subsets=[{"addresses": addresses, "ports": [{"port": 80}]}])
    assert row["Endpoints"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert cells("", "Endpoints")["Endpoints"] == "<none>"
    unready = [{"notReadyAddresses": addresses, "ports": [{"port": 80}]}]
    assert cells("", "Endpoints", subsets=unready)["Endpoints"] == "", "there are some, and none takes traffic"


def test_slices() -> None:
    row = cells(
        "discovery.k8s.io", "EndpointSlice", addressType="IPv4", ports=[{"port": 80}],
        endpoints=[{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
    )  # fmt: skip
    assert list(row.values()) == ["x", "IPv4", "80", "10.0.0.1,10.0.0.2", "5m"]
    assert cells("discovery.k8s.io", "EndpointSlice")["Ports"] == "<unset>"


@pytest.mark.parametrize("form", ["core", "events.k8s.io"])
def test_events_look_the_same_in_both_groups(form: str) -> None:
    about = {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{a}"}
    seen = "2026-01-01T00:08:00Z"
    fields = {
        "core": {"involvedObject": about, "message": "hi ", "lastTimestamp": seen, "count": 3},
        "events.k8s.io": {"regarding": about, "note": "hi ", "deprecatedLastTimestamp": seen, "deprecatedCount": 3},
    }[form]
    row = cells("" if form == "core" else form, "Event", type="Normal", reason="Pulled", **fields)
    assert (row["Last Seen"], row["Object"], row["Message"], row["Count"]) == ("2m", "pod/web", "hi", 3)


def test_jobs() -> None:
    state = {"succeeded": 1, "startTime": "2026-01-01T00:06:00Z", "completionTime": "2026-01-01T00:07:30Z"}
    conditions = [{"type": "Complete", "status": "True"}]
    row = cells("batch", "Job", spec={"completions": 1}, status={**state, "conditions": conditions})
    assert (row["Status"], row["Completions"], row["Duration"]) == ("Complete", "1/1", "90s")
    assert cells("batch", "Job", spec={"parallelism": 3})["Completions"] == "0/1 of 3"
