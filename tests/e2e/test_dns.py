"""Names inside a cluster, `sampan dns query`, and the Corefile.

More of names is in `test_behaviours_dns` and `test_dns_resolvers`.
"""

import json
from collections.abc import Iterator

import pytest
from e2e_support import SAMPAN, Cluster, Kubectl, eventually, run

ZONE = "svc.cluster.local"
DNS = "10.96.0.10"


@pytest.fixture(scope="module")
def names(cluster: Cluster) -> Iterator[Kubectl]:
    """A namespace with a Service of each kind, pods behind them, and a pod to ask from."""
    cluster.kubectl("create namespace names")
    kubectl = cluster.kubectl.within("names")
    kubectl("create deployment web --image=host --replicas=2 --", "sleep", "1000000")
    kubectl("expose deployment web --port=80 --name=web")
    kubectl("expose deployment web --port=80 --name=peers --cluster-ip=None")
    kubectl("create service externalname out --external-name=web.names.svc.cluster.local")
    kubectl("run client --image=host --", "sleep", "1000000")
    kubectl.wait_ready("app=web", 2)
    kubectl("wait --for=condition=Ready pod/client --timeout=60s")
    yield kubectl
    cluster.kubectl("delete namespace names --wait=false")


def dig(kubectl: Kubectl, *words: str) -> list[str]:
    return sorted(kubectl.exec("client", "dig", "+short", *words).split())


def query(cluster: Cluster, *words: str, status: int = 0) -> str:
    return run(SAMPAN, "dns", "query", "--name", cluster.name, *words, status=status)


def service_ip(kubectl: Kubectl, name: str) -> str:
    return str(kubectl.get(f"service {name}")["spec"]["clusterIP"])


def pod_ips(kubectl: Kubectl) -> list[str]:
    return sorted(pod["status"]["podIP"] for pod in kubectl.ready_pods("app=web"))


@pytest.mark.parametrize("name", ["web", "web.names", "web.names.svc", f"web.names.{ZONE}"])
def test_a_service_is_found_by_every_form_of_its_name(names: Kubectl, name: str) -> None:
    address = service_ip(names, "web")
    assert dig(names, "+search", name) == [address]
    assert names.exec("client", "getent", "hosts", name).split()[0] == address
    assert f"Address: {address}" in names.exec("client", "nslookup", name)


def test_a_headless_service_has_its_pods_addresses(names: Kubectl) -> None:
    eventually(lambda: dig(names, f"peers.names.{ZONE}") == pod_ips(names), "the pods' addresses")


def test_an_address_leads_back_to_its_name(names: Kubectl) -> None:
    assert dig(names, "-x", service_ip(names, "web")) == [f"web.names.{ZONE}."]
    assert dig(names, "-x", DNS) == [f"kube-dns.kube-system.{ZONE}."]


def test_an_external_name_is_an_alias(names: Kubectl) -> None:
    assert dig(names, f"out.names.{ZONE}") == sorted((f"web.names.{ZONE}.", service_ip(names, "web")))


def test_named_ports_have_srv_records(names: Kubectl) -> None:
    (record,) = names.exec("client", "dig", "+short", "SRV", f"_dns._udp.kube-dns.kube-system.{ZONE}").splitlines()
    assert record == f"0 100 53 kube-dns.kube-system.{ZONE}."


def test_names_are_answered_over_tcp_too(names: Kubectl) -> None:
    assert dig(names, "+tcp", f"web.names.{ZONE}") == [service_ip(names, "web")]


def test_a_new_service_is_found_at_once_although_it_was_denied_before(names: Kubectl) -> None:
    assert dig(names, f"late.names.{ZONE}") == []
    names("create service clusterip late --tcp=80")
    eventually(lambda: dig(names, f"late.names.{ZONE}") == [service_ip(names, "late")], "the new name")
    names("delete service late")
    eventually(lambda: dig(names, f"late.names.{ZONE}") == [], "the name is gone")


def test_query_shows_each_step_and_why(cluster: Cluster, names: Kubectl) -> None:
    told = query(cluster, "web.names", "--from", "names/client")
    address = service_ip(names, "web")
    assert "search names.svc.cluster.local svc.cluster.local cluster.local" in told
    assert "web.names.names.svc.cluster.local. A   (1 dot, fewer than ndots:5: first the search path)" in told
    assert "NXDOMAIN: there is no such name" in told
    assert f"web.names.svc.cluster.local. 30 IN A {address}" in told


def test_query_of_a_pod_that_is_not_there_says_so(cluster: Cluster) -> None:
    assert 'pods "nobody" not found' in query(cluster, "web", "--from", "nobody", status=1)


def test_query_hints_at_the_name_that_was_meant(cluster: Cluster, names: Kubectl) -> None:
    assert "There is no Service webb in namespace names; is it web?" in query(cluster, "webb.names", status=1)
    assert "but in names: ask for web.names." in query(cluster, "web", status=1)
    assert 'pods "cleint" not found in namespace names; is it client?' in query(
        cluster, "web", "--from", "names/cleint", status=1
    )


def test_query_of_an_address_asks_for_its_name(cluster: Cluster, names: Kubectl) -> None:
    assert f"IN PTR web.names.{ZONE}." in query(cluster, service_ip(names, "web"))


def test_the_corefile_is_a_config_map_that_works_live(cluster: Cluster, names: Kubectl) -> None:
    system = cluster.kubectl.within("kube-system")
    before = system.get("configmap coredns")["data"]["Corefile"]
    assert "kubernetes cluster.local in-addr.arpa ip6.arpa" in before
    hosts = "    hosts {\n       10.9.9.9 live.example\n       fallthrough\n    }\n    reload 2s 1s\n"
    changed = before.replace("    reload\n", hosts)
    try:
        patch_corefile(system, changed)
        system("rollout restart deployment/coredns")
        system("rollout status deployment/coredns --timeout=60s")
        eventually(lambda: dig(names, "live.example") == ["10.9.9.9"], "the new Corefile")
        patch_corefile(system, changed.replace("10.9.9.9", "10.9.9.8"))
        eventually(lambda: dig(names, "live.example") == ["10.9.9.8"], "the Corefile changed live", 120)
    finally:
        patch_corefile(system, before)


def patch_corefile(system: Kubectl, text: str) -> None:
    system("patch configmap coredns --type=merge -p", json.dumps({"data": {"Corefile": text}}))
