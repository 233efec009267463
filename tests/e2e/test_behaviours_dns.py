"""What clients rely on in names: a pod's resolver, every record over UDP and TCP, pods' own names, and aliases."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from e2e_backends import apply, pod
from e2e_support import Cluster, Kubectl, eventually

NS = "names-relied-on"
ZONE = "svc.cluster.local"
SLEEP = {"command": ["sleep", "1000000"]}
SERVERS, SEARCHES = ["192.0.2.53", "192.0.2.54"], ["own.example"]
OWN = {"nameservers": SERVERS, "searches": SEARCHES, "options": [{"name": "ndots", "value": "2"}]}
PROTOCOLS = pytest.mark.parametrize("protocol", ["+notcp", "+tcp"])


@dataclass(frozen=True)
class World:
    """Two pods behind a Service and a headless one, and pods to ask from."""

    kubectl: Kubectl
    dns: str

    def dig(self, *words: str) -> list[str]:
        """The data of all records of the answers, in order."""
        return self.kubectl.exec("client", "dig", "+short", *words).splitlines()

    def dig_sorted(self, *words: str) -> list[str]:
        return sorted(self.dig(*words))

    def ip(self, service: str) -> str:
        return str(self.kubectl.get(f"service {service}")["spec"]["clusterIP"])

    def pod_ip(self, name: str) -> str:
        return str(self.kubectl.get(f"pod {name}")["status"]["podIP"])

    def pod_ips(self) -> list[str]:
        return sorted(self.pod_ip(name) for name in ("one", "two"))

    def create_alias(self, name: str, target: str) -> None:
        self.kubectl(f"create service externalname {name} --external-name={target}")
        eventually(lambda: self.dig(f"{name}.{NS}.{ZONE}", "CNAME") == [f"{target}."], f"{name} is an alias")


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    cluster.kubectl(f"create namespace {NS}")
    kubectl = cluster.kubectl.within(NS)
    never = SLEEP | {"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}}
    apply(
        kubectl,
        service("web"),
        service("peers", clusterIP="None"),
        service("early", "early", clusterIP="None", publishNotReadyAddresses=True),
        service("late", "early", clusterIP="None"),
        named(pod("one", "node-1", SLEEP, app="web"), hostname="first", subdomain="peers"),
        pod("two", "node-2", SLEEP, app="web"),
        named(pod("alone", "node-1", SLEEP, app="alone"), hostname="single", subdomain="nowhere"),
        named(pod("unready", "node-2", never, app="early"), hostname="soon", subdomain="early"),
        named(pod("own", "node-1", SLEEP, app="client"), dnsPolicy="None", dnsConfig=OWN),
        pod("client", "node-3", SLEEP, app="client"),
    )
    for app, count in (("web", 2), ("alone", 1), ("client", 2)):
        kubectl.wait_ready(f"app={app}", count)
    dns = str(cluster.kubectl.within("kube-system").get("service kube-dns")["spec"]["clusterIP"])
    yield World(kubectl, dns)
    cluster.kubectl(f"delete namespace {NS} --wait=false")


def service(name: str, app: str = "web", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    spec = {"selector": {"app": app}, "ports": ports} | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def named(made: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return made | {"spec": made["spec"] | spec}


# --- a pod's resolver


def test_a_pod_resolves_with_the_clusters_dns_its_search_domains_and_ndots(world: World) -> None:
    words = resolv_conf(world, "client")
    assert words["nameserver"] == [world.dns]
    assert words["search"][:3] == [f"{NS}.{ZONE}", ZONE, "cluster.local"]
    assert words["options"] == ["ndots:5"]


def test_a_pod_with_dns_policy_none_resolves_with_what_it_is_given_alone(world: World) -> None:
    found = resolv_conf(world, "own")
    assert found == {"nameserver": SERVERS, "search": SEARCHES, "options": ["ndots:2"]}


def resolv_conf(world: World, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in world.kubectl.exec(name, "cat", "/etc/resolv.conf").splitlines():
        key, *words = line.split()
        found.setdefault(key, []).extend(words)
    return found


# --- records over UDP and TCP


@PROTOCOLS
@pytest.mark.parametrize("form", ["", f".{NS}", f".{NS}.svc", f".{NS}.{ZONE}", f".{NS}.{ZONE}."])
def test_partial_names_have_their_addresses(world: World, form: str, protocol: str) -> None:
    assert world.dig("+search", protocol, f"web{form}") == [world.ip("web")]
    eventually(lambda: world.dig_sorted("+search", protocol, f"peers{form}") == world.pod_ips(), "the pods' addresses")


@PROTOCOLS
@pytest.mark.parametrize("form", ["", f".{NS}", f".{NS}.svc", f".{NS}.{ZONE}"])
def test_named_ports_have_srv_records_for_both_kinds_of_service(world: World, form: str, protocol: str) -> None:
    full = f"{NS}.{ZONE}."
    assert world.dig("+search", protocol, f"_http._tcp.web{form}", "SRV") == [f"0 100 80 web.{full}"]
    other = world.pod_ip("two").replace(".", "-")
    hosts = sorted(f"0 50 8080 {host}.peers.{full}" for host in ("first", other))
    eventually(lambda: world.dig_sorted("+search", protocol, f"_http._tcp.peers{form}", "SRV") == hosts, "SRV records")


@PROTOCOLS
def test_addresses_lead_back_to_their_names(world: World, protocol: str) -> None:
    full = f"{NS}.{ZONE}."
    assert world.dig(protocol, "-x", world.ip("web")) == [f"web.{full}"]
    assert world.dig_sorted(protocol, "-x", world.pod_ip("one"))[-1] == f"first.peers.{full}"


@PROTOCOLS
def test_pods_that_are_not_ready_have_names_only_where_they_are_published(world: World, protocol: str) -> None:
    address = world.pod_ip("unready")
    for name in ("early", "soon.early"):
        eventually(lambda name=name: world.dig(protocol, f"{name}.{NS}.{ZONE}") == [address], name)
    assert "status: NXDOMAIN" in world.kubectl.exec("client", "dig", protocol, f"late.{NS}.{ZONE}")


# --- a pod's own name


def test_hostname_and_subdomain_give_a_pod_a_name_of_its_own(world: World) -> None:
    name = f"first.peers.{NS}.{ZONE}"
    address = world.pod_ip("one")
    eventually(lambda: world.dig(name) == [address], "the pod's record")
    assert world.kubectl.exec("client", "getent", "hosts", "first.peers").split() == [address, name]
    assert hosts_line(world, "one", address) == [address, name, "first"]
    assert world.kubectl.exec("one", "hostname", "-f").strip() == name


def test_its_hosts_file_lists_them_even_where_there_is_no_such_service(world: World) -> None:
    name = f"single.nowhere.{NS}.{ZONE}"
    address = world.pod_ip("alone")
    assert hosts_line(world, "alone", address) == [address, name, "single"]
    assert world.dig(name) == []


def hosts_line(world: World, pod: str, address: str) -> list[str]:
    lines = world.kubectl.exec(pod, "cat", "/etc/hosts").splitlines()
    (found,) = [line.split() for line in lines if line.startswith(f"{address}\t")]
    return found


# --- aliases


def test_who_asks_for_an_alias_gets_it_alone_and_at_once(world: World) -> None:
    """Nobody knows where it leads, and nobody needs to."""
    world.create_alias("outward", "foo.example.com")
    told = world.kubectl.exec("client", "dig", "+tries=1", f"outward.{NS}.{ZONE}", "CNAME")
    assert "status: NOERROR" in told
    assert "ANSWER: 1," in told


def test_an_alias_changes_with_its_service_and_becomes_an_address(world: World) -> None:
    world.create_alias("turning", "foo.example.com")
    name = f"turning.{NS}.{ZONE}"
    change(world, externalName="bar.example.com")
    eventually(lambda: world.dig(name, "CNAME") == ["bar.example.com."], "the new alias")
    change(world, type="ClusterIP", externalName=None, ports=[{"name": "http", "port": 80}])
    eventually(lambda: world.dig(name, "A") == [world.ip("turning")], "the address")
    assert world.dig(name, "CNAME") == []


def change(world: World, **spec: Any) -> None:
    world.kubectl("patch service turning --type=merge -p", json.dumps({"spec": spec}))


def test_an_alias_within_the_cluster_is_followed(world: World) -> None:
    world.create_alias("inward", f"web.{NS}.{ZONE}")
    assert world.dig(f"inward.{NS}.{ZONE}") == [f"web.{NS}.{ZONE}.", world.ip("web")]


@pytest.mark.parametrize("name", ["web", "peers", f"web.{NS}.{ZONE}"])
def test_a_name_of_one_family_is_an_empty_success_for_the_other(world: World, name: str) -> None:
    """So that nslookup, which asks for both, is content."""
    told = world.kubectl.exec("client", "dig", "+search", name, "AAAA")
    assert "status: NOERROR" in told
    assert "ANSWER: 0," in told
    world.kubectl.exec("client", "nslookup", name)
    world.kubectl.exec("client", "nslookup", "-type=aaaa", name)
