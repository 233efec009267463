"""Names outside the cluster, and DNS on each node, in a cluster on a machine whose name server is scripted."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_support import SAMPAN, Kubectl, eventually

from support.machine import Machine, machine
from support.outsideworld import ANSWER

NAME = "outside"
RESOLVER = "127.0.0.53"
NODE_LOCAL, DNS, GATEWAY = "169.254.20.10", "10.96.0.10", "10.2.2.1"
ZONE = "default.svc.cluster.local"


@dataclass(frozen=True)
class World:
    """A machine, the cluster on it, and what the machine's name server was asked."""

    machine: Machine
    kubectl: Kubectl
    environment: dict[str, str]
    log: Path

    def sampan(self, *words: str, status: int = 0) -> str:
        command, *others = words
        return self.machine.run(SAMPAN, command, "--name", NAME, *others, status=status, environment=self.environment)

    def on_node(self, *command: str) -> str:
        return self.sampan("shell", "--node", "node-1", "--", *command)

    def asked(self, name: str) -> int:
        return self.log.read_text().split().count(f"{name}.")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests need root; `make test` prepares everything")
    home = tmp_path_factory.mktemp("outside")
    environment = {"SAMPAN_HOME": str(home / "state"), "KUBECONFIG": str(home / "kubeconfig")}
    (home / "etc").mkdir()
    with machine(home / "etc") as made:
        made.write("/etc/resolv.conf", f"nameserver {RESOLVER}\nsearch outside.example\n")
        tests = str(Path(__file__).parents[1])
        made.start(
            sys.executable,
            "-m",
            "support.outsideworld",
            RESOLVER,
            str(home / "asked"),
            environment={"PYTHONPATH": tests},
        )
        eventually((home / "asked").exists, "the machine's name server")
        kubectl = Kubectl(home / "kubeconfig", f"sampan-{NAME}", prefix=made.enter)
        found = World(made, kubectl, environment, home / "asked")
        found.sampan("up", "--nodes", "2", "--node-local-dns")
        try:
            client = '{"spec": {"nodeName": "node-1", "dnsPolicy": "%s"}}'
            kubectl("run client --image=host --overrides", client % "ClusterFirst", "--", "sleep", "1000000")
            kubectl("run plain --image=host --overrides", client % "Default", "--", "sleep", "1000000")
            kubectl("wait --for=condition=Ready pod/client pod/plain --timeout=60s")
            yield found
        finally:
            told = found.sampan("down")
        assert "nothing of it is left" in told


def dig(world: World, *words: str, pod: str = "client") -> list[str]:
    return world.kubectl.exec(pod, "dig", "+short", *words).split()


def status(world: World, *words: str) -> str:
    told = world.kubectl.exec("client", "dig", *words)
    return next(line.partition("status: ")[2].partition(",")[0] for line in told.splitlines() if "status: " in line)


def test_pods_ask_the_node_first_and_the_cluster_if_it_is_away(world: World) -> None:
    servers = [
        line for line in world.kubectl.exec("client", "cat", "/etc/resolv.conf").splitlines() if "server" in line
    ]
    assert servers == [f"nameserver {NODE_LOCAL}", f"nameserver {DNS}"]
    assert f"SERVER: {NODE_LOCAL}#53" in world.kubectl.exec("client", "dig", f"kubernetes.{ZONE}")


@pytest.mark.parametrize("server", [NODE_LOCAL, DNS, GATEWAY])
@pytest.mark.parametrize("protocol", ["+notcp", "+tcp"])
def test_whoever_is_asked_a_name_outside_is_answered_as_by_the_machine(
    world: World, server: str, protocol: str
) -> None:
    assert dig(world, f"@{server}", protocol, "www.outside.example") == [ANSWER]
    assert status(world, f"@{server}", protocol, "www.nowhere.example") == "NXDOMAIN"


def test_a_pod_with_the_nodes_resolver_has_the_machines_search_path(world: World) -> None:
    assert world.kubectl.exec("plain", "cat", "/etc/resolv.conf") == f"nameserver {GATEWAY}\nsearch outside.example\n"
    assert world.kubectl.exec("plain", "getent", "hosts", "www").split() == [ANSWER, "www.outside.example"]


def test_a_name_outside_is_asked_for_once_and_then_known_on_the_node(world: World) -> None:
    for _ in range(3):
        assert dig(world, "once.outside.example") == [ANSWER]
    assert world.asked("once.outside.example") == 1


def test_names_of_the_cluster_are_never_asked_of_the_machine(world: World) -> None:
    assert status(world, f"nobody.{ZONE}") == "NXDOMAIN"
    assert "cluster.local" not in world.log.read_text()


def test_a_machine_without_name_server_means_servfail_and_another_one_is_found_at_once(world: World) -> None:
    before = world.machine.read("/etc/resolv.conf")
    world.machine.write("/etc/resolv.conf", "nameserver 127.0.0.99\n")
    try:
        assert status(world, "first.outside.example") == "SERVFAIL"
        assert dig(world, f"kubernetes.{ZONE}") == ["10.96.0.1"]
    finally:
        world.machine.write("/etc/resolv.conf", before)
    assert dig(world, "second.outside.example") == [ANSWER]


def test_a_name_is_known_on_the_node_as_soon_as_there_is_a_service(world: World) -> None:
    assert dig(world, f"late.{ZONE}") == []
    world.kubectl("create service clusterip late --tcp=80")
    address = world.kubectl.get("service late")["spec"]["clusterIP"]
    eventually(lambda: dig(world, f"@{NODE_LOCAL}", f"late.{ZONE}") == [address], "the new name")
    world.kubectl("delete service late")
    eventually(lambda: dig(world, f"@{NODE_LOCAL}", f"late.{ZONE}") == [], "the name is gone")


def test_questions_to_the_node_are_not_tracked(world: World) -> None:
    assert dig(world, f"kubernetes.{ZONE}") == ["10.96.0.1"]
    pod = world.kubectl.get("pod client")["status"]["podIP"]
    assert dig(world, f"@{DNS}", f"kubernetes.{ZONE}") == ["10.96.0.1"]
    flows = [line for line in world.on_node("conntrack", "-L").splitlines() if f"src={pod} " in line]
    assert any(f"dst={DNS} " in line for line in flows)
    assert not any(f"dst={NODE_LOCAL} " in line for line in flows)


def test_names_resolve_while_the_cluster_dns_has_no_pods(world: World) -> None:
    system = world.kubectl.within("kube-system")
    system("scale deployment coredns --replicas=0")
    eventually(lambda: not system.endpoints("kube-dns"), "no cluster DNS")
    assert dig(world, f"kubernetes.{ZONE}") == ["10.96.0.1"]
    assert dig(world, "alone.outside.example") == [ANSWER]
    system("scale deployment coredns --replicas=2")
    system.wait_ready("k8s-app=kube-dns", 2)


def test_pods_resolve_while_the_nodes_server_is_killed_and_it_comes_back(world: World) -> None:
    node_local = world.kubectl.within("kube-system")
    (before,) = pods_of(node_local, "node-1")
    world.on_node("pkill", "-KILL", "-f", "[-]-node-local 169")
    assert world.kubectl.exec("client", "getent", "hosts", "kubernetes.default").split()[0] == "10.96.0.1"
    eventually(lambda: restarts(node_local, "node-1") > restarts_of(before), "the server's restart")
    eventually(lambda: dig(world, f"@{NODE_LOCAL}", f"kubernetes.{ZONE}") == ["10.96.0.1"], "an answer from the node")


def pods_of(kubectl: Kubectl, node: str) -> list[dict]:
    return kubectl.items(f"pods -l k8s-app=node-local-dns --field-selector spec.nodeName={node}")


def restarts_of(pod: dict) -> int:
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def restarts(kubectl: Kubectl, node: str) -> int:
    (pod,) = pods_of(kubectl, node)
    return restarts_of(pod)


def test_after_a_stop_and_a_start_names_are_answered_again(world: World) -> None:
    world.sampan("stop")
    world.sampan("start")
    eventually(lambda: dig(world, "www.outside.example") == [ANSWER], "a name outside")
    eventually(lambda: dig(world, f"@{NODE_LOCAL}", f"kubernetes.{ZONE}") == ["10.96.0.1"], "a name of the cluster")


def test_without_its_daemon_set_the_address_is_gone_and_pods_ask_the_cluster(world: World) -> None:
    """The last test: nothing brings the DaemonSet back."""
    assert NODE_LOCAL in world.on_node("ip", "address", "show", "lo")
    world.kubectl.within("kube-system")("delete daemonset node-local-dns")
    eventually(lambda: NODE_LOCAL not in world.on_node("ip", "address", "show", "lo"), "the address is gone")
    assert "nodelocaldns" not in world.on_node("nft", "list", "tables")
    asked = f"for i in $(seq 20); do dig +tries=1 @{NODE_LOCAL} kubernetes.{ZONE}; done; true"
    refusals = world.kubectl.exec("client", "sh", "-c", asked).count("connection refused")
    assert refusals >= 20, "each question is refused, none is lost"
    assert world.kubectl.exec("client", "getent", "hosts", "kubernetes.default").split()[0] == "10.96.0.1"
    assert f"SERVER: {DNS}#53" in world.kubectl.exec("client", "dig", f"kubernetes.{ZONE}")
