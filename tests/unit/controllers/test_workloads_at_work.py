"""Workload controllers and the scheduler together, against a real API server; a stand-in plays the nodes' agents."""

import pytest

from sampan.client.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
)
from support.controlplane import play, service, workload
from support.kubelet import OUTCOME, register


def job(outcome, **spec):
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "host"}]}
    template = {"metadata": {"annotations": {OUTCOME: outcome}}, "spec": pod}
    return {"metadata": {"name": "work", "namespace": "default"}, "spec": {"template": template, **spec}}


def test_a_deployment_and_its_service_become_ready_endpoints_and_follow_a_rollout_and_its_undoing():
    async def scenario(plane):
        client = plane.client
        await client.create(SERVICES, service())
        await client.create(DEPLOYMENTS, workload(replicas=4))
        await plane.available("web", 4)
        pods = {one["status"]["podIP"] for one in await plane.items(PODS)}

        async def follows():
            return len(pods) == 4 and await plane.slice_addresses("web") == pods

        await plane.until(follows, "slices list the pods")
        old = await client.get(DEPLOYMENTS, "web", "default")
        image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "host:2"}]}}}}
        await client.patch(DEPLOYMENTS, "web", image, "default", type="strategic")

        async def rolled(revision, image):
            found = await client.get(DEPLOYMENTS, "web", "default")
            notes, status = found["metadata"]["annotations"], found["status"]
            progressed = any(one["reason"] == "NewReplicaSetAvailable" for one in status["conditions"])
            images = {one["spec"]["containers"][0]["image"] for one in await plane.items(PODS)}
            observed = status["observedGeneration"] == found["metadata"]["generation"]
            return (
                notes["deployment.kubernetes.io/revision"] == revision and progressed and observed and images == {image}
            )

        await plane.until(lambda: rolled("2", "host:2"), "the second revision")
        await client.patch(DEPLOYMENTS, "web", {"spec": {"template": old["spec"]["template"]}}, "default")
        await plane.until(lambda: rolled("3", "host:1"), "the third revision is the first again")
        assert len(await plane.items(REPLICA_SETS)) == 2
        scaled = await plane.events("ScalingReplicaSet")
        assert any(text.startswith("Scaled up replica set web-") and text.endswith("from 0 to 4") for text in scaled)
        assert "Scheduled" in {one["reason"] for one in await plane.items(EVENTS)}

    play(scenario, "node-1", "node-2", "node-3")


def test_a_replica_set_never_makes_more_pods_than_wanted_and_spreads_them_over_the_nodes():
    async def scenario(plane):
        await plane.client.create(REPLICA_SETS, workload(replicas=60))
        most = 0

        async def running():
            nonlocal most
            pods = await plane.items(PODS)
            most = max(most, len(pods))
            return sum(one["status"].get("phase") == "Running" for one in pods) == 60 and pods

        pods = await plane.until(running, "60 pods run")
        assert most == 60
        by_node = [one["spec"]["nodeName"] for one in pods]
        assert sorted(map(by_node.count, set(by_node))) == [30, 30]

    play(scenario, "node-1", "node-2")


def test_a_replica_set_adopts_matching_orphans_and_releases_pods_whose_labels_change():
    async def scenario(plane):
        client = plane.client
        stray = workload()["spec"]["template"]
        await client.create(PODS, {**stray, "metadata": {"name": "stray", "labels": {"app": "web"}}}, "default")
        await client.create(REPLICA_SETS, workload(replicas=2))

        async def owned(count):
            pods = await plane.items(PODS)
            mine = [one for one in pods if one["metadata"].get("ownerReferences")]
            return len(mine) == count and len(pods)

        assert await plane.until(lambda: owned(2), "two pods are owned") == 2
        await client.patch(PODS, "stray", {"metadata": {"labels": {"app": "other"}}}, "default")

        async def replaced():
            return await owned(2) == 3

        await plane.until(replaced, "the released pod was replaced")

    play(scenario, "node-1")


def test_a_replication_controller_is_served_by_the_same_code():
    async def scenario(plane):
        controller = workload()
        controller["spec"]["selector"] = {"app": "web"}
        await plane.client.create(REPLICATION_CONTROLLERS, controller)

        async def ready():
            found = await plane.client.get(REPLICATION_CONTROLLERS, "web", "default")
            return found.get("status", {}).get("readyReplicas") == 2

        await plane.until(ready, "two replicas are ready")

    play(scenario, "node-1")


def test_a_daemon_set_runs_on_every_node_also_on_new_ones_and_rolls():
    async def scenario(plane):
        client = plane.client
        daemon = workload("agent")
        del daemon["spec"]["replicas"]
        await client.create(DAEMON_SETS, daemon)

        async def ready(count, image="host:1"):
            found = (await client.get(DAEMON_SETS, "agent", "default")).get("status", {})
            pods = await plane.items(PODS, prefix="agent-")
            images = {one["spec"]["containers"][0]["image"] for one in pods}
            on = {one["spec"].get("nodeName") for one in pods}
            counted = found.get("numberAvailable") == found.get("updatedNumberScheduled") == count
            return counted and images == {image} and len(on) == len(pods) == count

        await plane.until(lambda: ready(2), "a pod on each node")
        await register(client, "node-3")
        await plane.until(lambda: ready(3), "a pod on the new node")
        image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "host:2"}]}}}}
        await client.patch(DAEMON_SETS, "agent", image, "default", type="strategic")
        await plane.until(lambda: ready(3, "host:2"), "the new template everywhere")

    play(scenario, "node-1", "node-2")


def test_a_stateful_set_makes_its_pods_in_order_with_names_of_their_own_and_rolls():
    async def scenario(plane):
        client = plane.client
        wanted = workload("db", replicas=3)
        wanted["spec"]["serviceName"] = "db"
        await client.create(STATEFUL_SETS, wanted)

        async def ready(count, image="host:1"):
            status = (await client.get(STATEFUL_SETS, "db", "default")).get("status", {})
            pods = await plane.items(PODS, prefix="db-")
            images = {one["spec"]["containers"][0]["image"] for one in pods}
            settled = status.get("currentRevision") == status.get("updateRevision")
            return settled and status.get("readyReplicas") == len(pods) == count and images == {image} and pods

        pods = await plane.until(lambda: ready(3), "three pods")
        assert sorted(one["metadata"]["name"] for one in pods) == ["db-0", "db-1", "db-2"]
        assert all(one["spec"]["subdomain"] == "db" for one in pods)
        image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "host:2"}]}}}}
        await client.patch(STATEFUL_SETS, "db", image, "default", type="strategic")
        await plane.until(lambda: ready(3, "host:2"), "the new template")
        await client.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}}, "default")
        (left,) = await plane.until(lambda: ready(1, "host:2"), "one pod")
        assert left["metadata"]["name"] == "db-0"

    play(scenario, "node-1", "node-2")


@pytest.mark.parametrize(
    ("wanted", "end", "counts"),
    [
        (job("Succeeded", completions=5, parallelism=2), ("Complete", "CompletionsReached"), (5, None, None)),
        (
            job("Succeeded", completions=4, parallelism=3, completionMode="Indexed"),
            ("Complete", "CompletionsReached"),
            (4, None, "0-3"),
        ),
        (job("Failed", backoffLimit=0), ("Failed", "BackoffLimitExceeded"), (None, 1, None)),
    ],
    ids=["complete", "indexed", "failed"],
)
def test_a_job_runs_to_its_end_and_counts_every_pod_once(wanted, end, counts):
    async def scenario(plane):
        await plane.client.create(JOBS, wanted)

        async def ended():
            status = (await plane.client.get(JOBS, "work", "default")).get("status", {})
            found = [one for one in status.get("conditions") or () if one["type"] == end[0]]
            return found and found[0]["reason"] == end[1] and status

        status = await plane.until(ended, "the job's end")
        assert (status.get("succeeded"), status.get("failed"), status.get("completedIndexes")) == counts
        assert not any((status.get("uncountedTerminatedPods") or {}).values())
        held = [one for one in await plane.items(PODS) if one["metadata"].get("finalizers")]
        assert not held
        await plane.client.delete(JOBS, "work", "default", propagation="Background")
        await plane.gone(PODS)

    play(scenario, "node-1", "node-2")
