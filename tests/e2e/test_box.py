"""The box: a cluster comes with one command, and when it goes the machine is exactly as it was before.

These tests run whole clusters in namespaces of their own, so that what they compare is theirs alone.
"""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_support import SAMPAN, CommandFailed, eventually, run

from support.isolated import isolated

CONTEXT_OF_OTHERS = """\
apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://prod.example"}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: prod, context: {cluster: prod, user: me}}]
current-context: prod
"""


class Machine:
    """This machine as a user sees it, with a home and a kubeconfig of the test's own."""

    def __init__(self, directory: Path) -> None:
        # Longer than a socket's address may be: state may live anywhere.
        self.home = directory / ("deep" * 30) / "sampan"
        self.kubeconfig = directory / "kubeconfig"
        os.environ.update(SAMPAN_HOME=str(self.home), KUBECONFIG=str(self.kubeconfig))

    def sampan(self, line: str, *more: str, status: int = 0) -> str:
        return run(SAMPAN, *line.split(), *more, status=status)

    def kubectl(self, line: str, *more: str) -> str:
        return run("kubectl", *line.split(), *more)

    def processes(self, name: str) -> list[int]:
        """Processes by the name that `ps` shows."""
        return [pid for pid in _pids() if _read(f"/proc/{pid}/comm").strip() == name[:15]]


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _namespaces() -> set[str]:
    found = set()
    for pid in _pids():
        for kind in ("net", "mnt", "pid", "uts", "ipc", "cgroup"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return found


def snapshot() -> dict[str, object]:
    """Everything that a cluster could leave behind."""
    groups = {str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()}
    return {
        "processes": {pid: _read(f"/proc/{pid}/comm") for pid in _pids()},
        "namespaces": _namespaces(),
        "mounts": _read("/proc/self/mountinfo"),
        "links": run("ip", "-o", "link"),
        "routes": run("ip", "-4", "route", "show", "table", "all"),
        "rules": run("nft", "list", "ruleset"),
        "control groups": {group for group in groups if "sampan-box" in group},
        "shared memory": sorted(os.listdir("/dev/shm")),
        "run": sorted(name for name in os.listdir("/run") if "sampan" in name),
    }


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)


@isolated
async def test_up_makes_a_usable_cluster_and_down_leaves_the_machine_as_it_was(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.kubeconfig.write_text(CONTEXT_OF_OTHERS)
    before, kubeconfig = snapshot(), machine.kubectl("config view --raw -o json")

    output = machine.sampan("up --name box1")
    assert "is up after" in output
    nodes = json.loads(machine.kubectl("get nodes -o json"))["items"]
    assert [node["metadata"]["name"] for node in nodes] == ["node-1", "node-2", "node-3"]
    assert machine.kubectl("config current-context").strip() == "sampan-box1"
    machine.kubectl("create deployment web --image=host --replicas=3 -- python3 -m http.server 8080")
    machine.kubectl("rollout status deployment/web --timeout=30s")
    machine.sampan("publish --name box1 kubernetes:https")
    assert machine.sampan("status --name box1")

    machine.sampan("down --name box1")
    assert snapshot() == before
    assert machine.kubectl("config view --raw -o json") == kubeconfig
    assert not machine.home.exists()


@isolated
async def test_two_clusters_run_side_by_side(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sampan("up --name box1 --nodes 1")
    machine.sampan("up --name box2 --nodes 2")
    for name, count in (("box1", 1), ("box2", 2)):
        nodes = machine.kubectl(f"--context sampan-{name} get nodes -o name").split()
        assert len(nodes) == count
    machine.kubectl("--context sampan-box1 create configmap only-here")
    with pytest.raises(CommandFailed):
        machine.kubectl("--context sampan-box2 get configmap only-here")
    machine.sampan("down --name box1")
    assert machine.kubectl("--context sampan-box2 get nodes -o name").split() == ["node/node-1", "node/node-2"]
    machine.sampan("down --all")
    assert not machine.kubeconfig.exists()


@isolated
async def test_stop_keeps_the_state_and_start_resumes_it_under_the_same_address(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sampan("up --name box1 --nodes 2")
    machine.kubectl("create deployment web --image=host --replicas=2 -- python3 -m http.server 8080")
    machine.kubectl("expose deployment web --port=80 --target-port=8080")
    machine.kubectl("rollout status deployment/web --timeout=30s")
    url = "http://" + machine.sampan("publish --name box1 web").strip()
    assert get(url) == 200
    address = machine.kubectl("get service web -o jsonpath={.spec.clusterIP}")
    uid = machine.kubectl("get namespace default -o jsonpath={.metadata.uid}")

    machine.sampan("stop --name box1")
    assert machine.processes("sampan:box") == []
    with pytest.raises(CommandFailed, match="sampan start --name box1"):
        machine.sampan("shell --name box1 true")

    machine.sampan("start --name box1")
    assert machine.kubectl("get namespace default -o jsonpath={.metadata.uid}") == uid
    assert machine.kubectl("get service web -o jsonpath={.spec.clusterIP}") == address
    eventually(lambda: answers(url), "the published Service answers again")
    machine.sampan("down --name box1")


def answers(url: str) -> bool:
    try:
        return get(url) == 200
    except (OSError, urllib.error.URLError):
        return False


@isolated
async def test_a_shell_is_inside_the_cluster_and_passes_its_exit_status_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sampan("up --name box1 --nodes 2")
    shell = "shell --name box1"
    assert "10.96.0.10" in machine.sampan(f"{shell} -- cat /etc/resolv.conf")
    assert machine.sampan(f"{shell} -- hostname").strip() == "node-1"
    assert machine.sampan(f"{shell} --node node-2 -- hostname").strip() == "node-2"
    assert "br-lan" in machine.sampan(f"{shell} --lan -- ip -o link")
    assert machine.sampan(f"{shell} -- kubectl get nodes -o name").split() == ["node/node-1", "node/node-2"]
    assert "10.96.0.1" in machine.sampan(f"{shell} -- getent hosts kubernetes.default")
    for status in (0, 7, 255):
        machine.sampan(f"{shell} -- sh -c", f"exit {status}", status=status)
    machine.sampan(f"{shell} -- sh -c", "kill -TERM $$", status=128 + signal.SIGTERM)
    machine.sampan(f"{shell} -- no-such-program", status=127)
    assert "no node 'node-9'" in machine.sampan(f"{shell} --node node-9 -- true", status=1)
    machine.sampan("down --name box1")


KILLED: dict[str, Callable[[Machine], None]] = {
    "apiserver": lambda machine: machine.kubectl("get nodes") and None,
    "controllers": lambda machine: machine.kubectl("create namespace after") and None,
    "node-1-agent": lambda machine: machine.kubectl("get nodes") and None,
    "node-1-proxy": lambda machine: machine.kubectl("get nodes") and None,
}


@isolated
async def test_a_killed_component_is_started_again_and_everything_goes_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sampan("up --name box1 --nodes 1")
    for component, works in KILLED.items():
        (pid,) = machine.processes(f"sampan:{component}")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda component=component: _ready_again(machine, component), f"{component} is ready again")
        works(machine)
    machine.sampan("down --name box1")


def _ready_again(machine: Machine, component: str) -> bool:
    (line,) = [line for line in machine.sampan("status --name box1", status=0).splitlines() if component in line]
    _, state, _, restarts, *_ = line.split()
    return state == "ready" and restarts == "1"


@isolated
async def test_down_works_when_the_supervisor_or_the_box_was_killed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    before = snapshot()
    for victim in ("sampan:supervisor", "sampan:box"):
        machine.sampan("up --name box1 --nodes 1")
        (pid,) = machine.processes(victim)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not machine.processes("sampan:box"), "the box ends")
        machine.sampan("down --name box1")
        assert snapshot() == before
        assert not machine.home.exists()


@isolated
async def test_what_is_wrong_is_said_with_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    before = snapshot()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output = machine.sampan(f"up --name box1 --api-port {port}", status=1)
        assert f"port {port} of 127.0.0.1 cannot be used" in output
        assert "--api-port" in output
    assert "must be from 1 to 200" in machine.sampan("up --nodes 0", status=1)
    assert "there is no cluster 'nope'; create it with: sampan up" in machine.sampan("stop --name nope", status=1)
    assert snapshot() == before
    machine.sampan("up --name box1 --nodes 1")
    assert "sampan down --name box1" in machine.sampan("up --name box1", status=1)
    assert "'node-9-agent'; there are:" in machine.sampan("logs --name box1 node-9-agent", status=1)
    assert "serving on" in machine.sampan("logs --name box1 apiserver")
    machine.sampan("down --name box1")


@isolated
async def test_an_interrupt_while_a_cluster_starts_leaves_nothing(tmp_path: Path) -> None:
    """At any moment, also before there is anyone to tell that it is over."""
    machine = Machine(tmp_path)
    before = snapshot()
    for process in ("sampan:supervisor", "sampan:box", "sampan:apiserver"):
        assert _interrupted(machine, process) == (130, "")
        assert snapshot() == before
        assert not machine.home.exists()


def _interrupted(machine: Machine, process: str) -> tuple[int, str]:
    """The exit status and the complaints of an `up` that is interrupted as soon as there is such a process."""
    with subprocess.Popen([SAMPAN, "up", "--name", "box1"], stderr=subprocess.PIPE, text=True) as starting:
        eventually(lambda: machine.processes(process), process)
        starting.send_signal(signal.SIGINT)
        _, said = starting.communicate(timeout=60)
    return starting.returncode, said
