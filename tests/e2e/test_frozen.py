"""A process, or the whole machine, may stand still for longer than the node monitor's grace period (a laptop's lid, a
virtual machine that is paused): soon after it goes on every Service answers again.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e_support import Cluster, eventually
from test_chaos import WEB, client_pod, components, fragile

__all__ = ["fragile"]

FROZEN_SECONDS = 58.0
"""Longer than the 50 s after which a silent node is given up."""
WAKING_SECONDS = 15.0


@contextmanager
def frozen(cluster: Cluster, *names: str) -> Iterator[None]:
    """Stop these components, or all, while the block runs."""
    running = [one for one in components(cluster) if one["state"] == "ready"]
    pids = " ".join(str(one["pid"]) for one in running if not names or one["name"] in names)
    cluster.on_lan("kill", "-STOP", *pids.split())
    try:
        yield
    finally:
        cluster.on_lan("kill", "-CONT", *pids.split())


def check_services(cluster: Cluster, names: tuple[str, ...]) -> None:
    """Every node is Ready, every pod an endpoint, and every name resolves and answers from a pod of each node."""
    kubectl = cluster.kubectl
    for name in names:
        eventually(lambda name=name: len(kubectl.endpoints(name)) == 2, f"endpoints of {name}", WAKING_SECONDS)
    for name in names:
        ask = ("curl", "-sf", "-m", "2", "-o", "/dev/null", f"http://{name}.default.svc.cluster.local/")
        eventually(lambda ask=ask: kubectl.exec("client", *ask) == "", f"{name} answers", WAKING_SECONDS)
    unready = [
        node["metadata"]["name"]
        for node in kubectl.items("nodes")
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    ]
    assert not unready


def test_services_answer_soon_after_what_stood_still_goes_on(fragile: Cluster) -> None:
    """Everything at once; then one node's agent alone, whose node is given up meanwhile and taken back afterwards."""
    kubectl = fragile.kubectl
    names = ("first", "second")
    for name in names:
        kubectl.apply(WEB % {"name": name, "replicas": 2})
    for name in names:
        kubectl.wait_ready(f"app={name}", 2)
    kubectl.apply(client_pod(kubectl.get("service first")["spec"]["clusterIP"]))
    kubectl.ready_pod("client")
    check_services(fragile, names)
    with frozen(fragile):
        time.sleep(FROZEN_SECONDS)
    check_services(fragile, names)
    assert not [one for one in kubectl.items("events") if one["reason"] == "NodeNotReady"]

    def given_up() -> bool:
        conditions = kubectl.get("node node-2")["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "Unknown" for one in conditions)

    with frozen(fragile, "node-2-agent"):
        eventually(given_up, "node-2 is given up", 90)
    check_services(fragile, names)
