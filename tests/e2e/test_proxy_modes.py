"""The proxy's modes in a running cluster: switched by command, previewed beside it, and Services answer throughout."""

from collections.abc import Iterator

import pytest
from e2e_support import SAMPAN, Cluster, Kubectl, eventually

MODES = ("nftables", "iptables", "userspace")
PROXY = f"{SAMPAN} proxy --kubeconfig /run/sampan/kubeconfig --node-name node-2 --cluster-cidr 10.244.0.0/16"


@pytest.fixture
def restored(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, in its own mode again afterwards."""
    before = cluster.sampan("proxy-mode").strip()
    yield cluster
    cluster.sampan(f"proxy-mode {before}")


@pytest.fixture
def web(namespace: Kubectl) -> str:
    """The cluster IP of two pods' Service."""
    namespace("create deployment web --image=host --replicas=2 -- python3 -m http.server 8080")
    namespace("expose deployment web --port=80 --target-port=8080")
    namespace.wait_ready("app=web", 2)
    eventually(lambda: len(namespace.endpoints("web")) == 2, "endpoints")
    return str(namespace("get service web -o jsonpath={.spec.clusterIP}"))


def answers(cluster: Cluster, node: str, ip: str) -> bool:
    return "200" in cluster.on_node(node, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{ip}/")


def test_the_mode_is_switched_by_command_and_services_go_on(restored: Cluster, web: str) -> None:
    """Every node says which mode is in force, and only its rules are left."""
    for mode in (*MODES[1:], MODES[0]):
        output = restored.sampan(f"proxy-mode {mode}")
        assert [line.split(": ")[1] for line in output.splitlines()] == [mode] * len(restored.node_ips())
        for node in restored.node_ips():
            assert answers(restored, node, web)
            rules = restored.on_node(node, "sh", "-c", "nft list tables; iptables-save")
            assert ("table ip sampan-proxy\n" in rules) == (mode == "nftables")
            assert ("sampan-proxy-userspace" in rules) == (mode == "userspace")
            assert ("KUBE-SVC" in rules) == (mode == "iptables")
    assert restored.sampan("proxy-mode").strip() == MODES[0]


def test_a_mode_that_is_none_is_refused(restored: Cluster) -> None:
    before = restored.sampan("proxy-mode")
    assert "Invalid enum value 'hyperspace'" in restored.sampan("proxy-mode hyperspace", status=1)
    assert restored.sampan("proxy-mode") == before


def test_a_preview_shows_the_rules_and_their_difference(restored: Cluster, web: str) -> None:
    """In the mode at hand the kernel has exactly the desired rules; another mode would change everything."""
    restored.sampan("proxy-mode nftables")
    assert web in restored.on_node("node-2", *PROXY.split(), "--dry-run")
    assert restored.on_node("node-2", *PROXY.split(), "--diff") == ""
    assert "KUBE-SVC" in restored.on_node("node-2", *PROXY.split(), "--dry-run", "--mode", "iptables")
