"""The agent with real containers: a pod's life from creation to deletion, and what kubectl sees of it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.client.resources import CONFIG_MAPS, NODES, PODS
from sampan.kernel import mounts
from support.agent import cluster, eventually, ready, restarts, state
from support.apiserver import make_pki
from support.isolated import isolated

pytestmark = pytest.mark.kernel
make_pki()

SERVE = ("python3", "-m", "http.server", "8000")


@isolated
async def test_a_pod_becomes_ready_and_its_deletion_is_graceful(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "sh", "-c", "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done")
        pod = await one.until("web", ready)
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["podIP"].startswith("10.244.0.")
        assert pod["status"]["containerStatuses"][0]["containerID"].startswith("sampan://")
        await one.client.delete(PODS, "web", "default")
        terminating = await one.pod("web")
        assert terminating["metadata"]["deletionGracePeriodSeconds"] == 5
        await one.until_gone("web")
        assert await one.until_event("web", "Killing") == "Stopping container main"
        assert not list((tmp_path / "node" / "pods").iterdir())


@isolated
async def test_a_pod_that_ends_well_has_succeeded(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("job", "sh", "-c", "echo done > /dev/termination-log", spec={"restartPolicy": "Never"})
        pod = await one.until("job", lambda status: status.get("phase") == "Succeeded")
        ended = state(pod["status"])["terminated"]
        assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "done\n")


@isolated
async def test_a_crashing_container_is_restarted_at_once_and_then_backs_off(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        await one.create("crash", "sh", "-c", "exit 3")
        pod = await one.until("crash", lambda status: "waiting" in state(status) and status["phase"] == "Running")
        container = pod["status"]["containerStatuses"][0]
        assert container["restartCount"] == 1
        assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert container["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main pod=")
        assert container["lastState"]["terminated"]["exitCode"] == 3
        assert (await one.until_event("crash", "BackOff")).startswith("Back-off restarting failed container main in")


@isolated
async def test_init_containers_run_in_order_before_the_main_ones(tmp_path: Path) -> None:
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}], "image": "host"}
    inits = [
        {"name": "first", "command": ["sh", "-c", "sleep 0.2; echo first >> /shared/order"], **shared},
        {"name": "side", "command": ["sleep", "1000"], "restartPolicy": "Always", **shared},
        {"name": "last", "command": ["sh", "-c", "echo last >> /shared/order"], **shared},
    ]
    spec = {"initContainers": inits, "volumes": [{"name": "shared", "emptyDir": {}}], "restartPolicy": "Never"}
    async with cluster(tmp_path) as one, one.agent():
        write = "cat /shared/order > /dev/termination-log"
        await one.create("ordered", "sh", "-c", write, spec=spec, volumeMounts=shared["volumeMounts"])
        pod = await one.until("ordered", lambda status: status.get("phase") == "Succeeded")
        assert state(pod["status"])["terminated"]["message"] == "first\nlast\n"
        assert pod["status"]["initContainerStatuses"][0]["ready"]


@isolated
async def test_a_readiness_probe_decides_when_a_pod_is_ready(tmp_path: Path) -> None:
    probe = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
    async with cluster(tmp_path) as one, one.agent():
        await one.create("late", "sh", "-c", "sleep 1; exec python3 -m http.server 8000", readinessProbe=probe)
        pod = await one.until("late", lambda status: "running" in state(status))
        assert not ready(pod["status"])
        assert "connection refused" in await one.until_event("late", "Unhealthy")
        await one.until("late", ready)


@isolated
async def test_a_failed_liveness_probe_restarts_the_container(tmp_path: Path) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "touch /tmp/alive; sleep 1; rm /tmp/alive; exec sleep 1000"
    async with cluster(tmp_path) as one, one.agent():
        await one.create("sick", "sh", "-c", script, livenessProbe=probe, spec={"terminationGracePeriodSeconds": 0})
        await one.until("sick", lambda status: restarts(status) == 1)
        assert await one.until_event("sick", "Killing") == "Container main failed liveness probe, will be restarted"


@isolated
async def test_volumes_and_environment_come_from_the_api_and_follow_it(tmp_path: Path) -> None:
    volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
    mounts = [{"name": "settings", "mountPath": "/etc/settings"}]
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "GREETING", "value": "$(COLOUR) at $(POD_IP)"},
    ]
    script = 'echo "$GREETING"; until grep -q blue /etc/settings/colour; do sleep 0.05; done; echo changed; sleep 1000'
    async with cluster(tmp_path) as one, one.agent():
        settings = {"metadata": {"name": "settings"}, "data": {"colour": "red"}}
        await one.client.create(CONFIG_MAPS, settings, "default")
        await one.create("reader", "sh", "-c", script, env=env, volumeMounts=mounts, spec={"volumes": volumes})
        pod = await one.until("reader", ready)
        await one.client.patch(CONFIG_MAPS, "settings", {"data": {"colour": "blue"}}, "default")
        log = next((tmp_path / "node" / "logs").glob("*/main/0.log"))
        while "changed" not in log.read_text():
            await asyncio.sleep(0.05)
        assert f"red at {pod['status']['podIP']}" in log.read_text()


@isolated
async def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one, one.agent():
        missing = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k"}}}]
        await one.create("unconfigured", "true", env=missing)
        await one.create("imageless", "true", image="no-registry.invalid/absent:1")
        pod = await one.until("unconfigured", lambda status: "message" in state(status).get("waiting", {}))
        assert state(pod["status"])["waiting"] == {
            "reason": "CreateContainerConfigError",
            "message": 'configmap "absent" not found',
        }
        pod = await one.until("imageless", lambda status: "message" in state(status).get("waiting", {}))
        assert state(pod["status"])["waiting"]["reason"] == "ErrImagePull"
        reason = "ImagePullBackOff"
        await one.until("imageless", lambda status: state(status).get("waiting", {}).get("reason") == reason)
        assert pod["status"]["phase"] == "Pending"


@isolated
async def test_a_taken_host_port_fails_the_second_pod(tmp_path: Path) -> None:
    port = [{"containerPort": 8000, "hostPort": 8000}]
    async with cluster(tmp_path) as one, one.agent():
        await one.create("first", *SERVE, ports=port)
        await one.until("first", ready)
        await one.create("second", *SERVE, ports=port)
        pod = await one.until("second", lambda status: status.get("phase") == "Failed")
        assert pod["status"]["reason"] == "NodePorts"


@isolated
async def test_containers_do_not_notice_that_the_agent_was_restarted(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one:
        async with one.agent():
            await one.create("steady", "sleep", "1000", spec={"terminationGracePeriodSeconds": 1})
            await one.create("ending", "sh", "-c", "sleep 1; exit 4", spec={"restartPolicy": "Never"})
            before = await one.until("steady", ready)
            await one.until("ending", ready)
        await asyncio.sleep(1.2)
        async with one.agent():
            pod = await one.until("ending", lambda status: status.get("phase") == "Failed")
            assert state(pod["status"])["terminated"]["exitCode"] == 4
            after = await one.pod("steady")
            assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
            await one.client.delete(PODS, "steady", "default")
            await one.until_gone("steady")


@isolated
async def test_a_pod_deleted_while_the_agent_was_away_is_cleaned_up(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one:
        async with one.agent():
            await one.create("orphan", "sleep", "1000", spec={"terminationGracePeriodSeconds": 0})
            await one.until("orphan", ready)
        await one.client.delete(PODS, "orphan", "default", grace_period=0)
        async with one.agent():
            while list((tmp_path / "node" / "pods").iterdir()):
                await asyncio.sleep(0.02)


@isolated
async def test_what_pods_write_to_a_host_path_outlives_the_machine_s_restart(tmp_path: Path) -> None:
    volumes = {"volumes": [{"name": "data", "hostPath": {"path": "/opt/absent/data"}}], "restartPolicy": "Never"}
    mounted = [{"name": "data", "mountPath": "/data"}]
    async with cluster(tmp_path) as one:
        async with one.agent():
            await one.create("writer", "sh", "-c", "echo kept > /data/note", spec=volumes, volumeMounts=mounted)
            await one.until("writer", lambda status: status.get("phase") == "Succeeded")
        assert not mounts.unmount_below(one.options.root / "host")
        async with one.agent():
            read = "cat /data/note > /dev/termination-log"
            await one.create("reader", "sh", "-c", read, spec=volumes, volumeMounts=mounted)
            pod = await one.until("reader", lambda status: status.get("phase") == "Succeeded")
            assert state(pod["status"])["terminated"]["message"] == "kept\n"
    assert not Path("/opt/absent").exists()


@isolated
async def test_a_pod_is_evicted_when_memory_runs_short(tmp_path: Path) -> None:
    async with cluster(tmp_path) as one:
        async with one.agent():
            await one.create("greedy", "sleep", "1000")
            await one.until("greedy", ready)
        one.options = replace(one.options, eviction_hard={"memory.available": "1Pi"})
        async with one.agent():
            pod = await one.until("greedy", lambda status: status.get("phase") == "Failed")
            assert pod["status"]["reason"] == "Evicted"
            assert pod["status"]["message"].startswith("The node was low on resource: memory. Threshold quantity: 1Pi")
            node = await one.client.get(NODES, "node-1")
            pressure = next(one for one in node["status"]["conditions"] if one["type"] == "MemoryPressure")
            assert (pressure["status"], pressure["reason"]) == ("True", "KubeletHasInsufficientMemory")


@isolated
async def test_only_the_logs_of_the_last_two_runs_are_kept(tmp_path: Path) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    async with cluster(tmp_path) as one, one.agent():
        spec = {"terminationGracePeriodSeconds": 0}
        await one.create("again", "sleep", "1000", livenessProbe=probe, spec=spec)
        await one.until("again", lambda status: restarts(status) >= 2)

        async def two_logs() -> bool:
            return [path.name for path in sorted((tmp_path / "node" / "logs").glob("*/main/*"))] == ["1.log", "2.log"]

        await eventually(two_logs, lambda: "there are other logs")
