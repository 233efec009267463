"""Pods as kubectl's users meet them: standard input, terminals, copying, hooks, volumes, host ports, statistics."""

import json
import shlex
from pathlib import Path

import pytest
from e2e_support import Cluster, CommandFailed, Kubectl, eventually, run

OLD_KUBECTL = Path("/tmp/k120/usr/bin/kubectl")


ANSWER = """
import socket, sys
kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}[sys.argv[1]]
server = socket.socket(socket.AF_INET, kind)
server.bind(("", 8080))
if sys.argv[1] == "TCP":
    server.listen()
while True:
    if sys.argv[1] == "TCP":
        server.accept()[0].sendall(sys.argv[2].encode())
    else:
        server.sendto(sys.argv[2].encode(), server.recvfrom(99)[1])
"""
ASK = """
import socket, sys
kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}[sys.argv[1]]
client = socket.socket(socket.AF_INET, kind)
client.settimeout(3)
client.bind((sys.argv[3], 0))
client.connect((sys.argv[2], 54323))
client.send(b"?")
print(client.recv(99).decode())
"""


def pod(name: str, *command: str, spec: str = "", container: str = "") -> str:
    """A pod of one container from the host image; `spec` and `container` are more JSON members."""
    main = f'{{"name": "main", "image": "host", "command": {json.dumps(command)} {container and ", " + container}}}'
    more = spec and ", " + spec
    return (
        f'{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, '
        f'"spec": {{"terminationGracePeriodSeconds": 5, "containers": [{main}] {more}}}}}'
    )


def phase_is(kubectl: Kubectl, name: str, phase: str) -> None:
    eventually(lambda: kubectl.get(f"pod {name}")["status"]["phase"] == phase, f"{name} is {phase}")


def base(kubectl: Kubectl, program: str = "kubectl") -> str:
    line = [program, "--kubeconfig", str(kubectl.kubeconfig), "--context", kubectl.context, "-n", kubectl.namespace]
    return shlex.join(line)


def test_run_gives_the_container_its_standard_input_and_removes_the_pod(namespace: Kubectl) -> None:
    output = namespace("run echo --image=host -i --rm --restart=Never -q --", "cat", stdin="to the pod and back\n")
    assert "to the pod and back" in output
    assert namespace.items("pods") == []


def test_attach_shows_what_the_container_prints(namespace: Kubectl) -> None:
    namespace.apply(pod("ticking", "sh", "-c", "while sleep 0.1; do echo tick; done"))
    namespace.ready_pod("ticking")
    line = f"timeout 2 {base(namespace)} attach ticking"
    assert "tick" in run("sh", "-c", f"{line} || true")


def test_exec_with_a_terminal_has_one(namespace: Kubectl) -> None:
    namespace.apply(pod("shell", "sleep", "1000"))
    namespace.ready_pod("shell")
    asked = "tty; until stty size | grep 33; do sleep 0.05; done; echo $TERM"
    line = f"{base(namespace)} exec -it shell -- sh -c {shlex.quote(asked)}"
    output = run("script", "-qec", f"stty rows 33 cols 99; {line}", "/dev/null")
    assert "/dev/pts/0" in output
    assert "33 99" in output
    assert "xterm" in output


def test_exec_keeps_the_streams_apart_and_passes_the_exit_status_on(namespace: Kubectl) -> None:
    namespace.apply(pod("shell", "sleep", "1000"))
    namespace.ready_pod("shell")
    line = f"{base(namespace)} exec shell -- sh -c 'echo out; echo err >&2; exit 7'"
    assert run("sh", "-c", f"{line} 2>/dev/null", status=7) == "out\n"


def test_files_are_copied_both_ways(namespace: Kubectl, tmp_path: Path) -> None:
    namespace.apply(pod("files", "sleep", "1000"))
    namespace.ready_pod("files")
    (tmp_path / "there").write_text("content\n" * 10_000)
    namespace(f"cp {tmp_path}/there files:/var/copied")
    namespace(f"cp files:/var/copied {tmp_path}/back")
    assert (tmp_path / "back").read_text() == (tmp_path / "there").read_text()


@pytest.mark.skipif(not OLD_KUBECTL.exists(), reason="needs kubectl 1.20")
def test_an_old_kubectl_reads_logs_and_runs_commands(namespace: Kubectl) -> None:
    namespace.apply(pod("old", "sh", "-c", "echo started; sleep 1000"))
    namespace.ready_pod("old")
    line = base(namespace, str(OLD_KUBECTL))
    assert run("sh", "-c", f"{line} logs old") == "started\n"
    assert run("sh", "-c", f"echo in | {line} exec -i old -- cat") == "in\n"


def test_hooks_run_after_the_start_and_before_the_stop(namespace: Kubectl) -> None:
    def hook(word: str) -> str:
        return json.dumps({"exec": {"command": ["sh", "-c", f"echo {word} >> /notes/hooks"]}})

    node = '"nodeName": "node-1", "restartPolicy": "Never"'
    volume = f'"volumes": [{{"name": "notes", "hostPath": {{"path": "/var/{namespace.namespace}"}}}}], {node}'
    mounted = '"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]'
    lifecycle = f'"lifecycle": {{"postStart": {hook("after")}, "preStop": {hook("before")}}}'
    namespace.apply(pod("hooked", "sleep", "1000", spec=volume, container=f"{mounted}, {lifecycle}"))
    namespace.ready_pod("hooked")
    namespace("delete pod hooked")
    namespace.apply(pod("reader", "cat", "/notes/hooks", spec=volume, container=mounted))
    phase_is(namespace, "reader", "Succeeded")
    assert namespace("logs reader") == "after\nbefore\n"


def test_volumes_may_live_in_memory_and_be_mounted_in_part(namespace: Kubectl) -> None:
    volumes = '"volumes": [{"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}]'
    mounts = '"volumeMounts": [{"name": "fast", "mountPath": "/all"}, {"name": "fast", "mountPath": "/a", "subPath": "part/a"}]'  # noqa: E501
    namespace.apply(pod("memory", "sleep", "1000", spec=volumes, container=mounts))
    namespace.ready_pod("memory")
    namespace.exec("memory", "sh", "-c", "echo inside > /a/file")
    assert namespace.exec("memory", "cat", "/all/part/a/file") == "inside\n"
    kind, size = namespace.exec("memory", "sh", "-c", "df --output=fstype,size -m /all | tail -1").split()
    assert (kind, size) == ("tmpfs", "8")


def test_one_host_port_leads_to_three_pods_by_address_and_protocol(cluster: Cluster, namespace: Kubectl) -> None:
    node_ip = cluster.node_ips()["node-1"]

    def serving(name: str, host_ip: str, protocol: str) -> str:
        port = {"containerPort": 8080, "hostPort": 54323, "hostIP": host_ip, "protocol": protocol}
        command = ("python3", "-c", ANSWER, protocol, name)
        return pod(name, *command, spec='"nodeName": "node-1"', container=f'"ports": [{json.dumps(port)}]')

    for name, address, protocol in (("a", "127.0.0.1", "TCP"), ("b", node_ip, "TCP"), ("c", node_ip, "UDP")):
        namespace.apply(serving(name, address, protocol))
        namespace.ready_pod(name)

    def ask(protocol: str, address: str, source: str = "0.0.0.0") -> str:
        return cluster.on_node("node-1", "python3", "-c", ASK, protocol, address, source).strip()

    def all_three() -> bool:
        found = [ask("TCP", "127.0.0.1"), ask("TCP", node_ip), ask("UDP", node_ip)]
        return found == ["a", "b", "c"] and ask("TCP", "127.0.0.1", source=node_ip) == "a"

    eventually(all_three, "each port leads to its pod")


def test_a_node_tells_what_its_pods_use(cluster: Cluster, namespace: Kubectl) -> None:
    namespace.apply(pod("busy", "sleep", "1000", spec='"nodeName": "node-1"'))
    namespace.ready_pod("busy")
    proxy = "get --raw /api/v1/nodes/node-1/proxy"
    summary = json.loads(cluster.kubectl(f"{proxy}/stats/summary"))
    mine = next(one for one in summary["pods"] if one["podRef"]["namespace"] == namespace.namespace)
    assert mine["containers"][0]["memory"]["workingSetBytes"] > 0
    assert "kubelet_running_pods" in cluster.kubectl(f"{proxy}/metrics")
    metrics = cluster.kubectl(f"{proxy}/metrics/resource")
    assert (
        f'container_cpu_usage_seconds_total{{container="main",namespace="{namespace.namespace}",pod="busy"}}' in metrics
    )


@pytest.mark.parametrize("identity", ["node-node-1-client", "scheduler"])
def test_an_agent_answers_nobody_but_the_api_server(cluster: Cluster, sampan_home: Path, identity: str) -> None:
    pki = sampan_home / "clusters" / cluster.name / "pki"
    credentials = ("--cert", f"{pki}/{identity}.crt", "--key", f"{pki}/{identity}.key")
    curl = ("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *credentials)
    address = f"https://{cluster.node_ips()['node-1']}:10250/pods"
    try:
        assert cluster.on_lan(*curl, address) == "403"
    except CommandFailed as error:
        pytest.fail(str(error))
