"""Every name of the zone, as the Kubernetes DNS specification 1.1 wants it, read back from the wire."""

import dns.flags
import dns.rcode
import pytest

Z = "cluster.local"
WEB = f"web.default.svc.{Z}"
PEERS = f"peers.default.svc.{Z}"

ANSWERS = [
    (WEB, "A", [f"{WEB} A 10.96.0.5"]),
    (f"dual.default.svc.{Z}", "A", [f"dual.default.svc.{Z} A 10.96.0.6"]),
    (f"dual.default.svc.{Z}", "AAAA", [f"dual.default.svc.{Z} AAAA fd00::6"]),
    (PEERS, "A", [f"{PEERS} A 10.244.0.2", f"{PEERS} A 10.244.1.3"]),
    (PEERS, "AAAA", [f"{PEERS} AAAA fd00::1:2"]),
    (f"peer-0.{PEERS}", "A", [f"peer-0.{PEERS} A 10.244.0.2"]),
    (f"10-244-1-3.{PEERS}", "A", [f"10-244-1-3.{PEERS} A 10.244.1.3"]),
    (f"fd00--1-2.{PEERS}", "AAAA", [f"fd00--1-2.{PEERS} AAAA fd00::1:2"]),
    (f"_http._tcp.{WEB}", "SRV", [f"_http._tcp.{WEB} SRV 0 100 80 {WEB}."]),
    (WEB, "SRV", [f"{WEB} SRV 0 50 80 {WEB}.", f"{WEB} SRV 0 50 81 {WEB}."]),
    (
        f"_http._tcp.{PEERS}",
        "SRV",
        [
            f"_http._tcp.{PEERS} SRV 0 33 80 10-244-1-3.{PEERS}.",
            f"_http._tcp.{PEERS} SRV 0 33 80 fd00--1-2.{PEERS}.",
            f"_http._tcp.{PEERS} SRV 0 33 80 peer-0.{PEERS}.",
        ],
    ),
    (f"peer-0.{PEERS}", "SRV", [f"peer-0.{PEERS} SRV 0 100 80 peer-0.{PEERS}."]),
    (f"out.default.svc.{Z}", "CNAME", [f"out.default.svc.{Z} CNAME example.com."]),
    (f"alias.default.svc.{Z}", "CNAME", [f"alias.default.svc.{Z} CNAME {WEB}."]),
    (f"alias.default.svc.{Z}", "A", [f"alias.default.svc.{Z} CNAME {WEB}.", f"{WEB} A 10.96.0.5"]),
    (Z, "NS", [f"{Z} NS ns.dns.{Z}."]),
    (f"ns.dns.{Z}", "A", [f"ns.dns.{Z} A 10.96.0.10"]),
    (f"10-1-2-3.default.pod.{Z}", "A", [f"10-1-2-3.default.pod.{Z} A 10.1.2.3"]),
    (f"fd00--5.default.pod.{Z}", "AAAA", [f"fd00--5.default.pod.{Z} AAAA fd00::5"]),
    ("5.0.96.10.in-addr.arpa", "PTR", [f"5.0.96.10.in-addr.arpa PTR {WEB}."]),
    ("2.0.244.10.in-addr.arpa", "PTR", [f"2.0.244.10.in-addr.arpa PTR peer-0.{PEERS}."]),
    ("9.0.244.10.in-addr.arpa", "PTR", [f"9.0.244.10.in-addr.arpa PTR 10-244-0-9.{WEB}."]),
]


@pytest.mark.parametrize(("name", "kind", "expected"), ANSWERS)
def test_a_name_has_its_records(ask, texts, name, kind, expected):
    response = ask(name, kind)
    assert response.rcode() == dns.rcode.NOERROR
    assert sorted(texts(response.answer)) == sorted(expected)
    assert response.flags & dns.flags.AA
    assert all(rrset.ttl == 5 for rrset in response.answer)


EMPTY = [
    (WEB, "AAAA"),
    (WEB, "MX"),
    (WEB, "HTTPS"),
    (f"dual.default.svc.{Z}", "TXT"),
    (f"_http._tcp.{WEB}", "A"),
    (f"_tcp.{WEB}", "A"),
    (Z, "A"),
    (f"svc.{Z}", "A"),
    (f"pod.{Z}", "A"),
    (f"dns.{Z}", "A"),
    (f"default.svc.{Z}", "A"),
    (f"empty.svc.{Z}", "A"),
    (f"default.pod.{Z}", "A"),
    (f"10-1-2-3.default.pod.{Z}", "AAAA"),
    (f"alias.default.svc.{Z}", "AAAA"),
    ("5.0.96.10.in-addr.arpa", "A"),
]
MISSING = [
    f"none.default.svc.{Z}",
    f"web.none.svc.{Z}",
    f"none.svc.{Z}",
    f"none.{Z}",
    f"web.default.{Z}",
    f"x.dns-version.{Z}",
    f"lonely.default.svc.{Z}",
    f"pending.default.svc.{Z}",
    f"peer-2.{PEERS}",
    f"x.y.z.{WEB}",
    f"_none._tcp.{WEB}",
    f"_http._udp.{WEB}",
    f"_.{WEB}",
    f"x.out.default.svc.{Z}",
    f"number.default.svc.{Z}",
    f"nonsense.default.pod.{Z}",
    f"10-1-2-3.none.pod.{Z}",
    f"a\\.web.default.svc.{Z}",
]


@pytest.mark.parametrize(("name", "kind"), EMPTY)
def test_a_name_without_such_a_record_is_an_empty_success_with_the_soa(ask, texts, name, kind):
    response = ask(name, kind)
    assert response.rcode() == dns.rcode.NOERROR
    assert [text for text in texts(response.answer) if "CNAME" not in text] == []
    assert [rrset.rdtype.name for rrset in response.authority] == ["SOA"]


@pytest.mark.parametrize("name", MISSING)
def test_a_name_that_does_not_exist_is_denied_with_the_soa(ask, name):
    response = ask(name)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.answer == []
    soa = response.authority[0][0]
    assert (soa.mname.to_text(), soa.rname.to_text()) == (f"ns.dns.{Z}.", f"hostmaster.{Z}.")
    assert (soa.refresh, soa.retry, soa.expire, soa.minimum) == (7200, 1800, 86400, 5)


def test_an_alias_to_nothing_tells_both(ask, texts):
    response = ask(f"astray.default.svc.{Z}")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert texts(response.answer) == [f"astray.default.svc.{Z} CNAME nobody.default.svc.{Z}."]


def test_an_alias_to_itself_ends(ask):
    assert ask(f"loop.default.svc.{Z}").rcode() == dns.rcode.SERVFAIL


def test_the_addresses_of_srv_targets_come_along(ask, texts):
    response = ask(f"_http._tcp.{PEERS}", "SRV")
    assert sorted(texts(response.additional)) == [
        f"10-244-1-3.{PEERS} A 10.244.1.3",
        f"fd00--1-2.{PEERS} AAAA fd00::1:2",
        f"peer-0.{PEERS} A 10.244.0.2",
    ]


@pytest.mark.parametrize(
    ("name", "kind", "asked"),
    [
        ("example.com", "A", "example.com"),
        ("cluster.local.example.com", "A", "cluster.local.example.com"),
        ("notcluster.local", "A", "notcluster.local"),
        ("1.2.0.192.in-addr.arpa", "PTR", "1.2.0.192.in-addr.arpa"),
        ("in-addr.arpa", "PTR", "in-addr.arpa"),
        ("x.2.0.192.in-addr.arpa", "PTR", "x.2.0.192.in-addr.arpa"),
        (f"out.default.svc.{Z}", "A", "example.com"),
    ],
)
def test_what_lies_outside_is_asked_outside(ask, name, kind, asked):
    ask(name, kind)
    assert [found for found, _ in ask.outside] == [asked]


def test_an_answer_changes_with_the_object(cluster, ask, make, texts):
    old = make.service("web", clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"])
    new = make.service("web", clusterIP="10.96.7.7", clusterIPs=["10.96.7.7"])
    assert texts(ask(WEB).answer) == [f"{WEB} A 10.96.0.5"]
    cluster.set_service(old, new)
    assert texts(ask(WEB).answer) == [f"{WEB} A 10.96.7.7"]
    assert ask("7.7.96.10.in-addr.arpa", "PTR").answer
    ask("5.0.96.10.in-addr.arpa", "PTR")
    assert len(ask.outside) == 1
    cluster.set_service(new, None)
    assert ask(WEB).rcode() == dns.rcode.NXDOMAIN


def test_endpoints_come_and_go(cluster, ask, make, texts):
    old = make.endpoint_slice("peers", [{"addresses": ["fd00::1:2"]}], name="peers-v6")
    assert ask(PEERS, "AAAA").answer
    assert ask("4.1.244.10.in-addr.arpa", "PTR").answer == []
    new = make.endpoint_slice("peers", [{"addresses": ["10.244.7.7"]}], name="peers-v6")
    cluster.set_slice(old, new)
    assert ask(PEERS, "AAAA").answer == []
    assert f"{PEERS} A 10.244.7.7" in texts(ask(PEERS).answer)
    assert texts(ask("7.7.244.10.in-addr.arpa", "PTR").answer) == [f"7.7.244.10.in-addr.arpa PTR 10-244-7-7.{PEERS}."]
    cluster.set_slice(new, None)
    assert f"{PEERS} A 10.244.7.7" not in texts(ask(PEERS).answer)
    assert ask("7.7.244.10.in-addr.arpa", "PTR").answer == []


def test_a_namespace_that_is_gone_is_denied(cluster, ask, make):
    cluster.set_namespace(make.namespace("empty"), None)
    assert ask(f"empty.svc.{Z}").rcode() == dns.rcode.NXDOMAIN


def test_an_alias_has_no_endpoints_whatever_slices_there_are(cluster, ask, make):
    cluster.set_slice(None, make.endpoint_slice("out", [{"addresses": ["10.244.6.6"], "hostname": "ghost"}]))
    assert ask(f"ghost.out.default.svc.{Z}").rcode() == dns.rcode.NXDOMAIN
    ask("6.6.244.10.in-addr.arpa", "PTR")
    assert ask.outside == [("6.6.244.10.in-addr.arpa", 12)]


def test_addresses_that_are_names_are_left_out(cluster, ask, make):
    cluster.set_slice(None, make.endpoint_slice("lonely", [{"addresses": ["host.example.com"]}], name="lonely-fqdn"))
    assert ask(f"lonely.default.svc.{Z}").answer == []
