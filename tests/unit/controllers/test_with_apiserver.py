"""The controllers and the scheduler together, against a real API server; a stand-in plays the nodes' agents."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from sampan.client.config import Config
from sampan.client.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
)
from sampan.client.rest import Client
from sampan.controllers.manager import ControllersOptions
from sampan.controllers.manager import run as run_controllers
from sampan.machinery.errors import NotFound
from sampan.scheduler.main import SchedulerOptions
from sampan.scheduler.main import run as run_scheduler
from support.apiserver import running_apiserver
from support.kubelet import OUTCOME, Kubelets, register, renew

DEADLINE = 10.0


class ControlPlane:
    """A client of a running control plane, and what tests ask of it."""

    def __init__(self, client: Client, config) -> None:
        self.client = client
        self.config = config

    async def until(self, probe: Callable[[], Awaitable[object]], what: str = "") -> object:
        """Poll until the probe gives something true."""
        end = time.monotonic() + DEADLINE
        while True:
            found = await probe()
            if found:
                return found
            assert time.monotonic() < end, f"still not so: {what or probe}"
            await asyncio.sleep(0.01)

    async def items(self, resource, namespace="default", prefix=""):
        listed = (await self.client.list(resource, namespace)).items
        return [one for one in listed if one["metadata"]["name"].startswith(prefix)]

    async def gone(self, resource, namespace="default", prefix=""):
        async def none_left():
            return not await self.items(resource, namespace, prefix)

        await self.until(none_left, f"{resource} {prefix} gone")

    async def events(self, reason):
        async def found():
            return [one for one in await self.items(EVENTS) if one["reason"] == reason]

        return [one["message"] for one in await self.until(found, reason)]

    async def available(self, name, count):
        async def counted():
            status = (await self.client.get(DEPLOYMENTS, name, "default")).get("status", {})
            wanted = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), count)
            return all(status.get(key) == value for key, value in wanted.items()) and status

        return await self.until(counted, f"deployment {name} has {count} available")

    async def slice_addresses(self, name):
        slices = await self.client.list(ENDPOINT_SLICES, "default", label_selector=f"kubernetes.io/service-name={name}")
        return {
            address
            for one in slices.items
            for each in one.get("endpoints") or ()
            if each["conditions"]["ready"]
            for address in each["addresses"]
        }


@asynccontextmanager
async def control_plane(*nodes, **options):
    async with AsyncExitStack() as stack:
        config = await stack.enter_async_context(running_apiserver())
        client = Client(config)
        stack.push_async_callback(client.close)
        ready = [asyncio.Event(), asyncio.Event()]
        group = await stack.enter_async_context(running())
        group(run_controllers(ControllersOptions(config, **options), ready[0].set))
        group(run_scheduler(SchedulerOptions(config), ready[1].set))
        group(Kubelets(client).run())
        for one in ready:
            await one.wait()
        for name in nodes:
            await register(client, name)
        yield ControlPlane(client, config)


@asynccontextmanager
async def running():
    """Run coroutines in the background; a failure of any is the test's."""
    tasks = []

    def start(coroutine):
        tasks.append(asyncio.ensure_future(coroutine))
        return tasks[-1]

    try:
        yield start
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [one for one in results if isinstance(one, Exception)]
        if failures:
            raise failures[0]


def play(scenario, *nodes, **options):
    """Run a scenario against a new control plane."""

    async def run():
        async with asyncio.timeout(60), control_plane(*nodes, **options) as plane:
            await scenario(plane)

    asyncio.run(run())


def workload(name="web", replicas=2, image="host:1", **spec):
    pod = {"containers": [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {**pod, **spec}}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": wanted}


def service(name="web", **spec):
    spec = {"selector": {"app": name}, "ports": [{"name": "main", "port": 80, "targetPort": "http"}], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


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


def test_every_namespace_gets_its_account_and_the_root_ca_and_leaves_nothing_behind():
    async def scenario(plane):
        client = plane.client
        await client.create(NAMESPACES, {"metadata": {"name": "team"}})

        async def furnished():
            accounts, maps = await plane.items(SERVICE_ACCOUNTS, "team"), await plane.items(CONFIG_MAPS, "team")
            return accounts and maps and (accounts[0], maps[0])

        account, ca = await plane.until(furnished, "account and CA")
        assert account["metadata"]["name"] == "default"
        assert (ca["metadata"]["name"], ca["data"]["ca.crt"][:10]) == ("kube-root-ca.crt", "-----BEGIN")
        await client.delete(CONFIG_MAPS, "kube-root-ca.crt", "team")
        await plane.until(furnished, "the CA comes back")
        await client.create(DEPLOYMENTS, {**workload(), "metadata": {"name": "web", "namespace": "team"}})

        async def pods():
            return len(await plane.items(PODS, "team")) == 2

        await plane.until(pods, "two pods")
        await client.delete(NAMESPACES, "team")

        async def gone():
            try:
                await client.get(NAMESPACES, "team")
            except NotFound:
                return True
            return False

        await plane.until(gone, "the namespace is gone")
        assert not await plane.items(PODS, "team")
        assert not await plane.items(DEPLOYMENTS, "team")

    play(scenario, "node-1")


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
def test_what_a_deployment_owns_goes_with_it_or_stays_as_asked(propagation):
    async def scenario(plane):
        client = plane.client
        await client.create(DEPLOYMENTS, workload())
        await plane.available("web", 2)
        await client.delete(DEPLOYMENTS, "web", "default", propagation=propagation)
        await plane.gone(DEPLOYMENTS)
        if propagation == "Foreground":
            assert not await plane.items(REPLICA_SETS)
        if propagation == "Orphan":
            (left,) = await plane.items(REPLICA_SETS)
            assert not left["metadata"].get("ownerReferences")
            assert len(await plane.items(PODS)) == 2
        else:
            await plane.gone(REPLICA_SETS)
            await plane.gone(PODS)

    play(scenario, "node-1")


def test_an_object_whose_owner_never_existed_is_collected():
    async def scenario(plane):
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "no-such-uid"}
        metadata = {"name": "child", "ownerReferences": [reference]}
        await plane.client.create(CONFIG_MAPS, {"metadata": metadata}, "default")
        await plane.gone(CONFIG_MAPS, prefix="child")

    play(scenario)


def test_slices_deleted_by_hand_come_back_and_go_with_their_service():
    async def scenario(plane):
        client = plane.client
        await client.create(SERVICES, service())

        async def one_slice():
            found = await plane.items(ENDPOINT_SLICES, prefix="web-")
            return len(found) == 1 and found[0]

        first = await plane.until(one_slice, "an empty slice")
        assert first["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
        await client.delete(ENDPOINT_SLICES, first["metadata"]["name"], "default")

        async def another():
            found = await one_slice()
            return found and found["metadata"]["uid"] != first["metadata"]["uid"]

        await plane.until(another, "another slice")

        async def has_endpoints():
            return await plane.items(ENDPOINTS, prefix="web")

        await plane.until(has_endpoints, "an Endpoints object")
        await client.delete(SERVICES, "web", "default")
        await plane.gone(ENDPOINTS, prefix="web")
        await plane.gone(ENDPOINT_SLICES, prefix="web-")

    play(scenario)


def test_endpoints_made_by_hand_are_mirrored_followed_and_removed():
    async def scenario(plane):
        client = plane.client
        await client.create(SERVICES, service("ext", selector={}, ports=[{"name": "http", "port": 80}]))

        def endpoints(ip):
            subsets = [{"addresses": [{"ip": ip}], "ports": [{"port": 8080}]}]
            return {"metadata": {"name": "ext", "namespace": "default"}, "subsets": subsets}

        await client.create(ENDPOINTS, endpoints("192.0.2.1"))

        async def mirrors(ip):
            found = await plane.items(ENDPOINT_SLICES, prefix="ext-")
            return len(found) == 1 and await plane.slice_addresses("ext") == {ip} and found[0]

        mirror = await plane.until(lambda: mirrors("192.0.2.1"), "a mirror")
        assert mirror["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
        await client.update(ENDPOINTS, endpoints("192.0.2.2"))
        await plane.until(lambda: mirrors("192.0.2.2"), "the mirror follows")
        await client.delete(ENDPOINTS, "ext", "default")
        await plane.gone(ENDPOINT_SLICES, prefix="ext-")

    play(scenario)


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


def job(outcome, **spec):
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "host"}]}
    template = {"metadata": {"annotations": {OUTCOME: outcome}}, "spec": pod}
    return {"metadata": {"name": "work", "namespace": "default"}, "spec": {"template": template, **spec}}


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


def test_a_token_secret_is_filled_and_goes_with_its_account():
    async def scenario(plane):
        def token_secret(name, account):
            annotations = {"kubernetes.io/service-account.name": account}
            metadata = {"name": name, "namespace": "default", "annotations": annotations}
            return {"metadata": metadata, "type": "kubernetes.io/service-account-token"}

        account = await plane.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
        await plane.client.create(SECRETS, token_secret("robot-token", "robot"))
        await plane.client.create(SECRETS, token_secret("lost", "nobody"))

        async def filled():
            secret = await plane.client.get(SECRETS, "robot-token", "default")
            return secret if secret.get("data", {}).keys() == {"ca.crt", "namespace", "token"} else None

        secret = await plane.until(filled, "the Secret has a token")
        assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == account["metadata"]["uid"]
        robot = Client(Config(plane.config.server, ca_file=plane.config.ca_file, token=token_of(secret)))
        assert (await robot.get(SERVICE_ACCOUNTS, "robot", "default"))["metadata"]["name"] == "robot"
        await robot.close()
        await plane.gone(SECRETS, prefix="lost")
        await plane.client.delete(SERVICE_ACCOUNTS, "robot", "default")
        await plane.gone(SECRETS, prefix="robot-token")

    play(scenario)


def token_of(secret):
    return base64.b64decode(secret["data"]["token"]).decode()
