"""What others write over the status of a pod or a node is put right by the node's agent."""

import asyncio
from pathlib import Path

import pytest

from sampan.client.resources import NODES, PODS
from support.agent import NODE, Cluster, cluster, eventually, ready
from support.apiserver import make_pki
from support.isolated import isolated

pytestmark = pytest.mark.kernel
make_pki()

FOREIGN = {
    "condition": {"conditions": [{"type": "Ready", "status": "False", "reason": "Test", "message": "by hand"}]},
    "reason": {"reason": "NodeLost", "message": "by hand"},
    "address": {"podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]},
    "phase": {"phase": "Pending"},
    "containers": {"containerStatuses": [{"name": "main", "restartCount": 7, "image": "", "imageID": ""}]},
}


async def _patch(one: Cluster, name: str, status: object) -> None:
    await one.client.patch(PODS, name, {"status": status}, "default", type="strategic", subresource="status")


def _essence(status: dict) -> dict:
    """A status without what changes with time."""
    times = ("lastTransitionTime", "lastProbeTime")
    conditions = [{k: v for k, v in one.items() if k not in times} for one in status["conditions"]]
    return {**status, "conditions": sorted(conditions, key=lambda one: one["type"])}


@isolated
async def test_a_pods_status_changed_by_hand_comes_true_again(tmp_path: Path) -> None:
    """Whatever part is overwritten, one after the other; the second time round only after the period of comparisons."""
    async with cluster(tmp_path, sync_seconds=0.5) as one, one.agent():
        await one.create("web", "sleep", "1000", spec={"terminationGracePeriodSeconds": 0})
        expected = _essence((await one.until("web", ready))["status"])
        for what, status in FOREIGN.items():
            await _patch(one, "web", status)
            found = await one.until("web", lambda now: _essence(now) == expected, what)
            assert found["status"].get("reason") is None
        gate = {"conditions": [{"type": "example.com/mine", "status": "True"}]}
        await _patch(one, "web", gate)
        await asyncio.sleep(1.2)
        kinds = {condition["type"] for condition in (await one.pod("web"))["status"]["conditions"]}
        assert "example.com/mine" in kinds, "conditions of others are theirs"


@isolated
async def test_a_pod_that_another_component_failed_is_ended(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "sleep", "1000", spec={"terminationGracePeriodSeconds": 0})
        await one.until("web", ready)
        await _patch(one, "web", {"phase": "Failed", "reason": "Test", "message": "ended elsewhere"})
        pod = await one.until("web", lambda status: "terminated" in status["containerStatuses"][0]["state"])
        assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Test")


@isolated
async def test_a_condition_that_becomes_true_loses_the_reason_why_it_was_false(tmp_path: Path) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    async with cluster(tmp_path) as one, one.agent():
        await one.create("late", "sh", "-c", "sleep 1; touch /tmp/ready; exec sleep 1000", readinessProbe=probe)
        await one.until("late", lambda status: any(c.get("reason") for c in status.get("conditions", ())))
        pod = await one.until("late", ready)
        assert [one for one in pod["status"]["conditions"] if one.get("reason") or one.get("message")] == []


@isolated
async def test_a_nodes_status_changed_by_hand_comes_true_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, sync_seconds=0.5) as one, one.agent():

        async def said() -> tuple[object, ...]:
            status = (await one.client.get(NODES, NODE))["status"]
            wanted = [{key: c[key] for key in ("type", "status", "reason", "message")} for c in status["conditions"]]
            return sorted(wanted, key=lambda c: c["type"]), status["addresses"], status["allocatable"]

        expected = await said()
        for foreign in (
            {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "?"}]},
            {"conditions": [{"type": "DiskPressure", "status": "True", "reason": "X", "message": "by hand"}]},
            {"allocatable": {"cpu": "1m"}},
        ):
            await one.client.patch(NODES, NODE, {"status": foreign}, type="strategic", subresource="status")

            async def true_again() -> bool:
                return await said() == expected

            await eventually(true_again, lambda foreign=foreign: f"not put right: {foreign}")
        await one.client.delete(NODES, NODE)

        async def registered() -> bool:
            nodes = (await one.client.list(NODES)).items
            return bool(nodes) and any(
                c["type"] == "Ready" and c["status"] == "True" for c in nodes[0]["status"]["conditions"]
            )

        await eventually(registered, lambda: "the node did not register again")


@isolated
async def test_a_container_whose_image_is_changed_runs_anew_whatever_the_restart_policy(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        for policy in ("Always", "Never"):
            name = policy.lower()
            await one.create(name, "sleep", "1000", spec={"terminationGracePeriodSeconds": 0, "restartPolicy": policy})
            await one.until(name, ready)
            change = {"spec": {"containers": [{"name": "main", "image": "sampan"}]}}
            await one.client.patch(PODS, name, change, "default", type="strategic")
            pod = await one.until(
                name, lambda status: ready(status) and status["containerStatuses"][0]["restartCount"] == 1
            )
            assert pod["status"]["containerStatuses"][0]["image"] == "sampan"
            message = await one.until_event(name, "Killing")
            assert message == "Container main definition changed, will be restarted"


@isolated
async def test_a_container_that_waits_for_an_image_starts_at_once_when_another_is_named(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "sleep", "1000", image="no-registry.invalid/absent:1")
        await one.until("web", lambda status: "ImagePull" in str(status.get("containerStatuses")))
        change = {"spec": {"containers": [{"name": "main", "image": "host"}]}}
        await one.client.patch(PODS, "web", change, "default", type="strategic")
        await one.until("web", ready)
