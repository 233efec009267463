"""The way out, on a machine whose internet is a network namespace next to it: nothing depends on the real one.

pods ─ nodes ─ box ══ slirp4netns ══ machine 198.51.100.2 ─── 198.51.100.1 "internet" 203.0.113.7
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_support import SAMPAN, CommandFailed, Kubectl, eventually

from support.images import docker_archive
from support.machine import Machine, machine

TESTS = str(Path(__file__).parents[1])
MACHINE, INTERNET, METADATA = "198.51.100.2", "203.0.113.7", "169.254.169.254"
NODE, UNUSED = "10.2.2.10", "10.244.200.1"
"""Addresses of the cluster, the second nobody's. Outside there are others that have both."""
GATEWAY = "169.254.77.2"
WEB, CANARY, OPEN = 80, 8099, 8098
"""Ports: the internet's, the machine's on its loopback alone, the machine's on all of its addresses."""
_INTERNET = f"""\
set -e
ip netns add internet
ip link set wire netns internet
ip -n internet link set lo up
for address in {INTERNET} {METADATA} {NODE} {UNUSED}; do ip -n internet address add $address/32 dev lo; done
ip -n internet address add 198.51.100.1/24 dev wire
ip -n internet link set wire up
ip route add default via 198.51.100.1
sysctl -qw net.ipv4.ping_group_range="0 2147483647"
"""
_ASK_UDP = """\
import socket, sys
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(3)
asking.connect((sys.argv[1], int(sys.argv[2])))
asking.send(b"hello")
print(asking.recv(100).decode())
"""


@dataclass(frozen=True)
class Box:
    """A cluster on the machine, with a pod `client` in it."""

    machine: Machine
    name: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SAMPAN_HOME": str(self.home / "state"), "KUBECONFIG": str(self.home / "kubeconfig")}

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.home / "kubeconfig", f"sampan-{self.name}", prefix=self.machine.enter)

    def sampan(self, line: str, *words: str, status: int = 0) -> str:
        command, *others = line.split()
        return self.machine.run(
            SAMPAN, command, "--name", self.name, *others, *words, status=status, environment=self.environment
        )

    def images(self, *words: str, status: int = 0) -> str:
        return self.machine.run(SAMPAN, "image", *words, status=status, environment=self.environment)

    def ask(self, place: str, *words: str) -> str:
        """Run a command in a pod, on the first node, or in the box beside the nodes; what it says, however it ends."""
        try:
            if place == "pod":
                return self.kubectl.exec("client", *words)
            return self.sampan("shell --lan --" if place == "lan" else "shell --", *words)
        except (CommandFailed, AssertionError) as error:
            return str(error)

    def get(self, place: str, address: str, port: int) -> str:
        host = f"[{address}]" if ":" in address else address
        return self.ask(place, "curl", "-sS", "-m", "3", f"http://{host}:{port}/")

    def up(self, *flags: str) -> None:
        self.sampan("up --nodes 1", *flags)
        self.kubectl("run client --image=host -- sleep 1000000")
        self.kubectl("wait --for=condition=Ready pod/client --timeout=60s")

    def stacks(self) -> list[str]:
        return self.machine.run("sh", "-c", "pgrep -x slirp4netns || true").split()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Path]]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests need root; `make test` prepares everything")
    home = tmp_path_factory.mktemp("outbound")
    (home / "etc").mkdir()
    with machine(home / "etc") as made:
        made.run("sh", "-c", _INTERNET)
        made.write("/etc/resolv.conf", "nameserver 127.0.0.99\n")  # where nobody answers
        inside = ("ip", "netns", "exec", "internet")
        server = (sys.executable, "-m", "support.answering")
        path = {"PYTHONPATH": TESTS}
        for address in (INTERNET, METADATA, UNUSED):
            made.start(*inside, *server, address, str(WEB), "internet", environment=path)
        made.start(*server, "127.0.0.1", str(CANARY), "canary", environment=path)
        made.start(*server, "::1", str(CANARY), "canary", environment=path)
        made.start(*server, "0.0.0.0", str(OPEN), "machine", environment=path)
        for url in (f"{INTERNET}:{WEB}", f"127.0.0.1:{CANARY}", f"[::1]:{CANARY}", f"{MACHINE}:{OPEN}"):
            eventually(lambda url=url: made.run("curl", "-sS", f"http://{url}/"), url)
        yield made, home


@pytest.fixture(scope="module")
def box(world: tuple[Machine, Path]) -> Iterator[Box]:
    """A cluster as it is by default, with a registry of its own at a node's port 5000."""
    made = Box(world[0], "out", world[1])
    made.up()
    registry = made.home / "registry.yml"
    storage = "{filesystem: {rootdirectory: /srv/registry}}"
    registry.write_text(f"version: 0.1\nstorage: {storage}\nhttp: {{addr: '{NODE}:5000'}}\n")
    made.kubectl(f"create configmap registry --from-file=registry.yml={registry}")
    made.kubectl.apply(_REGISTRY)
    made.kubectl("wait --for=condition=Ready pod/registry --timeout=60s")
    yield made
    assert "nothing of it is left" in made.sampan("down")
    assert made.stacks() == []


_REGISTRY = """\
apiVersion: v1
kind: Pod
metadata: {name: registry}
spec:
  hostNetwork: true
  containers:
  - name: registry
    image: host
    command: [docker-registry, serve, /etc/sampan-registry/registry.yml]
    readinessProbe: {httpGet: {path: /v2/, port: 5000}, periodSeconds: 1}
    volumeMounts: [{name: config, mountPath: /etc/sampan-registry}, {name: data, mountPath: /srv}]
  volumes: [{name: config, configMap: {name: registry}}, {name: data, emptyDir: {}}]
"""


@pytest.mark.parametrize("place", ["pod", "node", "lan"])
def test_pods_nodes_and_the_api_servers_network_reach_the_world(box: Box, place: str) -> None:
    assert f"internet {MACHINE}" in box.get(place, INTERNET, WEB), "over TCP, from the machine's address"
    assert f"internet hello {MACHINE}" in box.ask(place, "python3", "-c", _ASK_UDP, INTERNET, str(WEB))
    assert " 0% packet loss" in box.ask(place, "ping", "-c", "1", "-W", "3", INTERNET)
    assert f"machine {MACHINE}" in box.get(place, MACHINE, OPEN), "what the machine offers to its network"


REFUSED = "Couldn't connect to server"
"""What curl says unless it had to wait until its time was over."""
LOOPBACK_TRICKS = (
    "127.0.0.1",
    "127.0.0.53",
    "0.0.0.0",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    f"::ffff:{MACHINE}",
    MACHINE,
    GATEWAY,
    "169.254.77.3",
    "169.254.77.100",
    "10.0.2.2",
    "10.2.2.1",
    NODE,
)
_TRY_ALL = """\
import socket, sys, threading
def attempt(address, port, kind):
    try:
        asking = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        asking.settimeout(2)
        asking.connect((address, port))
        asking.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(address, port, asking.recv(1000))
    except OSError:
        pass
threads = [
    threading.Thread(target=attempt, args=(address, int(port), kind))
    for port, *addresses in (word.split(",") for word in sys.argv[1:])
    for address in addresses
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("tried")
"""


@pytest.mark.parametrize("place", ["pod", "node", "lan"])
def test_what_listens_on_the_machines_loopback_is_reached_by_no_address(box: Box, place: str) -> None:
    tries = ",".join((str(CANARY), *LOOPBACK_TRICKS))
    told = box.ask(place, "python3", "-c", _TRY_ALL, tries, f"{OPEN},{MACHINE}")
    assert "tried" in told
    assert told.count("machine") == 2, "what the machine offers to its network is reached, over TCP and UDP"
    assert "canary" not in told


def test_packets_to_a_loopback_address_on_the_wire_go_nowhere(box: Box) -> None:
    """A node may route 127/8 (its host ports need it), so that a node can put such packets on the LAN."""
    routed = f"ip route add 127.9.9.9 via 10.2.2.1 table 77 && ip rule add pref 0 to 127.9.9.9 table 77 && \
        curl -sS -m 2 http://127.9.9.9:{CANARY}/"
    assert "canary" not in box.ask("node", "sh", "-c", routed)
    box.ask("node", "sh", "-c", "ip rule del pref 0 to 127.9.9.9 table 77; ip route flush table 77")


@pytest.mark.parametrize("address", [METADATA, UNUSED])
def test_metadata_and_unused_addresses_of_the_cluster_are_refused_at_once(box: Box, address: str) -> None:
    """Both exist in the world outside."""
    told = box.get("pod", address, WEB)
    assert "internet" not in told
    assert REFUSED in told


def test_a_stack_that_is_killed_comes_back_and_meanwhile_all_is_refused(box: Box) -> None:
    (before,) = box.stacks()
    box.machine.run("kill", "-KILL", before)
    eventually(lambda: box.stacks() not in ([], [before]), "another process")
    eventually(lambda: "internet" in box.get("pod", INTERNET, WEB), "the way out")
    assert "way out: slirp4netns" in box.sampan("status")


def push(box: Box) -> None:
    archive = docker_archive(box.home / "app.tar", "app:1", ["sh", "-c", "cat /made; sleep 600"], {"made": "inside"})
    program = ("env", f"PYTHONPATH={TESTS}", sys.executable, "-m", "support.images")
    box.sampan("shell --lan --", *program, str(archive), f"{NODE}:5000", "team/app", "1")


def test_images_of_a_registry_in_the_cluster_are_pulled_from_inside(box: Box) -> None:
    """Although the machine has a way to that address outside, too."""
    push(box)
    box.kubectl(f"run app --image={NODE}:5000/team/app:1 --image-pull-policy=Always")
    box.kubectl("wait --for=condition=Ready pod/app --timeout=30s")
    assert box.kubectl("logs app") == "inside"
    box.kubectl("delete pod app --now")
    eventually(lambda: not list(box.home.glob("**/pods/*/containers/app")), "nothing uses the image")
    box.images("rm", f"{NODE}:5000/team/app:1")
    assert f"{NODE}:5000/team/app:1" in box.images("pull", f"{NODE}:5000/team/app:1")


def test_pulls_that_fail_say_so_in_upstreams_words(box: Box) -> None:
    told = {
        f"{NODE}:5999/a:1": f"dial tcp {NODE}:5999: connect: connection refused",
        "nowhere.invalid/a:1": "dial tcp: lookup nowhere.invalid: ",
        f"127.0.0.1:{CANARY}/a:1": f"dial tcp 127.0.0.1:{CANARY}: connect: connection refused",
        f"{METADATA}/a:1": f"dial tcp {METADATA}:80: connect: ",
    }
    for number, (image, text) in enumerate(told.items()):
        box.kubectl(f"run failing-{number} --image={image}")
        eventually(
            lambda number=number, text=text: text in box.kubectl(f"describe pod failing-{number}"), f"{image}: {text}"
        )
        assert "Errno" not in box.kubectl(f"describe pod failing-{number}")
    assert "canary" not in box.kubectl("get events")
    assert "not found" in box.images("pull", f"{NODE}:5000/none:1", status=1)


def test_with_the_supervisor_killed_no_stack_is_left(box: Box) -> None:
    other = Box(box.machine, "killed", box.home)
    other.sampan("up --nodes 1")
    assert len(other.stacks()) == 2
    supervisor = (box.home / "state" / "clusters" / "killed" / "run" / "supervisor.pid").read_text().strip()
    box.machine.run("kill", "-KILL", supervisor)
    eventually(lambda: len(box.stacks()) == 1, "the stack's end")
    assert "nothing of it is left" in other.sampan("down")


def test_an_isolated_cluster_is_refused_everything_outside_at_once(world: tuple[Machine, Path]) -> None:
    box = Box(world[0], "isolated", world[1])
    stacks = box.stacks()
    box.up("--isolated")
    try:
        assert box.stacks() == stacks
        assert "way out: none: the cluster is isolated" in box.sampan("status")
        for place in ("pod", "node", "lan"):
            for address in (INTERNET, MACHINE, GATEWAY):
                told = box.get(place, address, WEB)
                assert "internet" not in told
                assert REFUSED in told
    finally:
        box.sampan("down")


def test_the_machines_loopback_is_at_the_stacks_address_where_that_is_allowed(world: tuple[Machine, Path]) -> None:
    box = Box(world[0], "loopback", world[1])
    box.up("--allow-host-loopback")
    try:
        for place in ("pod", "node", "lan"):
            assert "canary" in box.get(place, GATEWAY, CANARY)
            assert "canary hello" in box.ask(place, "python3", "-c", _ASK_UDP, GATEWAY, str(CANARY))
            assert "canary" not in box.get(place, "127.0.0.1", CANARY)
            assert "internet" not in box.get(place, METADATA, WEB)
    finally:
        box.sampan("down")


def test_without_the_program_the_cluster_comes_up_and_says_that_it_has_no_way_out(
    world: tuple[Machine, Path], tmp_path: Path
) -> None:
    made, home = world
    box = Box(made, "lacking", home)
    empty = tmp_path / "empty"
    empty.touch()
    program = made.run("sh", "-c", "command -v slirp4netns").strip()
    made.run("mount", "--bind", str(empty), program)
    try:
        told = box.sampan("up --nodes 1")
        assert "no way out to the machine's network: slirp4netns is not installed" in told
        assert "way out: none: slirp4netns is not installed" in box.sampan("status")
        assert REFUSED in box.get("node", INTERNET, WEB)
    finally:
        made.run("umount", program)
        box.sampan("down")
