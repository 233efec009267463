"""Crash-only: any component may be killed at any moment. While work is under way they all are, again and again; then
everything that was asked for is there, exactly once, and nothing that ran has noticed.
"""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e_support import SAMPAN, Cluster, CommandFailed, Kubectl, eventually, run

CHAOS_SECONDS = 12.0
CALM_SECONDS = 20.0
PAUSE_SECONDS = 0.4
MOVES = (4, 1, 5, 2, 6, 3)
LAST_REPLICAS = 3

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: %(name)s}
spec:
  replicas: %(replicas)d
  selector: {matchLabels: {app: %(name)s}}
  template:
    metadata: {labels: {app: %(name)s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: host
        command: [python3, -m, http.server, "8080"]
        ports: [{containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %(name)s}
spec:
  selector: {app: %(name)s}
  ports: [{port: 80, targetPort: 8080}]
"""

ASKING = """
import http.client, sys, time
while True:
    try:
        connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=5)
        connection.request("HEAD", "/")
        print(connection.getresponse().status, flush=True)
        connection.close()
    except Exception as error:
        print("FAILED", repr(error), flush=True)
    time.sleep(0.02)
"""


def client_pod(address: str) -> str:
    container = {"name": "client", "image": "host", "command": ["python3", "-c", ASKING, address]}
    pod = {"metadata": {"name": "client"}, "spec": {"containers": [container]}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", **pod})


@pytest.fixture
def fragile(sampan_home: Path) -> Iterator[Cluster]:
    """Two nodes that no other test shares."""
    run(SAMPAN, "up", "--name", "chaos", "--nodes", "2")
    try:
        yield Cluster("chaos", Kubectl(sampan_home / "kubeconfig", "sampan-chaos"))
    finally:
        run(SAMPAN, "down", "--name", "chaos")


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something over and over beside the block; what fails there fails here."""
    over, errors = threading.Event(), []

    def repeat() -> None:
        try:
            while not over.is_set():
                act()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not errors, errors


def insistently(kubectl: Kubectl, line: str) -> None:
    """What a user does while the API server comes and goes: try again."""

    def tried() -> bool:
        kubectl(line)
        return True

    eventually(tried, line)


def components(cluster: Cluster) -> list[Any]:
    return list(json.loads(cluster.sampan("status -o json"))["components"])


class Killer:
    """Kills a random component that is running, with no warning."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random = random.Random()
        self.killed: list[str] = []

    def __call__(self) -> None:
        chosen = self._random.choice([one for one in components(self._cluster) if one["state"] == "ready"])
        self._cluster.on_lan("sh", "-c", f"kill -9 {chosen['pid']} || true")
        self.killed.append(chosen["name"])
        time.sleep(PAUSE_SECONDS)


class Writer:
    """Creates objects and remembers those that the server has acknowledged."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._numbers = itertools.count()
        self.acknowledged: set[str] = set()

    def __call__(self) -> None:
        name = f"written-{next(self._numbers)}"
        try:
            self._kubectl(f"create configmap {name} --from-literal=a=b")
        except CommandFailed:
            return
        self.acknowledged.add(name)


def running_containers(kubectl: Kubectl, selector: str = "") -> dict[str, tuple[str, int]]:
    """Pod → its container and how often it was restarted."""
    pods = kubectl.items(f"pods {selector}")
    statuses = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0] for pod in pods}
    return {name: (one["containerID"], one["restartCount"]) for name, one in statuses.items()}


def test_components_die_and_nothing_else_does(fragile: Cluster):
    kubectl = fragile.kubectl
    for name, replicas in (("steady", 2), ("moving", 1)):
        kubectl.apply(WEB % {"name": name, "replicas": replicas})
    kubectl.wait_ready("app=steady", 2)
    kubectl.apply(client_pod(kubectl.get("service steady")["spec"]["clusterIP"]))
    kubectl.ready_pod("client")
    eventually(lambda: "200" in kubectl("logs client"), "the client is served")
    before = running_containers(kubectl, "-l app!=moving")

    killer, writer = Killer(fragile), Writer(kubectl)
    deadline = time.monotonic() + CHAOS_SECONDS
    with meanwhile(killer), meanwhile(writer):
        for round_, replicas in enumerate(itertools.cycle(MOVES)):
            if time.monotonic() > deadline:
                break
            insistently(kubectl, f"scale deployment moving --replicas={replicas}")
            insistently(kubectl, f"set env deployment moving ROUND={round_}")
    insistently(kubectl, f"scale deployment moving --replicas={LAST_REPLICAS}")

    check_components(fragile)
    check_pods_and_endpoints(kubectl)
    stored = {one["metadata"]["name"] for one in kubectl.items("configmaps")}
    assert writer.acknowledged
    assert writer.acknowledged <= stored
    assert running_containers(kubectl, "-l app!=moving") == before, killer.killed
    failed = [line for line in kubectl("logs client").splitlines() if line != "200"]
    assert not failed, (failed[:3], killer.killed)


def check_components(cluster: Cluster) -> None:
    def all_ready() -> bool:
        down = [one for one in components(cluster) if one["state"] not in ("ready", "done")]
        assert not down, down
        return True

    eventually(all_ready, "all components are back", CALM_SECONDS)
    assert any(one["restarts"] for one in components(cluster))


def check_pods_and_endpoints(kubectl: Kubectl) -> None:
    """Exactly the pods asked for, of the last version, and Services that lead to just them."""
    insistently(kubectl, "rollout status deployment moving --timeout=20s")

    def converged() -> bool:
        pods = kubectl.items("pods -l app=moving")
        ready = {pod["status"].get("podIP") for pod in kubectl.ready_pods("app=moving")}
        sets = [one["spec"]["replicas"] for one in kubectl.items("replicasets -l app=moving")]
        subsets = kubectl.get("endpoints moving").get("subsets") or [{}]
        return (
            len(pods) == len(ready) == LAST_REPLICAS
            and sorted(sets)[-1] == sum(sets) == LAST_REPLICAS
            and kubectl.endpoints("moving") == {f"{address}:8080" for address in ready}
            and {one["ip"] for one in subsets[0].get("addresses") or ()} == ready
        )

    eventually(converged, "pods and endpoints converge", CALM_SECONDS)
