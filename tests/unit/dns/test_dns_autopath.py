"""The search path walked by the server: only for a client whose path is known."""

import dns.rcode
import pytest

from sampan.dns import wire
from sampan.dns.wire import A, Record, Reply

Z = "cluster.local"
POD, OTHER, NODE = ("10.244.0.9", 1), ("10.244.0.10", 1), ("10.2.2.10", 1)
COREFILE = f"""
. {{
    autopath @kubernetes
    cache 30
    kubernetes {Z} {{
        pods verified
    }}
    forward . 192.0.2.53
}}
"""


def only_example_com(query):
    if query.name == "example.com" and query.type != A:
        return Reply(authoritative=False)
    if query.name == "example.com":
        return Reply(answers=(Record(query.name, A, bytes((192, 0, 2, 7)), 300),), authoritative=False)
    return Reply(wire.NXDOMAIN, authoritative=False)


@pytest.fixture
def ask(asker, cluster, make, monkeypatch):
    monkeypatch.setattr("sampan.dns.resolvconf.search_domains", lambda path: ("corp.example",))
    cluster.set_pod(None, make.pod("other", OTHER[0], "empty"))
    cluster.set_pod(None, make.pod("on-the-node", NODE[0], hostNetwork=True))
    return asker(COREFILE, only_example_com)


def test_a_name_outside_is_found_in_one_round_trip(ask, texts):
    answer = ask(f"example.com.default.svc.{Z}", client=POD)
    assert answer.rcode() == dns.rcode.NOERROR
    assert texts(answer.answer) == [f"example.com.default.svc.{Z} CNAME example.com.", "example.com A 192.0.2.7"]
    assert [name for name, _ in ask.outside] == ["example.com.corp.example", "example.com"]


def test_a_service_of_another_namespace_is_found_too(ask, texts):
    answer = ask(f"kube-dns.kube-system.default.svc.{Z}", client=POD)
    assert texts(answer.answer)[-1] == f"kube-dns.kube-system.svc.{Z} A 10.96.0.10"


def test_a_name_that_is_found_without_records_of_the_type_is_not_denied(ask):
    """Else a resolver that asks for A and AAAA at once (musl) takes the denial of the one for the end of both."""
    for name in ("example.com", "kube-dns.kube-system"):
        assert ask(f"{name}.default.svc.{Z}", "A", client=POD).answer
        answer = ask(f"{name}.default.svc.{Z}", "AAAA", client=POD)
        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


def test_a_resolver_that_fails_is_no_denial(asker, cluster):
    failing = asker(COREFILE, lambda query: Reply(wire.SERVFAIL, authoritative=False))
    assert failing(f"example.com.default.svc.{Z}", client=POD).rcode() == dns.rcode.SERVFAIL


def test_a_name_that_the_first_step_finds_is_answered_as_ever(ask, texts):
    assert texts(ask(f"web.default.svc.{Z}", client=POD).answer) == [f"web.default.svc.{Z} A 10.96.0.5"]


@pytest.mark.parametrize("client", [OTHER, NODE, ("192.0.2.99", 1)])
def test_a_client_with_another_path_or_none_is_told_the_truth(ask, client):
    ask(f"example.com.default.svc.{Z}", client=POD)
    assert ask(f"example.com.default.svc.{Z}", client=client).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("client", [OTHER, NODE, ("192.0.2.99", 1)])
def test_and_what_it_is_told_is_not_kept_for_one_whose_path_leads_further(ask, client):
    assert ask(f"example.com.default.svc.{Z}", client=client).rcode() == dns.rcode.NXDOMAIN
    assert ask(f"example.com.default.svc.{Z}", client=POD).rcode() == dns.rcode.NOERROR


def test_a_later_step_of_the_path_is_not_taken_for_the_first(ask):
    assert ask(f"example.com.svc.{Z}", client=POD).rcode() == dns.rcode.NXDOMAIN


def test_a_name_that_is_nowhere_is_denied(ask):
    assert ask(f"nowhere.default.svc.{Z}", client=POD).rcode() == dns.rcode.NXDOMAIN


def test_an_answer_for_one_client_is_not_kept_for_others(ask):
    for _ in range(2):
        ask(f"example.com.default.svc.{Z}", client=POD)
    assert [name for name, _ in ask.outside].count("example.com") == 1
    assert ask(f"example.com.default.svc.{Z}", client=OTHER).rcode() == dns.rcode.NXDOMAIN


def test_a_service_that_appears_is_found_before_what_lies_outside(ask, cluster, make):
    name = f"example.com.default.svc.{Z}"
    ask(name, client=POD)
    cluster.set_service(None, make.service("com", "default", clusterIP="10.96.3.3", clusterIPs=["10.96.3.3"]))
    assert ask(f"com.default.svc.{Z}", client=POD).answer[0][0].to_text() == "10.96.3.3"


def test_other_types_are_answered_as_ever(ask):
    assert ask(f"example.com.default.svc.{Z}", "TXT", client=POD).rcode() == dns.rcode.NXDOMAIN
