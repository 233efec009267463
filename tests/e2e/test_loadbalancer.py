"""Services of type LoadBalancer in a cluster, from the LAN: addresses, client addresses, sharing, and what dies."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_balance import Lan, Steady, apply, pod, service, settle, signal
from e2e_support import SAMPAN, Cluster, Kubectl, eventually, run

NAME = "balance"
CLIENT = "10.2.2.1"
"""The address of a client on the LAN."""
CONFIG = """
loadBalancer:
  pools:
  - {name: default, addresses: [10.2.2.200-10.2.2.205]}
  - {name: one, addresses: [10.2.2.210], autoAssign: false}
"""
MODES = ("iptables", "userspace", "nftables")


@pytest.fixture(scope="module")
def cluster(sampan_home: Path) -> Iterator[Cluster]:
    """A cluster of its own: nodes die in it."""
    config = sampan_home / "balance.yaml"
    config.write_text(CONFIG)
    run(SAMPAN, "up", "--name", NAME, "--config", str(config))
    try:
        yield Cluster(NAME, Kubectl(sampan_home / "kubeconfig", f"sampan-{NAME}"))
    finally:
        run(SAMPAN, "down", "--name", NAME)


@pytest.fixture(scope="module")
def lan(cluster: Cluster) -> Lan:
    return Lan(cluster)


@pytest.fixture
def web(cluster: Cluster, namespace: Kubectl) -> Kubectl:
    """A namespace with a server on node-1."""
    apply(namespace, pod("server-1", "node-1", "web"))
    namespace.ready_pod("server-1")
    return namespace


def address(kubectl: Kubectl, name: str) -> str:
    """The EXTERNAL-IP that kubectl shows."""

    def shown() -> str:
        cell = kubectl(f"get service {name} --no-headers").split()[3]
        return "" if cell == "<pending>" else cell

    return str(eventually(shown, f"{name} has an EXTERNAL-IP"))


def events(kubectl: Kubectl, name: str, reason: str) -> list[str]:
    listed = kubectl.items(f"events --field-selector involvedObject.name={name},reason={reason}")
    return [one["message"] for one in listed]


@pytest.mark.parametrize("mode", MODES)
def test_a_client_outside_reaches_the_address_and_is_seen_as_the_policy_says(
    cluster: Cluster, lan: Lan, web: Kubectl, mode: str
) -> None:
    """Under Cluster the server sees the node that the client came to, under Local the client itself."""
    cluster.sampan(f"proxy-mode {mode}")
    apply(web, service("cluster", "web"), service("local", "web", externalTrafficPolicy="Local"))
    ip, local = address(web, "cluster"), address(web, "local")
    entry = lan.announcer(ip)
    server, seen = lan.get_soon(ip)
    assert server == "server-1"
    if entry != "node-1":
        assert seen == cluster.node_ips()[entry]
    assert lan.announcer(local) == "node-1"
    server, seen = lan.get_soon(local)
    assert server == "server-1"
    if mode != "userspace":  # a process on the node asks on behalf of the client
        assert seen == CLIENT
    assert lan.answering("10.2.2.205") == []


def test_tcp_and_udp_share_one_address_and_source_ranges_hold(cluster: Cluster, lan: Lan, web: Kubectl) -> None:
    key = {"metallb.universe.tf/allow-shared-ip": "dns"}
    apply(
        web,
        service("tcp", "web", annotations=key, allocateLoadBalancerNodePorts=False),
        service("udp", "web", annotations=key, allocateLoadBalancerNodePorts=False, udp=True),
    )
    ip = address(web, "tcp")
    assert address(web, "udp") == ip
    assert all("nodePort" not in port for port in web.get("service tcp")["spec"]["ports"])
    assert lan.get_soon(ip)[0] == "server-1"
    assert eventually(lambda: lan.ask_udp(ip), "UDP is answered")[0] == "server-1"
    apply(web, service("strict", "web", loadBalancerSourceRanges=["192.0.2.0/24"]))
    strict = address(web, "strict")
    with pytest.raises(AssertionError, match="curl"):
        lan.get(strict)
    web("patch service strict -p", json.dumps({"spec": {"loadBalancerSourceRanges": [f"{CLIENT}/32"]}}))
    assert lan.get_soon(strict)[0] == "server-1"


def test_a_service_without_an_address_is_told_why_and_gets_what_is_freed(cluster: Cluster, web: Kubectl) -> None:
    pool = {"metallb.io/address-pool": "one"}
    apply(web, service("first", "web", annotations=pool))
    assert address(web, "first") == "10.2.2.210"
    apply(web, service("second", "web", annotations=pool))
    [told] = eventually(lambda: events(web, "second", "AllocationFailed"), "the event")
    assert 'no available IPv4 addresses in pool "one"' in told
    web("delete service first")
    assert address(web, "second") == "10.2.2.210"
    assert events(web, "second", "IPAllocated") == ['Assigned IP ["10.2.2.210"]']
    web("patch service second -p", '{"spec": {"type": "ClusterIP"}}')
    eventually(lambda: not web.get("service second")["metadata"].get("finalizers"), "the finalizer is gone")
    assert web.get("service second")["status"] == {"loadBalancer": {}}


@pytest.fixture
def steady(cluster: Cluster, lan: Lan, namespace: Kubectl) -> tuple[str, str, Kubectl]:
    """A Service's address, the node that announces it, and servers on the two others."""
    apply(namespace, service("web", "web"))
    ip = address(namespace, "web")
    entry = lan.announcer(ip)
    others = sorted({"node-1", "node-2", "node-3"} - {entry})
    apply(namespace, *(pod(f"on-{node}", node, "web") for node in others))
    namespace.wait_ready("app=web", 2)
    lan.get_soon(ip)
    return ip, entry, namespace


def test_the_address_moves_when_its_node_dies(cluster: Cluster, lan: Lan, steady: tuple[str, str, Kubectl]) -> None:
    """Agent stopped, link cut, node drained: requests fail for one short while at most, and one node answers."""
    ip, entry, _ = steady
    others = sorted({"node-1", "node-2", "node-3"} - {entry})
    ways = {
        "agent": (lambda: signal(cluster, f"{entry}-agent", "STOP"), lambda: signal(cluster, f"{entry}-agent", "CONT")),
        "link": (
            lambda: cluster.on_lan("ip", "link", "set", entry, "down"),
            lambda: cluster.on_lan("ip", "link", "set", entry, "up"),
        ),
        "drain": (
            lambda: cluster.kubectl(f"drain {entry} --ignore-daemonsets --delete-emptydir-data --force"),
            lambda: cluster.kubectl(f"uncordon {entry}"),
        ),
    }
    for way, (kill, revive) in ways.items():
        client = Steady(cluster, ip)
        kill()
        lan.announcer(ip, *others)
        settle()
        total, failed, _ = client.end()
        assert failed < total, way
        assert lan.get(ip)
        client = Steady(cluster, ip)
        settle()
        assert client.end()[1] == 0, f"after {way}, all is well on the other node"
        revive()
        lan.announcer(ip, entry)


@pytest.mark.parametrize("victim", ["controllers", "proxy"])
def test_kills_of_processes_cost_no_request(
    cluster: Cluster, lan: Lan, steady: tuple[str, str, Kubectl], victim: str
) -> None:
    ip, entry, kubectl = steady
    client = Steady(cluster, ip)
    for _ in range(2):
        signal(cluster, "controllers" if victim == "controllers" else f"{entry}-proxy", "KILL")
        settle()
    lan.announcer(ip)
    apply(kubectl, service("next", "web"))
    assert address(kubectl, "next") != ip
    total, failed, span = client.end()
    assert failed == 0, f"{failed} of {total} requests failed within {span} s"
    assert address(kubectl, "web") == ip


def test_the_command_serves_a_class_of_its_own_beside_the_cluster(cluster: Cluster, lan: Lan, web: Kubectl) -> None:
    """As on another cluster: with a kubeconfig, on a node's interface, elected by its Lease."""
    key = web.kubeconfig.parent / "key"
    key.write_text("a secret of all the nodes of this LAN")
    options = f"--kubeconfig /run/sampan/kubeconfig --node-name node-2 --addresses 10.2.2.220 --key-file {key}"
    command = f"echo $$; exec {SAMPAN} loadbalancer {options} --lb-class example.com/own"
    inside = [SAMPAN, "shell", "--name", NAME, "--node", "node-2", "--", "sh", "-c", command]
    apply(web, service("own", "web", loadBalancerClass="example.com/own"))
    process = subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = process.stdout.readline().strip()
    try:
        assert address(web, "own") == "10.2.2.220"
        assert lan.announcer("10.2.2.220") == "node-2"
        assert lan.get_soon("10.2.2.220")[0] == "server-1"
        lease = cluster.kubectl.within("kube-system").get("lease sampan-loadbalancer")
        assert lease["spec"]["holderIdentity"]
    finally:
        cluster.on_lan("kill", "-TERM", pid)
        _, said = process.communicate(timeout=30)
    assert "Traceback" not in said, said
    assert process.returncode == 0
    assert lan.answering("10.2.2.220") == []


def test_the_example_for_other_clusters_is_valid(cluster: Cluster) -> None:
    example = Path(__file__).parents[2] / "examples" / "loadbalancer.yaml"
    assert cluster.kubectl(f"apply --dry-run=server -f {example}").count("created (server dry run)") == 7


def test_pools_that_cannot_work_are_refused_before_anything_is_made(sampan_home: Path) -> None:
    config = sampan_home / "wrong.yaml"
    config.write_text("loadBalancer: {pools: [{addresses: [10.2.2.1-10.2.2.20, 192.0.2.0/24]}]}")
    said = run(SAMPAN, "up", "--name", "wrong", "--config", str(config), status=1)
    assert "contains 10.2.2.1, which is the gateway's address" in said
    assert "192.0.2.0-192.0.2.255 of 'default' is not within network.nodes 10.2.2.0/24" in said
