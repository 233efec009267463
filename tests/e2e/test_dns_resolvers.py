"""Resolvers that people's programs use are content with cluster DNS: each finds the same, in pods of a real cluster.

They differ: glibc asks for A and AAAA one after the other if need be, musl for both at once and of all servers, and
takes what is denied for the one as denied for both; bind's programs and busybox walk the search path by themselves.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pytest
from e2e_support import Cluster, Kubectl, eventually

from support import musl

NS = "resolvers"
ZONE = "svc.cluster.local"
CROWD = [f"198.51.100.{number}" for number in range(1, 251)]
PYTHON = """
import socket, sys
for name in sys.argv[1:]:
    print("==", name)
    try:
        print(*{found[4][0] for found in socket.getaddrinfo(name, 80)}, sep="\\n")
    except socket.gaierror as error:
        print(error)
"""
EACH = 'for name in "$@"; do echo "== $name"; {} "$name" || echo "status $?"; done'
RESOLVERS = {
    "getent": ["sh", "-c", EACH.format("getent ahosts"), "-"],
    "python": ["python3", "-c", PYTHON],
    "dig": ["sh", "-c", EACH.format("dig +search +short"), "-"],
    "host": ["sh", "-c", EACH.format("host"), "-"],
    "nslookup": ["sh", "-c", EACH.format("nslookup"), "-"],
    "busybox": ["sh", "-c", EACH.format("busybox nslookup"), "-"],
    "musl": [musl.LOADER, "/tmp/resolve"],
}
AUTOPATH = """\
.:53 {
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods verified
        fallthrough in-addr.arpa ip6.arpa
    }
    autopath @kubernetes
    forward . 127.0.0.1:5353
    cache 30
    loadbalance
}
.:5353 {
    template ANY A {
        match ^www\\.example\\.com\\.$
        answer "{{ .Name }} 60 IN A 192.0.2.10"
        fallthrough
    }
    template ANY ANY {
        match ^www\\.example\\.com\\.$
        authority "example.com 60 IN SOA ns.example.com admin.example.com 1 2 3 4 60"
        fallthrough
    }
    template ANY ANY {
        rcode NXDOMAIN
        authority ". 60 IN SOA ns. admin. 1 2 3 4 60"
    }
}
"""
"""The server walks the search path. Behind it is the world outside, which has one name, of one family."""


@dataclass(frozen=True)
class World:
    """Client pods, called after their way to DNS, and the addresses that each name has."""

    kubectl: Kubectl
    web: str

    def resolve(self, pod: str, resolver: str, names: list[str]) -> dict[str, list[str]]:
        """What a resolver finds; and it must end well where it finds something, if it says how it ends."""
        found: dict[str, list[str]] = {}
        for part in self.kubectl.exec(pod, *RESOLVERS[resolver], *names).split("== ")[1:]:
            name, _, told = part.partition("\n")
            lines = [line for line in told.splitlines() if not line.startswith("Server:")]
            found[name] = sorted({word for line in lines for word in line.split() if is_address(word)})
            assert not found[name] or resolver == "busybox" or "status" not in told, part
        return found


def is_address(word: str) -> bool:
    try:
        return bool(ip_address(word))
    except ValueError:
        return False


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    cluster.kubectl(f"create namespace {NS}")
    kubectl = cluster.kubectl.within(NS)
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": _services()}))
    autopath = str(kubectl.get("service autopath")["spec"]["clusterIP"])
    dns = str(cluster.kubectl.within("kube-system").get("service kube-dns")["spec"]["clusterIP"])
    pods = [_server(), _client("default"), _client("autopath", autopath), _client("both", dns, autopath)]
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    kubectl("wait --for=condition=Ready pod --all --timeout=60s")
    if not musl.missing():
        program = base64.b64encode(musl.build(tmp_path_factory.mktemp("musl"))).decode()
        for pod in ("default", "autopath", "both"):
            kubectl.exec(pod, "sh", "-c", f"echo {program} | base64 -d > /tmp/resolve && chmod +x /tmp/resolve")
    found = World(kubectl, str(kubectl.get("service web")["spec"]["clusterIP"]))
    eventually(
        lambda: found.resolve("autopath", "dig", ["web", "www.example.com"])["www.example.com"], "the own server"
    )
    yield found
    cluster.kubectl(f"delete namespace {NS} --wait=false")


def _services() -> list[dict[str, Any]]:
    http = [{"name": "http", "port": 80}]
    dns = [{"name": "dns", "protocol": "UDP", "port": 53}, {"name": "dns-tcp", "port": 53}]
    return [
        _service("web", ports=http),
        _service("peers", clusterIP="None", ports=http),
        _service("crowd", clusterIP="None", ports=http),
        _slice("crowd", [{"addresses": [address]} for address in CROWD]),
        _service("inward", type="ExternalName", externalName=f"web.{NS}.{ZONE}"),
        _service("autopath", ports=dns, selector={"app": "autopath"}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "autopath"}, "data": {"Corefile": AUTOPATH}},
        _slice("peers", [{"addresses": ["192.0.2.21"], "hostname": "peer-0"}, {"addresses": ["192.0.2.22"]}]),
    ]


def _slice(owner: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"name": f"{owner}-1", "labels": {"kubernetes.io/service-name": owner}}
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}], "endpoints": endpoints,
    }  # fmt: skip


def _service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _server() -> dict[str, Any]:
    container = {
        "name": "dns", "image": "sampan", "imagePullPolicy": "Never",
        "args": ["dns", "--conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }  # fmt: skip
    volume = {"name": "config", "configMap": {"name": "autopath"}}
    return _pod("server", {"app": "autopath"}, dnsPolicy="Default", containers=[container], volumes=[volume])


def _client(name: str, *servers: str) -> dict[str, Any]:
    container = {"name": "main", "image": "host", "command": ["sleep", "1000000"]}
    own = {
        "nameservers": list(servers),
        "searches": [f"{NS}.{ZONE}", ZONE, "cluster.local"],
        "options": [{"name": "ndots", "value": "5"}],
    }
    policy = {"dnsPolicy": "None", "dnsConfig": own} if servers else {}
    return _pod(name, {"app": "client"}, containers=[container], terminationGracePeriodSeconds=0, **policy)


def _pod(name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def expected(world: World, resolver: str) -> dict[str, list[str]]:
    """Names of the cluster in all their forms, and their addresses; none, where there is no such name."""
    forms = ["", f".{NS}", f".{NS}.svc", f".{NS}.{ZONE}", f".{NS}.{ZONE}."]
    addresses = {
        "web": [world.web], "WEB": [world.web], "peers": ["192.0.2.21", "192.0.2.22"], "peer-0.peers": ["192.0.2.21"],
        "inward": [world.web],
    }  # fmt: skip
    found = {name + form: addresses[name] for name in addresses for form in forms}
    found |= {f"nobody.{NS}.{ZONE}.": [], f"nobody.peers.{NS}.{ZONE}.": [], f"web.nowhere.{ZONE}.": []}
    if resolver == "busybox":  # which walks the search path for names without a dot only
        return {name: found[name] for name in found if "." not in name or ZONE in name}
    return found


def needs_musl(resolver: str) -> None:
    if resolver == "musl" and musl.missing():
        pytest.skip(musl.missing())


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("pod", ["default", "autopath"])
def test_a_resolver_finds_every_form_of_every_name(world: World, pod: str, resolver: str) -> None:
    """By its short name, with the namespace, in full: a Service, a headless one, one of its endpoints, an alias."""
    needs_musl(resolver)
    names = expected(world, resolver)
    assert world.resolve(pod, resolver, list(names)) == names


@pytest.mark.parametrize("resolver", [name for name in RESOLVERS if name != "busybox"])
def test_names_outside_are_found_behind_the_search_path_that_the_server_walks(world: World, resolver: str) -> None:
    """Of one family only, and not at all."""
    needs_musl(resolver)
    names: dict[str, list[str]] = {"www.example.com": ["192.0.2.10"], "nobody": [], "nobody.example.com": []}
    assert world.resolve("autopath", resolver, list(names)) == names


@pytest.mark.parametrize("resolver", ["getent", "musl"])
def test_two_servers_that_know_the_cluster_never_contradict_each_other(world: World, resolver: str) -> None:
    """musl asks both at once, and takes the answer that is there first."""
    needs_musl(resolver)
    names = expected(world, resolver)
    assert world.resolve("both", resolver, list(names)) == names


@pytest.mark.parametrize("resolver", ["getent", "python", "dig", "host", "nslookup"])
def test_hundreds_of_addresses_are_all_found(world: World, resolver: str) -> None:
    """They are more than UDP can carry: these resolvers ask again over TCP."""
    assert world.resolve("default", resolver, ["crowd"]) == {"crowd": sorted(CROWD)}


def test_musl_finds_as_many_as_there_is_room_for(world: World) -> None:
    """Before its version 1.2.4 it takes what was cut off for the whole."""
    needs_musl("musl")
    found = world.resolve("default", "musl", ["crowd"])["crowd"]
    assert len(found) > 20
    assert set(found) <= set(CROWD)


def test_the_real_musl_is_among_them() -> None:
    """Where `make test` has prepared the machine."""
    assert musl.missing() in ("", "the program is for x86-64")
