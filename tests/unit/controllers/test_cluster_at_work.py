"""Nodes, quotas and controller managers that come and go, against a real API server."""

import asyncio
import time

from sampan.client.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    RESOURCE_QUOTAS,
    SERVICE_ACCOUNTS,
)
from sampan.client.rest import Client
from sampan.controllers import nodelifecycle
from sampan.controllers.manager import ControllersOptions
from sampan.controllers.manager import run as run_controllers
from sampan.machinery.errors import NotFound
from sampan.scheduler.main import SchedulerOptions
from sampan.scheduler.main import run as run_scheduler
from support.apiserver import running_apiserver
from support.controlplane import ControlPlane, play, running, workload
from support.kubelet import Kubelets, register, renew


def test_nodes_get_pod_ranges_and_a_silent_node_is_given_up_until_it_speaks_again():
    async def scenario(plane):
        client = plane.client
        await client.create(DEPLOYMENTS, workload(replicas=1))
        await plane.available("web", 1)

        async def found():
            return await client.get(NODES, "node-1")

        node = await found()
        assert node["spec"]["podCIDR"] == "10.244.0.0/24"

        async def unreachable():
            taints = {(one["key"], one["effect"]) for one in (await found())["spec"].get("taints") or ()}
            key = "node.kubernetes.io/unreachable"
            return taints == {(key, "NoSchedule"), (key, "NoExecute")}

        await plane.until(unreachable, "the node is unreachable")
        (ready,) = (one for one in (await found())["status"]["conditions"] if one["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")

        async def unready():
            (pod,) = await plane.items(PODS)
            return any(one["type"] == "Ready" and one["status"] == "False" for one in pod["status"]["conditions"])

        await plane.until(unready, "its pod is not ready")
        await renew(client, "node-1")
        back = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": "2030-01-01T00:00:00Z",
        }
        conditions = {"status": {"conditions": [back]}}
        await client.patch(NODES, "node-1", conditions, type="strategic", subresource="status")

        async def untainted():
            return not (await found())["spec"].get("taints")

        await plane.until(untainted, "the taints are gone")

    play(scenario, "node-1", node_monitor_grace_seconds=0.5)


def test_a_node_is_not_given_up_because_everything_stood_still_for_longer_than_its_grace_period(monkeypatch):
    """The controllers' timer fires before the renewals that wait are read, as after a laptop's sleep."""
    monkeypatch.setattr(nodelifecycle, "LATE_SECONDS", 0.3)
    monkeypatch.setattr(nodelifecycle, "SETTLE_SECONDS", 1.0)

    async def scenario(plane):
        async def keep_renewing():
            while True:
                await renew(plane.client, "node-1")
                await asyncio.sleep(0.2)

        renewing = asyncio.create_task(keep_renewing())
        for _ in range(3):
            await asyncio.sleep(0.5)
            time.sleep(2.0)  # noqa: ASYNC251  nothing in this process runs meanwhile, the API server included
        await asyncio.sleep(1.5)
        events = [one["reason"] for one in await plane.items(EVENTS)]
        node = await plane.client.get(NODES, "node-1")
        assert [one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"] == ["True"]
        assert "NodeNotReady" not in events
        renewing.cancel()

    play(scenario, "node-1", node_monitor_grace_seconds=1.0)


def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_a_node_comes():
    async def scenario(plane):
        client = plane.client
        template = workload(nodeSelector={"disk": "ssd"})["spec"]["template"]
        await client.create(PODS, {**template, "metadata": {"name": "picky"}}, "default")

        async def refused():
            pod = await client.get(PODS, "picky", "default")
            return [one for one in pod["status"].get("conditions") or () if one.get("reason") == "Unschedulable"]

        (condition,) = await plane.until(refused, "the condition")
        assert condition["message"].startswith(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        )
        (message,) = await plane.events("FailedScheduling")
        assert message == condition["message"]
        await register(client, "node-2", labels={"disk": "ssd"})

        async def placed():
            return (await client.get(PODS, "picky", "default"))["spec"].get("nodeName") == "node-2"

        await plane.until(placed, "the pod is on the new node")

    play(scenario, "node-1")


def test_controllers_that_start_anew_carry_on_where_the_last_ones_stopped():
    async def run():
        async with asyncio.timeout(60), running_apiserver() as config:
            client = Client(config)
            plane = ControlPlane(client, config)
            async with running() as start:
                start(run_scheduler(SchedulerOptions(config)))
                start(Kubelets(client).run())
                await register(client, "node-1")
                await client.create(DEPLOYMENTS, workload(replicas=30))
                for _ in range(4):
                    async with running() as briefly:
                        briefly(run_controllers(ControllersOptions(config)))
                        await asyncio.sleep(0.15)
                async with running() as finally_:
                    finally_(run_controllers(ControllersOptions(config)))
                    await plane.available("web", 30)
                    assert len(await plane.items(PODS)) == 30
            await client.close()

    asyncio.run(run())


def test_of_two_controller_managers_one_acts_and_the_other_takes_over():
    async def scenario(plane):
        def candidate(name):
            options = ControllersOptions(plane.config, leader_elect=True, identity=name)
            return asyncio.ensure_future(run_controllers(options))

        async def holder():
            lease = await plane.client.get(LEASES, "kube-controller-manager", "kube-system")
            return lease["spec"]["holderIdentity"]

        async def held_by(name):
            async def held():
                try:
                    return await holder() == name
                except NotFound:
                    return False

            await plane.until(held, f"{name} leads")

        async def has_its_account(namespace):
            await plane.client.create(NAMESPACES, {"metadata": {"name": namespace}})
            await plane.until(lambda: plane.items(SERVICE_ACCOUNTS, namespace, "default"), "default ServiceAccount")

        first = candidate("one")
        await held_by("one")
        second = candidate("two")
        await has_its_account("led-by-one")
        first.cancel()
        await asyncio.wait([first])
        await held_by("two")
        await has_its_account("led-by-two")
        second.cancel()
        await asyncio.wait([second])

    play(scenario, controllers=("nodeipam",))


def test_a_quota_tells_what_its_namespace_holds():
    async def scenario(plane):
        hard = {"pods": "5", "configmaps": "9", "requests.cpu": "2", "count/deployments.apps": "3"}
        quota = {"metadata": {"name": "few", "namespace": "default"}, "spec": {"hard": hard}}
        await plane.client.create(RESOURCE_QUOTAS, quota)

        async def used_is(**used):
            wanted = {"requests.cpu": used.pop("cpu"), "count/deployments.apps": used.pop("deployments"), **used}

            async def told():
                status = (await plane.client.get(RESOURCE_QUOTAS, "few", "default")).get("status", {})
                return status.get("hard") == hard and status.get("used") == wanted

            await plane.until(told, f"used is {wanted}")

        await used_is(pods="0", configmaps="1", cpu="0", deployments="0")
        web = workload(replicas=2)
        web["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "250m"}}
        await plane.client.create(DEPLOYMENTS, web)
        await used_is(pods="2", configmaps="1", cpu="500m", deployments="1")
        await plane.client.create(CONFIG_MAPS, {"metadata": {"name": "one", "namespace": "default"}})
        await used_is(pods="2", configmaps="2", cpu="500m", deployments="1")
        await plane.client.delete(DEPLOYMENTS, "web", "default")
        await used_is(pods="0", configmaps="2", cpu="0", deployments="0")

    play(scenario, "node-1")
