"""What clients rely on in packets: Services by every address, affinity, protocols apart, pods to pods, the proxy."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from e2e_backends import apply, ask, ask_udp, backend, client
from e2e_http import API
from e2e_support import Cluster, Kubectl, eventually

NODES = ("node-1", "node-2", "node-3")
BACKENDS = {f"backend-{number}" for number in (1, 2, 3)}
REFUSED = ["-"]


@dataclass(frozen=True)
class World:
    """A backend on each node, a client pod, and a client on a node's own network."""

    kubectl: Kubectl
    api: API
    node_ips: list[str]

    def service(self, name: str, **spec: Any) -> Any:
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]} | spec
        made = self.api.create("services", {"metadata": {"name": name}, "spec": spec})
        if spec["selector"]:
            eventually(lambda: len(self.kubectl.endpoints(name)) >= 3, f"endpoints of {name}")
        return made["spec"]

    def pod_ip(self, name: str) -> str:
        return str(self.api.get(f"pods/{name}")["status"]["podIP"])


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    cluster.kubectl("create namespace dataplane")
    kubectl = cluster.kubectl.within("dataplane")
    pods = [backend(f"backend-{number}", node) for number, node in enumerate(NODES, 1)]
    apply(kubectl, *pods, client("client", "node-1"), client("on-node", "node-2", host_network=True))
    kubectl.wait_ready("app=web", 3)
    kubectl.wait_ready("app=client", 2)
    yield World(kubectl, API(kubectl), list(cluster.node_ips().values()))
    cluster.kubectl("delete namespace dataplane --wait=false")


def reaches_all(world: World, url: str, pod: str = "client") -> None:
    def seen() -> bool:
        answers = ask(world.kubectl, url, 24, pod)
        assert "-" not in answers, f"{url}: {answers}"
        return set(answers) == BACKENDS

    eventually(seen, f"all backends by {url} from {pod}")


def test_services_are_reached_by_every_name_and_address(world: World):
    spec = world.service("everywhere", type="NodePort")
    node_port = spec["ports"][0]["nodePort"]
    addresses = ["everywhere", "everywhere.dataplane", "everywhere.dataplane.svc.cluster.local", spec["clusterIP"]]
    for address in (*addresses, *(f"{ip}:{node_port}" for ip in world.node_ips)):
        reaches_all(world, address)
    for address in (spec["clusterIP"], f"{world.node_ips[0]}:{node_port}", f"{world.node_ips[1]}:{node_port}"):
        reaches_all(world, address, "on-node")


def test_a_pod_reaches_itself_through_its_service(world: World):
    address = world.service("hairpin")["clusterIP"]
    reaches_all(world, address, "backend-1")


def test_affinity_keeps_a_client_with_one_backend_and_can_be_changed(world: World):
    spec = world.service("sticky", type="NodePort", sessionAffinity="ClientIP")
    node_port = f"{world.node_ips[2]}:{spec['ports'][0]['nodePort']}"

    def sticks(address: str) -> bool:
        answers = ask(world.kubectl, address, 15)
        return len(answers) == 15 and len(set(answers)) == 1 and answers[0] in BACKENDS

    for address in (spec["clusterIP"], node_port):
        eventually(lambda address=address: sticks(address), f"affinity at {address}")
    world.api.patch("services/sticky", {"spec": {"sessionAffinity": "None"}})
    reaches_all(world, spec["clusterIP"])
    world.api.patch("services/sticky", {"spec": {"sessionAffinity": "ClientIP"}})
    eventually(lambda: sticks(spec["clusterIP"]), "affinity again")


def test_protocols_on_one_port_number_are_independent(world: World):
    both = [
        {"name": protocol.lower(), "port": 80, "targetPort": 8080, "protocol": protocol} for protocol in ("TCP", "UDP")
    ]
    address = world.service("both", ports=both)["clusterIP"]
    reaches_all(world, address)
    eventually(lambda: set(ask_udp(world.kubectl, address, 80, 3)) <= BACKENDS, "UDP")
    world.api.patch("services/both", {"spec": {"ports": both[1:]}})
    eventually(lambda: ask(world.kubectl, address) == REFUSED, "TCP stops", 30)
    assert set(ask_udp(world.kubectl, address, 80, 3)) <= BACKENDS
    world.api.patch("services/both", {"spec": {"ports": both[:1]}})
    eventually(lambda: ask_udp(world.kubectl, address, 80, 1, source=5353) == REFUSED, "UDP stops", 30)
    reaches_all(world, address)


def test_a_udp_flow_moves_when_its_backend_goes(world: World):
    ports = [{"port": 80, "targetPort": 8080, "protocol": "UDP"}]
    spec = world.service("moving", selector=None, ports=ports)
    slice_of(world, "moving", [world.pod_ip("backend-2")], {"": 8080}, protocol="UDP", name="only")

    def served_by(name: str) -> bool:
        return ask_udp(world.kubectl, spec["clusterIP"], 80, 2, source=4444) == [name, name]

    eventually(lambda: served_by("backend-2"), "backend-2")
    change = {"endpoints": [{"addresses": [world.pod_ip("backend-3")]}]}
    world.api.patch("discovery.k8s.io/v1/endpointslices/only", change)
    eventually(lambda: served_by("backend-3"), "the same flow at backend-3", 30)


def slice_of(
    world: World, service: str, addresses: list[str], ports: dict[str, int], *, name: str, protocol: str = "TCP"
) -> None:
    """A slice made by hand."""
    world.api.create(
        "discovery.k8s.io/v1/endpointslices",
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]} for address in addresses],
            "ports": [{"name": key, "port": port, "protocol": protocol} for key, port in ports.items()],
        },
    )


def test_slices_made_by_hand_carry_traffic_by_the_names_of_their_ports(world: World):
    ports = [{"name": "a", "port": 81}, {"name": "b", "port": 82}]
    address = world.service("by-hand", selector=None, ports=ports)["clusterIP"]
    one, two = world.pod_ip("backend-1"), world.pod_ip("backend-2")
    slice_of(world, "by-hand", [one], {"a": 8080}, name="hand-1")
    slice_of(world, "by-hand", [one, two], {"b": 8080}, name="hand-2")

    def seen() -> tuple[set[str], set[str]]:
        return set(ask(world.kubectl, f"{address}:81", 8)), set(ask(world.kubectl, f"{address}:82", 16))

    expected = ({"backend-1"}, {"backend-1", "backend-2"})
    eventually(lambda: seen() == expected, f"{expected}")


def test_pods_reach_pods_on_all_nodes_over_tcp_and_udp(world: World):
    for name in sorted(BACKENDS):
        ip = world.pod_ip(name)
        for asking in ("client", "on-node"):
            assert ask(world.kubectl, f"{ip}:8080", pod=asking) == [name]
            assert ask_udp(world.kubectl, ip, 8080, pod=asking) == [name]
        assert world.kubectl.exec(name, "hostname").strip() == name


def test_exec_keeps_the_streams_apart(world: World):
    base = [
        "kubectl",
        "--kubeconfig",
        str(world.kubectl.kubeconfig),
        "--context",
        world.kubectl.context,
        "-n",
        "dataplane",
    ]
    script = "echo out; echo err >&2"
    done = subprocess.run([*base, "exec", "client", "--", "sh", "-c", script], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


# --- the API's proxy


def test_the_proxy_names_scheme_port_and_target(world: World):
    ports = [{"name": "plain", "port": 80, "targetPort": "http"}, {"name": "safe", "port": 443, "targetPort": "https"}]
    world.service("proxied", ports=ports)
    targets = [
        "services/proxied:plain",
        "services/proxied:80",
        "services/http:proxied:plain",
        "services/https:proxied:safe",
    ]
    targets += ["services/https:proxied:443", "pods/backend-1", "pods/backend-1:8080", "pods/https:backend-1:8443"]
    for target in targets:
        answer = world.api.call("GET", f"{target}/proxy/some/path?a=b%20c&a=d")
        assert answer.status == 200, (target, answer.body)
        assert answer.json["name"] in BACKENDS
        assert (answer.json["path"], answer.json["query"]) == ("/some/path", "a=b%20c&a=d"), target


def test_the_proxy_passes_methods_and_redirects_reading_without_a_slash(world: World):
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in ("/proxy", "/proxy/x"):
            answer = world.api.call(method, f"pods/backend-1{path}", b"text", "text/plain")
            assert answer.status == 200, (method, answer.body)
            assert (answer.json["method"], answer.json["body"]) == (method, "text")
    assert world.api.call("HEAD", "pods/backend-1/proxy/x").headers["X-Method"] == "HEAD"
    for method in ("GET", "HEAD"):
        answer = world.api.call(method, "pods/backend-1/proxy?a=b")
        assert answer.status == 301
        assert answer.headers["Location"].endswith("/pods/backend-1/proxy/?a=b")


def test_the_proxy_rewrites_links_in_pages_only(world: World):
    prefix = b"/api/v1/namespaces/dataplane/pods/backend-1/proxy"
    page = world.api.call("GET", "pods/backend-1/proxy/page.html").body
    assert page == (
        b'<a href="%s/next">x</a> <img src="%s/i.png"> <a href="//other/">y</a> text "/stays"' % (prefix, prefix)
    )
    assert b'href="/next"' in world.api.call("GET", "pods/backend-1/proxy/page.txt").body


def test_the_proxy_serves_many_at_once(world: World):
    world.service("many")
    urls = [f"services/many:80/proxy/{number}" for number in range(8)] + ["pods/backend-2:8080/proxy/name"] * 8
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda url: world.api.call("GET", url).status, urls * 20))
    assert statuses == [200] * len(urls) * 20


def test_a_service_without_endpoints_is_unavailable(world: World):
    world.api.create(
        "services", {"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}
    )
    answer = world.api.call("GET", "services/empty/proxy/")
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "ServiceUnavailable")
    assert 'no endpoints available for service "empty"' in answer.json["message"]
