"""What a Corefile's `kubernetes` may choose about the names of a cluster: which pods, Services and zones exist."""

import dns.rcode
import pytest

from sampan.client.config import Config
from sampan.dns import config
from sampan.dns.feed import Feed
from sampan.dns.metrics import Metrics

Z = "cluster.local"
NS = f"default.svc.{Z}"
PEERS = f"peers.{NS}"


def data(section):
    return sorted(rdata.to_text() for rrset in section for rdata in rrset)


def test_endpoints_may_be_called_as_their_pods(asker, cluster, make):
    endpoints = [{"addresses": ["10.244.5.5"], "targetRef": {"kind": "Pod", "name": "peer-x"}}]
    cluster.set_slice(None, make.endpoint_slice("peers", endpoints, name="peers-pods"))
    ask = asker(". {\nkubernetes cluster.local {\nendpoint_pod_names\n}\n}")
    assert data(ask(f"peer-x.{PEERS}").answer) == ["10.244.5.5"]


PODS = [
    ("disabled", "10-244-0-9.default", False),
    ("insecure", "10-244-0-9.default", True),
    ("insecure", "192-0-2-1.default", True),
    ("insecure", "10-244-0-9.nowhere", False),
    ("insecure", "999-1-1-1.default", False),
    ("verified", "10-244-0-9.default", True),
    ("verified", "10-244-0-9.kube-system", False),
    ("verified", "192-0-2-1.default", False),
]


@pytest.mark.parametrize(("mode", "name", "exists"), PODS)
def test_pod_records_exist_as_the_mode_says(asker, mode, name, exists):
    answer = asker(f". {{\nkubernetes cluster.local {{\npods {mode}\n}}\n}}")(f"{name}.pod.{Z}")
    assert answer.rcode() == (dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN)
    assert data(answer.answer) == ([name.partition(".")[0].replace("-", ".")] if exists else [])


def test_a_verified_pod_that_has_ended_or_shares_its_nodes_address_has_no_record(asker, cluster, make):
    cluster.set_pod(None, make.pod("on-the-node", "10.2.2.10", hostNetwork=True))
    cluster.set_pod(make.pod("web-1", "10.244.0.9"), None)
    ask = asker(". {\nkubernetes cluster.local {\npods verified\n}\n}")
    for name in ("10-2-2-10", "10-244-0-9"):
        assert ask(f"{name}.default.pod.{Z}").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("option", "gone", "there"),
    [
        ("namespaces kube-system", f"web.{NS}", f"kube-dns.kube-system.svc.{Z}"),
        ("labels tier=front", f"dual.{NS}", f"labelled.{NS}"),
        ("noendpoints", PEERS, f"web.{NS}"),
        ("ignore empty_service", f"dual.{NS}", f"web.{NS}"),
    ],
)
def test_an_option_hides_services(asker, cluster, make, option, gone, there):
    labelled = make.service("labelled", clusterIP="10.96.8.8", clusterIPs=["10.96.8.8"])
    labelled.metadata.labels["tier"] = "front"
    cluster.set_service(None, labelled)
    ask = asker(f". {{\nkubernetes cluster.local {{\n{option}\n}}\n}}")
    assert ask(gone).rcode() == dns.rcode.NXDOMAIN
    assert ask(there).answer


def test_a_reverse_zone_that_does_not_fall_through_denies_with_its_own_soa(asker):
    answer = asker(". {\nkubernetes cluster.local 10.0.0.0/8\n}")("1.2.3.10.in-addr.arpa", "PTR")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].name.to_text() == "10.in-addr.arpa."


def test_one_server_may_serve_several_domains(asker):
    ask = asker(". {\nkubernetes cluster.local other.example\n}")
    assert data(ask("web.default.svc.other.example").answer) == ["10.96.0.5"]
    assert data(ask(f"web.{NS}").answer) == ["10.96.0.5"]


def test_only_namespaces_with_the_labels_wanted_exist_and_labels_may_change(asker, cluster, make):
    ask = asker(
        ". {\nkubernetes cluster.local in-addr.arpa {\npods insecure\nnamespace_labels env in (prod), !old\n}\n}"
    )
    names = (f"web.{NS}", f"default.svc.{Z}", f"10-1-1-1.default.pod.{Z}", "5.0.96.10.in-addr.arpa")
    for labels, rcode in (
        ({}, dns.rcode.NXDOMAIN), ({"env": "prod"}, dns.rcode.NOERROR), ({"env": "prod", "old": ""}, dns.rcode.NXDOMAIN)
    ):  # fmt: skip
        changed = make.namespace("default")
        changed.metadata.labels.update(labels)
        cluster.set_namespace(make.namespace("default"), changed)
        assert [ask(name, "ANY").rcode() for name in names] == [rcode] * 4
        cluster.set_namespace(changed, make.namespace("default"))


def test_a_pods_name_that_is_too_long_for_dns_is_not_used(asker, cluster, make):
    endpoints = [{"addresses": ["10.244.5.5"], "targetRef": {"kind": "Pod", "name": "p" * 64}}]
    cluster.set_slice(None, make.endpoint_slice("peers", endpoints, name="peers-pods"))
    ask = asker(". {\nkubernetes cluster.local {\nendpoint_pod_names\n}\n}")
    assert data(ask(f"10-244-5-5.{PEERS}").answer) == ["10.244.5.5"]


def test_what_changes_nothing_is_said_once_where_it_is_served(asker, caplog):
    text = ". {\nkubernetes cluster.local {\nstartup_timeout 5s\nupstream\n}\npprof\n}"
    config.read(text)
    assert not caplog.records
    asker(text)
    assert [record.getMessage().partition(" is ignored")[0] for record in caplog.records] == [
        "Corefile:3: kubernetes: startup_timeout", "Corefile:4: kubernetes: upstream"
    ]  # fmt: skip


CONNECTIONS = [
    ("", Config("http://given:1")),
    ("endpoint 10.0.0.1:8080", Config("http://10.0.0.1:8080")),
    ("endpoint https://a:6443\ntls c k ca", Config("https://a:6443", ca_file="ca", cert_file="c", key_file="k")),
]


@pytest.mark.parametrize(("lines", "expected"), CONNECTIONS)
def test_where_the_api_server_is_can_be_said_in_the_corefile(cluster, lines, expected):
    (server,) = config.read(f". {{\nkubernetes cluster.local {{\n{lines}\n}}\n}}").servers
    feed = Feed(lambda: Config("http://given:1"), cluster, Metrics())
    assert feed._config([server.options("kubernetes")]) == expected
