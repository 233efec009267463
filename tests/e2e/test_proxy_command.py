"""`sampan proxy` as a process of its own, where no proxy is: on the nodes' LAN, as on a machine of another cluster."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e_support import SAMPAN, Cluster, Kubectl, eventually

CONFIGURATION = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /run/sampan/kubeconfig}
hostnameOverride: node-1
mode: nftables
clusterCIDR: 10.244.0.0/16
conntrack: {tcpEstablishedTimeout: 2h}
"""

NFTABLES = "table ip sampan-proxy"


@contextmanager
def running(cluster: Cluster, file: Path) -> Iterator[None]:
    """A proxy on the LAN, ended and cleaned up after."""
    number = file.with_name("pid")
    where = [SAMPAN, "shell", "--name", cluster.name, "--lan", "--"]
    script = f"echo $$ > {number}; exec {SAMPAN} proxy --config {file}"
    process = subprocess.Popen([*where, "sh", "-c", script])
    try:
        yield
    finally:
        cluster.on_lan("kill", "-TERM", number.read_text().strip())
        assert process.wait(10) == 0
        cluster.on_lan(SAMPAN, "proxy", "--cleanup")


@pytest.fixture
def web(namespace: Kubectl) -> str:
    namespace("create deployment web --image=host -- python3 -m http.server 8080")
    namespace("expose deployment web --port=80 --target-port=8080")
    namespace.wait_ready("app=web", 1)
    eventually(lambda: namespace.endpoints("web"), "the endpoint")
    return str(namespace("get service web -o jsonpath={.spec.clusterIP}"))


def test_a_proxy_runs_by_its_configuration_file_and_follows_it(cluster: Cluster, web: str, tmp_path: Path) -> None:
    """Services answer while it runs; a change of mode in the file is a change of rules; cleaning up leaves none."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIGURATION)

    def rules() -> str:
        return cluster.on_lan("sh", "-c", "nft list tables; iptables-save")

    def answers() -> bool:
        code = cluster.on_lan("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", f"http://{web}/")
        return code == "200"

    before = rules()
    assert "sampan-proxy" not in before
    with running(cluster, file):
        eventually(lambda: NFTABLES in rules().splitlines(), "rules on the LAN")
        assert eventually(answers, "the Service answers on the LAN")
        timeout = "net.netfilter.nf_conntrack_tcp_timeout_established"
        assert cluster.on_lan("sysctl", "-n", timeout).strip() == "7200"
        file.write_text(CONFIGURATION.replace("nftables", "iptables"))
        eventually(lambda: "KUBE-SVC" in rules() and NFTABLES not in rules().splitlines(), "the other mode's rules")
        assert answers()
    after = rules()
    assert "sampan-proxy" not in after
    assert "KUBE-" not in after


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("mode: nftables", "mode: 7"), "mode: Expected str, got int"),
        (("mode: nftables", "mode: hyperspace"), "unknown proxy mode 'hyperspace'"),
        (("mode: nftables", "colour: blue"), "colour: unknown field"),
        (("hostnameOverride: node-1", "hostnameOverride: node-99"), 'nodes "node-99" not found'),
    ],
)
def test_what_cannot_work_is_refused_in_words(
    cluster: Cluster, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    """Exit status 1, one line, and no rule."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIGURATION.replace(*change))
    where = [SAMPAN, "shell", "--name", cluster.name, "--lan", "--"]
    done = subprocess.run([*where, SAMPAN, "proxy", "--config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "sampan-proxy" not in cluster.on_lan("nft", "list", "tables")
