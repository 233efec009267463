"""The ipvs mode as its users see it, in a whole cluster. Where this machine's kernel has no IPVS, all of it runs in
user-mode Linux, whose kernel also has no nftables for IPv4: the node's own rules are made with iptables there.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_balance import Lan
from e2e_support import SAMPAN, Cluster, Kubectl, eventually, run

from sampan.kernel import ipvs
from support import uml

SECONDS = 480.0
NAME = "ipvs"
NODE_IP = "10.2.2.10"
SERVER = "python3 -m http.server 8080 --protocol HTTP/1.1 --directory /etc"

NFTABLES = "table ip trial { chain trial { type nat hook output priority 0; }; }"
needs_ipvs = pytest.mark.skipif(not ipvs.loaded(), reason="this kernel has no IPVS")


@pytest.mark.guest("tests/e2e/test_ipvs.py", "--durations=0", seconds=SECONDS)
def test_a_cluster_in_ipvs_mode_shows_what_documentation_prints(guest: uml.Outcome) -> None:
    """All tests below, on a kernel that has IPVS."""
    assert guest.status == 0, guest.output
    assert " passed" in guest.output


class NodeShell:
    """A bash in a node's network that obeys one command after another: starting one for each would take a second."""

    def __init__(self, node: str) -> None:
        self._process = subprocess.Popen(
            [SAMPAN, "shell", "--name", NAME, "--node", node, "--", "bash"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        )  # fmt: skip

    def __call__(self, command: str) -> str:
        """What the command says; it must end well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{command}\necho "end of command: $?"\n')
        said = ""
        for line in self._process.stdout:
            text, end, status = line.partition("end of command: ")
            said += text
            if end:
                assert int(status) == 0, f"{command}: exit status {status}{said}"
                return said
        raise AssertionError(f"the shell ended: {said}")

    def close(self) -> None:
        self._process.communicate("exit\n", timeout=30)


@pytest.fixture(scope="module")
def state_directory() -> Iterator[Path]:
    """Below /run, which the box covers with one of its own."""
    home = Path("/run/sampan-test")
    before = {name: os.environ.get(name) for name in ("SAMPAN_HOME", "KUBECONFIG")}
    os.environ |= {"SAMPAN_HOME": str(home), "KUBECONFIG": str(home / "kubeconfig")}
    yield home
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def cluster(state_directory: Path) -> Iterator[Cluster]:
    run(SAMPAN, "up", "--name", NAME, "--nodes", "1", "--proxy-mode", "ipvs", "--timeout", "110")
    try:
        yield Cluster(NAME, Kubectl(state_directory / "kubeconfig", f"sampan-{NAME}"))
    finally:
        run(SAMPAN, "down", "--name", NAME)


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[NodeShell]:
    shell = NodeShell("node-1")
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> str:
    """The cluster IP of two pods' Service."""
    kubectl = cluster.kubectl
    kubectl("create deployment web --image=host --replicas=2 --", *SERVER.split())
    kubectl("expose deployment web --port=80 --target-port=8080")
    kubectl("rollout status deployment/web")
    return str(kubectl("get service web -o jsonpath={.spec.clusterIP}"))


def listed(node: NodeShell) -> dict[str, list[str]]:
    """`ipvsadm -Ln`: the real servers, with how and weight, under the line of each virtual server."""
    servers: dict[str, list[str]] = {}
    last: list[str] = []
    for line in node("ipvsadm -Ln").splitlines()[3:]:
        words = line.split()
        if words[0] == "->":
            last.append(" ".join(words[1:4]))
        else:
            last = servers.setdefault(" ".join(words), [])
    return servers


def scaled(cluster: Cluster, node: NodeShell, server: str, count: int) -> None:
    """Ask for that many pods; the virtual server must come to have just these as real servers."""
    cluster.kubectl(f"scale deployment web --replicas={count}")
    eventually(lambda: len(listed(node)[server]) == count, f"{count} real servers")
    assert set(listed(node)[server]) == {f"{endpoint} Masq 1" for endpoint in cluster.kubectl.endpoints("web")}


@needs_ipvs
def test_ipvsadm_lists_the_endpoints_as_they_come(cluster: Cluster, node: NodeShell, web: str) -> None:
    """Round robin, masquerading, weight 1; and the address is on a device that is down and answers no ARP."""
    device = node("ip addr show kube-ipvs0")
    assert "<BROADCAST,NOARP>" in device
    assert "state DOWN" in device
    assert f"inet {web}/32 scope global kube-ipvs0" in device
    eventually(lambda: len(listed(node)[f"TCP {web}:80 rr"]) == 2, "two real servers")
    scaled(cluster, node, f"TCP {web}:80 rr", 3)


@needs_ipvs
def test_requests_take_turns(node: NodeShell, web: str) -> None:
    answers = node(f"for each in 1 2 3 4 5 6; do curl -sS http://{web}/hostname; done").split()
    assert sorted(map(answers.count, set(answers))) == [2, 2, 2]


@needs_ipvs
def test_a_cluster_ip_answers_ping(cluster: Cluster, node: NodeShell, web: str) -> None:
    """From the node and from pods."""
    assert "1 packets received" in node(f"busybox ping -c 1 -W 5 {web}")
    pod = cluster.kubectl("get pods -l app=web -o jsonpath={.items[0].metadata.name}")
    assert "1 packets received" in cluster.kubectl.exec(pod, "busybox", "ping", "-c", "1", "-W", "5", web)


@needs_ipvs
def test_a_working_service_is_explained(cluster: Cluster, node: NodeShell, web: str) -> None:
    """The virtual server as ipvsadm has it, with counters, and what leads there."""
    output = cluster.sampan("explain service web")
    assert f"{web}:80/TCP in mode ipvs on node node-1 → " in output
    assert f"TCP {web}:80 rr: " in output
    for each in listed(node)[f"TCP {web}:80 rr"]:
        assert f"-> {each.partition(' ')[0]} Masq weight 1, 0 active" in output
    assert f"address {web}: on kube-ipvs0" in output
    assert f"KUBE-CLUSTER-IP: {web},tcp:80" in output
    assert "--match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ" in output
    assert "remembered on node node-1" in output
    assert "listen on 8080/TCP" in output
    assert f"ping {web} tells nothing about the Service: it is always answered" in output
    assert output.strip().endswith("Nothing is wrong.")


@needs_ipvs
def test_session_affinity_is_persistence(cluster: Cluster, node: NodeShell, web: str) -> None:
    cluster.kubectl('patch service web -p {"spec":{"sessionAffinity":"ClientIP"}}')
    eventually(lambda: len(listed(node)[f"TCP {web}:80 rr persistent 10800"]) == 3, "persistence")
    answers = node(f"for each in 1 2 3 4 5 6; do curl -sS http://{web}/hostname; done").split()
    assert (len(answers), len(set(answers))) == (6, 1)
    cluster.kubectl('patch service web -p {"spec":{"sessionAffinity":"None"}}')
    eventually(lambda: f"TCP {web}:80 rr" in listed(node), "no persistence")


@needs_ipvs
def test_a_node_port_is_a_virtual_server_and_endpoints_go(cluster: Cluster, node: NodeShell, web: str) -> None:
    """At the node's own address. What is scaled away is listed no more."""
    cluster.kubectl('patch service web -p {"spec":{"type":"NodePort"}}')
    port = cluster.kubectl("get service web -o jsonpath={.spec.ports[0].nodePort}")
    eventually(lambda: len(listed(node)[f"TCP {NODE_IP}:{port} rr"]) == 3, "the node port")
    scaled(cluster, node, f"TCP {NODE_IP}:{port} rr", 1)
    assert cluster.on_lan("curl", "-sS", f"http://{NODE_IP}:{port}/hostname").startswith("web-")


@needs_ipvs
def test_an_external_address_is_on_the_device_and_answers_once(cluster: Cluster, node: NodeShell, web: str) -> None:
    """The kernel, which has the address, leaves ARP for it to the load balancer (strictARP)."""
    cluster.kubectl('patch service web -p {"spec":{"type":"LoadBalancer"}}')
    external = eventually(
        lambda: cluster.kubectl("get service web -o jsonpath={.status.loadBalancer.ingress[0].ip}"), "an address"
    )
    eventually(lambda: f"inet {external}/32 scope global kube-ipvs0" in node("ip addr show kube-ipvs0"), "the address")
    Lan(cluster).announcer(external)
    fetch = ("curl", "-sS", f"http://{external}/hostname")
    assert eventually(lambda: cluster.on_lan(*fetch), "it answers outside").startswith("web-")


@needs_ipvs
def test_connections_outlive_changes_of_the_mode(cluster: Cluster, node: NodeShell, web: str) -> None:
    """To iptables and back: what was established in either mode goes on, and only one mode's rules are left."""
    request = (
        'printf "HEAD /hostname HTTP/1.1\\r\\nHost: web\\r\\n\\r\\n" >&{0}; read -t 10 -u {0} line; echo "$line";'
        " while read -t 10 -u {0} line && [ \"$line\" != $'\\r' ]; do :; done"
    )
    node(f"exec 3<>/dev/tcp/{web}/80")
    assert "200 OK" in node(request.format(3))
    assert "node-1: iptables" in cluster.sampan("proxy-mode iptables")
    assert "200 OK" in node(request.format(3))
    node(f"exec 4<>/dev/tcp/{web}/80")
    assert "200 OK" in node(request.format(4))
    assert "KUBE-SVC-" in node("iptables-save -t nat")
    assert "node-1: ipvs" in cluster.sampan("proxy-mode ipvs")
    assert "200 OK" in node(request.format(3))
    assert "200 OK" in node(request.format(4))
    assert "KUBE-SVC-" not in node("iptables-save -t nat")
    node("exec 3<&- 4<&-")
    assert node(f"curl -sS http://{web}/hostname").startswith("web-")


@needs_ipvs
def test_what_keeps_packets_from_a_virtual_server_is_named(cluster: Cluster, node: NodeShell, web: str) -> None:
    node(f"ip addr del {web}/32 dev kube-ipvs0")
    output = cluster.sampan("explain service web", status=1)
    assert f"{web} is not on kube-ipvs0, so the node does not take packets to it" in output


@needs_ipvs
def test_a_mode_that_the_kernel_lacks_is_refused_with_the_reason(cluster: Cluster) -> None:
    if not subprocess.run(["nft", "--check", NFTABLES], capture_output=True, check=False).returncode:
        pytest.skip("this kernel has nftables for IPv4")
    output = cluster.sampan("proxy-mode nftables", status=1)
    assert "the kernel has no nftables for IPv4; modes that do without: iptables, ipvs" in output
    assert cluster.sampan("proxy-mode").strip() == "ipvs"
