"""The machine reaches a cluster by --host-network, by extraPortMappings and by `publish`, and is afterwards as before.

All of it happens on a throw-away machine with a network of its own.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_support import SAMPAN, CommandFailed, eventually

from support.machine import Machine, machine

NAME = "reach"
HOST, GATEWAY, DNS = "10.2.2.2", "10.2.2.1", "10.96.0.10"
ADDRESS = "kubernetes.default.svc.cluster.local"
EXTERNAL = "10.2.2.250"
MAPPED_TCP, MAPPED_UDP = 8080, 5353

CONFIG = f"""\
name: {NAME}
hostNetwork: true
nodes:
- extraPortMappings:
  - {{containerPort: 30080, hostPort: {MAPPED_TCP}}}
- extraPortMappings:
  - {{containerPort: 30053, hostPort: {MAPPED_UDP}, protocol: UDP, listenAddress: 0.0.0.0}}
"""

STRICT = ("net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
"""The machine forwards nothing and takes no packet from where it would not send an answer to."""

WHO_ASKS = """\
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
"""Answers with the client's address as the pod sees it."""

PODS: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{number}", "labels": {"app": "web"}},
        "spec": {
            "nodeName": f"node-{number}",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "web", "image": "host", "command": ["python3", "-c", WHO_ASKS]}],
        },
    }
    for number in (1, 2)
]


def service(name: str, **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}], **spec},
    }


@dataclass(frozen=True)
class World:
    machine: Machine
    home: Path
    before: dict[str, str]

    def sampan(self, *words: str, status: int = 0) -> str:
        environment = {"SAMPAN_HOME": str(self.home / "state"), "KUBECONFIG": str(self.home / "kubeconfig")}
        return self.machine.run(SAMPAN, *words, status=status, environment=environment)

    def kubectl(self, *words: str) -> str:
        return self.machine.run("kubectl", f"--kubeconfig={self.home / 'kubeconfig'}", *words)

    def apply(self, *objects: object, namespace: str = "default") -> None:
        (self.home / "objects.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self.kubectl("apply", "-n", namespace, "-f", str(self.home / "objects.json"))

    def get(self, kind: str, name: str, path: str) -> str:
        return self.kubectl("get", kind, name, "-o", f"jsonpath={{{path}}}")

    def curl(self, address: str) -> str:
        try:
            return self.machine.run("curl", "-sS", "--max-time", "5", f"http://{address}/")
        except AssertionError as failed:
            raise CommandFailed(str(failed)) from failed

    def dig(self, *words: str) -> str:
        return self.machine.run("dig", "+short", "+time=3", "+tries=1", *words, ADDRESS).strip()

    def pids(self, process: str) -> list[str]:
        """The machine's processes by the name that `ps` shows."""
        found = self.machine.run("sh", "-c", f"grep -l '^{process}' /proc/[0-9]*/comm || true")
        return re.findall(r"/proc/(\d+)/", found)

    def kill(self, process: str) -> None:
        """Some may end of themselves, or with those before them."""
        pids = self.pids(process)
        assert pids
        self.machine.run("sh", "-c", f"kill -KILL {' '.join(pids)} || true")

    def links(self) -> str:
        return self.machine.run("ip", "-o", "link")


def dumps(machine: Machine) -> dict[str, str]:
    """All of a machine's network that a cluster could change."""
    sysctls = [
        line
        for line in machine.run("sysctl", "-a").splitlines()
        if line.startswith("net.") and "nf_conntrack_count" not in line
    ]
    rules = machine.run("sh", "-c", "nft list ruleset; iptables-save; ip6tables-save")
    return {
        "addresses": machine.run("ip", "-d", "address"),
        "links": machine.run("ip", "-d", "link"),
        "routes": machine.run("sh", "-c", "ip route show table all; ip -6 route show table all; ip rule; ip -6 rule"),
        "neighbours": machine.run("ip", "neighbour"),
        "sockets": machine.run("ss", "-Hlntu"),
        "rules": "".join(line for line in rules.splitlines(keepends=True) if not line.startswith("#")),
        "sysctls": "\n".join(sysctls),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests need root; `make test` prepares everything")
    home = tmp_path_factory.mktemp("reach")
    (home / "etc").mkdir()
    (home / "cluster.yaml").write_text(CONFIG)
    with machine(home / "etc") as made:
        eventually(lambda: "tentative" not in made.run("ip", "address"), "addresses that stay")
        made.run("sysctl", "-w", *STRICT)
        found = World(made, home, dumps(made))
        found.sampan("up", "--config", str(home / "cluster.yaml"))
        found.apply(*PODS, service("web", type="NodePort", ports=[{"port": 80, "targetPort": 8000, "nodePort": 30081}]))
        found.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
        eventually(lambda: found.curl(found.get("service", "web", ".spec.clusterIP")), "the Service answers")
        yield found
        found.sampan("down", "--name", NAME)


def assert_as_before(world: World) -> None:
    after = dumps(world.machine)
    assert {name for name in after if after[name] != world.before[name]} == set(), after


def test_the_machine_reaches_pods_services_node_ports_and_names(world: World) -> None:
    for pod in ("web-1", "web-2"):
        assert world.curl(world.get("pod", pod, ".status.podIP") + ":8000") == HOST, "the pod sees the machine"
    for node in ("10.2.2.10", "10.2.2.11"):
        assert world.curl(f"{node}:30081")
    assert world.dig(f"@{DNS}") == "10.96.0.1"
    assert world.machine.run("curl", "-ksS", "https://10.96.0.1/version")


def test_a_local_policy_shows_the_machines_address_to_the_pod(world: World) -> None:
    ports = [{"port": 80, "targetPort": 8000, "nodePort": 30082}]
    world.apply(service("local", type="NodePort", externalTrafficPolicy="Local", ports=ports))
    for node in ("10.2.2.10", "10.2.2.11"):
        eventually(lambda node=node: world.curl(f"{node}:30082") == HOST, f"an answer of the pod on {node}")


def external_address(world: World, name: str) -> str:
    """Where no load balancer gives one within a moment, it is given by hand: a node has the address, and its proxy
    knows it."""
    world.apply(service(name, type="LoadBalancer"))
    try:
        return str(eventually(lambda: world.get("service", name, ".status.loadBalancer.ingress[0].ip"), seconds=1))
    except AssertionError:
        status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": EXTERNAL}]}}})
        world.kubectl("patch", "service", name, "--subresource=status", "--type=merge", "-p", status)
        word = "show" if EXTERNAL in world.sampan("shell", "--name", NAME, "--", "ip", "address") else "add"
        more = (f"{EXTERNAL}/32", "dev", "eth0") if word == "add" else ()
        world.sampan("shell", "--name", NAME, "--", "ip", "address", word, *more)
        return EXTERNAL


def test_an_external_ip_answers_the_machine_and_is_where_publish_leads(world: World) -> None:
    address = external_address(world, "balanced")
    eventually(lambda: world.curl(address), "the EXTERNAL-IP answers")
    published = world.sampan("publish", "--name", NAME, "balanced").strip()
    assert world.curl(published)
    world.kubectl("patch", "service", "balanced", "-p", '{"spec":{"loadBalancerSourceRanges":["192.0.2.0/24"]}}')
    eventually(lambda: not _answers(world, published), "who is refused at the EXTERNAL-IP is refused here")
    assert world.curl(world.get("service", "balanced", ".spec.clusterIP")), "where its ClusterIP would answer"
    world.sampan("publish", "--name", NAME, "--remove", "balanced")
    world.kubectl("delete", "service", "balanced")


def test_nothing_else_of_the_machines_network_is_changed_while_the_cluster_runs(world: World) -> None:
    now = dumps(world.machine)
    assert now["rules"] == world.before["rules"]
    assert [line for line in now["sysctls"].splitlines() if ".sampan-" not in line] == world.before[
        "sysctls"
    ].splitlines()
    ours = set(re.findall(r"sampan-[0-9a-f]{8}", now["links"]))
    assert len(ours) == 1, "one interface"
    for line in set(now["routes"].splitlines()) - set(world.before["routes"].splitlines()):
        assert f"dev {min(ours)}" in line


def test_mapped_ports_lead_to_what_listens_on_the_node_at_the_moment(world: World) -> None:
    mapped = f"127.0.0.1:{MAPPED_TCP}"
    assert not _answers(world, mapped)
    hosted = {**PODS[0]["spec"]["containers"][0], "ports": [{"containerPort": 8000, "hostPort": 30080}]}
    world.apply({**PODS[0], "metadata": {"name": "hosted"}, "spec": {**PODS[0]["spec"], "containers": [hosted]}})
    eventually(lambda: world.curl(mapped), "the host port of a pod")
    world.kubectl("delete", "pod", "hosted")
    eventually(lambda: not _answers(world, mapped), "nothing is there any more")
    world.apply(service("mapped", type="NodePort", ports=[{"port": 80, "targetPort": 8000, "nodePort": 30080}]))
    eventually(lambda: world.curl(mapped), "the node port that is there now")
    names = service("names", type="NodePort", selector={"k8s-app": "kube-dns"})
    names["spec"]["ports"] = [{"port": 53, "protocol": "UDP", "nodePort": 30053}]
    world.apply(names, namespace="kube-system")
    for address in ("127.0.0.1", "127.0.0.7", "198.51.100.2"):
        asked = (f"@{address}", "-p", str(MAPPED_UDP))
        eventually(lambda asked=asked: _dug(world, *asked), f"names at {address}, from there")


def _answers(world: World, address: str) -> bool:
    try:
        return bool(world.curl(address))
    except CommandFailed:
        return False


def _dug(world: World, *words: str) -> bool:
    try:
        return world.dig(*words) == "10.96.0.1"
    except AssertionError:
        return False


def test_publish_carries_udp_beside_tcp_and_tells_what_it_does(world: World) -> None:
    here = ("publish", "--name", NAME)
    assert world.sampan(*here, "-n", "kube-system", "kube-dns:53", "5300").splitlines() == [
        "127.0.0.1:5300/udp",
        "127.0.0.1:5300",
    ]
    for more in ((), ("+tcp",)):
        assert world.dig("@127.0.0.1", "-p", "5300", *more) == "10.96.0.1"
    listed = world.sampan(*here)
    assert "127.0.0.1:5300/udp  kube-system/kube-dns:53\n" in listed
    assert f"0.0.0.0:{MAPPED_UDP}/udp  node node-2, port 30053\n" in listed
    told = json.loads(world.sampan("status", "--name", NAME, "-o", "json"))["published"]
    assert {"UDP", "TCP"} == {one["protocol"] for one in told if one["host_port"] == 5300}
    assert "several ports" in world.sampan(*here, "-n", "kube-system", "kube-dns", "5301", status=1)
    remove = (*here, "--remove", "-n", "kube-system", "kube-dns:53/tcp")
    world.sampan(*remove)
    assert "kube-system/kube-dns:53/tcp is not published" in world.sampan(*remove, status=1)
    world.sampan(*here, "--remove", "5300")
    assert "5300" not in world.sampan(*here)


def test_publish_ingress_leads_to_the_controllers_service(world: World) -> None:
    here = ("publish", "--name", NAME, "--ingress")
    assert "this cluster must have first" in world.sampan(*here, status=1)
    world.kubectl("create", "namespace", "ingress-nginx")
    ports = [{"name": "http", "port": 80, "targetPort": 8000}, {"name": "https", "port": 443, "targetPort": 8000}]
    controller = service("ingress-nginx-controller", ports=ports)
    world.apply(controller, PODS[0], namespace="ingress-nginx")
    world.kubectl("wait", "-n", "ingress-nginx", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
    http, https = world.sampan(*here, "--http-port", "80").splitlines()
    assert http == "127.0.0.1:80"
    for address in (http, https):
        eventually(lambda address=address: world.curl(address), f"the controller at {address}")
    world.sampan(*here, "--remove")
    assert not _answers(world, http)


def test_what_overlaps_or_is_taken_is_refused_before_anything_is_made(world: World) -> None:
    refused = world.sampan("up", "--name", "other", "--nodes", "1", "--host-network", status=1)
    assert f"cluster '{NAME}' has brought 10.96.0.0/12 to this machine already" in refused
    config = world.home / "other.yaml"
    config.write_text(f"nodes: [{{extraPortMappings: [{{containerPort: 80, hostPort: {MAPPED_TCP}}}]}}]")
    refused = world.sampan("up", "--name", "other", "--config", str(config), status=1)
    field = "nodes[0].extraPortMappings[0].hostPort"
    assert f"{field}: port {MAPPED_TCP}/TCP of 127.0.0.1 cannot be used" in refused
    assert not (world.home / "state" / "clusters" / "other").exists()


def test_a_stop_takes_everything_back_and_a_start_brings_it_again(world: World) -> None:
    port = world.sampan("publish", "--name", NAME, "web").strip()
    world.sampan("stop", "--name", NAME)
    assert_as_before(world)
    world.machine.run("ip", "route", "add", "10.244.7.0/24", "dev", "eth0")
    refused = world.sampan("start", "--name", NAME, status=1)
    assert "network.pods 10.244.0.0/16: this machine has a route in 10.244.7.0/24 (eth0)" in refused
    world.machine.run("ip", "route", "delete", "10.244.7.0/24")
    world.sampan("start", "--name", NAME)
    assert_everything_answers(world, port)


def assert_everything_answers(world: World, port: str) -> None:
    for address in (world.get("service", "web", ".spec.clusterIP"), port, f"127.0.0.1:{MAPPED_TCP}"):
        eventually(lambda address=address: world.curl(address), f"{address} answers")


@pytest.mark.parametrize("victim", ["sampan:supervis", "sampan:box", "sampan:"])
def test_a_kill_leaves_nothing_and_a_start_brings_everything_again(world: World, victim: str) -> None:
    """Of the supervisor, of the box, of everything. Who is left takes interface and routes back, or else the kernel
    when it finds the time, which `start` does not wait for."""
    (port,) = re.findall(r"(\S+)/tcp  default/web\n", world.sampan("publish", "--name", NAME))
    assert "sampan-" in world.links()
    world.kill(victim)
    eventually(lambda: not world.pids("sampan:"), "all processes end")
    if victim == "sampan:box":
        assert_as_before(world)
    world.sampan("start", "--name", NAME)
    assert world.links().count("sampan-") == 1
    assert_everything_answers(world, port)


def test_down_takes_everything_back(world: World) -> None:
    world.kill("sampan:supervis")
    world.sampan("down", "--name", NAME)
    assert_as_before(world)
    world.sampan("up", "--name", NAME, "--nodes", "1", "--host-network")
    assert world.sampan("publish", "--name", NAME) == "nothing is published\n"
    world.sampan("down", "--name", NAME)
    assert_as_before(world)
    world.sampan("up", "--name", NAME, "--nodes", "1")
    assert "sampan-" not in world.links()
