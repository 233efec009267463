"""What the Kubernetes DNS specification leaves open, and the RFCs or CoreDNS settle, asked of the running program."""

import pytest

Z = "cluster.local"
SVC = f"default.svc.{Z}"
FOUR, PEERS = f"four.{SVC}", f"peers.{SVC}"
TTL = 7

NODATA = [
    (FOUR, "AAAA"),
    (FOUR, "TXT"),
    (FOUR, "ANY"),
    (f"_http._tcp.{FOUR}", "A"),
    (f"_tcp.{FOUR}", "A"),
    (f"peer-0.{PEERS}", "TXT"),
    (f"10-244-0-3.{PEERS}", "AAAA"),
    (f"portless.{SVC}", "SRV"),
    (f"inward.{SVC}", "AAAA"),
    (SVC, "A"),
    (f"other.svc.{Z}", "A"),
    (f"svc.{Z}", "A"),
    (f"pod.{Z}", "A"),
    (Z, "A"),
    (f"10-1-2-3.default.pod.{Z}", "AAAA"),
    (f"dns-version.{Z}", "A"),
    ("4.0.96.10.in-addr.arpa", "A"),
]
NXDOMAIN = [
    (f"none.{SVC}", "A"),
    (f"none.{SVC}", "AAAA"),
    (f"four.none.svc.{Z}", "A"),
    (f"none.svc.{Z}", "A"),
    (f"none.{Z}", "A"),
    (f"none.{PEERS}", "A"),
    (f"_none._tcp.{PEERS}", "SRV"),
    (f"_http._tcp.none.{SVC}", "SRV"),
    (f"_http._tcp.lonely.{SVC}", "SRV"),
    (f"lonely-0.lonely.{SVC}", "A"),
    (f"_http._tcp.out.{SVC}", "SRV"),
    (f"x.out.{SVC}", "A"),
    (f"a.b.c.{FOUR}", "A"),
    (f"10-1-2-3.none.pod.{Z}", "A"),
]


@pytest.mark.parametrize(("name", "kind"), NODATA)
def test_a_name_without_records_of_the_type_is_an_empty_success_with_the_zones_soa(wire, name, kind):
    """RFC 2308, section 2.2. A name exists as well if only names below it have records (RFC 8020)."""
    answer = wire(name, kind)
    assert answer.status == "NOERROR"
    assert [record for record in answer.answer if record.type != "CNAME"] == []
    assert [(record.name, record.type) for record in answer.authority] == [(f"{Z}.", "SOA")]


@pytest.mark.parametrize(("name", "kind"), NXDOMAIN)
def test_a_name_that_does_not_exist_is_denied_with_the_zones_soa(wire, name, kind):
    """RFC 2308, section 2.1: what says how long the denial holds is the lesser of the SOA's TTL and last field."""
    answer = wire(name, kind)
    assert answer.status == "NXDOMAIN"
    assert answer.answer == []
    (soa,) = answer.authority
    assert (soa.name, soa.type, soa.ttl) == (f"{Z}.", "SOA", TTL)
    server, mailbox, serial, refresh, retry, expire, least = soa.data.split()
    assert (server, mailbox) == (f"ns.dns.{Z}.", f"hostmaster.{Z}.")
    assert (refresh, retry, expire, least) == ("7200", "1800", "86400", str(TTL))
    assert int(serial) > 0


@pytest.mark.parametrize("name", [FOUR, PEERS, f"out.{SVC}", f"none.{SVC}", f"lonely.{SVC}"])
def test_the_families_of_a_name_never_contradict_each_other(wire, name):
    """If the one is denied, so is the other: who asks for both at once may take the first denial for the end."""
    assert wire(name, "A").status == wire(name, "AAAA").status


def test_a_service_with_a_virtual_address_has_its_records_without_any_endpoint(wire):
    assert wire(FOUR, "A").data("A") == ["10.96.0.4"]
    assert wire(f"_https._tcp.{FOUR}", "SRV").data("SRV") == [f"0 100 443 {FOUR}."]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"*.{SVC}", "A"),
        (f"any.{SVC}", "A"),
        (f"four.*.svc.{Z}", "A"),
        (f"four.any.svc.{Z}", "A"),
        (f"*.*.svc.{Z}", "A"),
        (f"*.{PEERS}", "A"),
        (f"any.{PEERS}", "A"),
        (f"*._tcp.{FOUR}", "SRV"),
        (f"_http.*.{FOUR}", "SRV"),
        (f"any.any.{FOUR}", "SRV"),
        (f"*.*.{PEERS}", "SRV"),
        (f"*.default.pod.{Z}", "A"),
    ],
)
def test_the_wildcards_of_old_are_names_like_others_and_do_not_exist(wire, name, kind):
    assert wire(name, kind).status == "NXDOMAIN"


def test_the_name_of_a_service_has_srv_records_for_all_of_its_ports(wire):
    numbers = sorted(data.split()[2] for data in wire(FOUR, "SRV").data("SRV"))
    assert numbers == ["443", "53", "80"]


@pytest.mark.parametrize(
    ("name", "weight"),
    [(f"_http._tcp.{FOUR}", "100"), (FOUR, "33"), (f"_http._tcp.dual.{SVC}", "50"), (f"_http._tcp.{PEERS}", "20")],
)
def test_the_addresses_behind_an_srv_name_share_a_weight_of_100(wire, name, weight):
    assert {data.split()[1] for data in wire(name, "SRV").data("SRV")} == {weight}


@pytest.mark.parametrize("name", [FOUR, f"none.{SVC}", "4.0.96.10.in-addr.arpa"])
def test_answers_about_the_cluster_are_authoritative(wire, name):
    answer = wire(name, "PTR" if name.endswith("arpa") else "A")
    assert {"qr", "aa", "ra"} <= answer.flags


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("www.example.com", "A"),
        ("cluster.local.example.com", "A"),
        ("mycluster.local", "A"),
        ("local", "A"),
        ("1.2.0.192.in-addr.arpa", "PTR"),
        ("1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR"),
    ],
)
def test_names_outside_the_zone_are_asked_elsewhere(served, wire, name, kind):
    answer = wire(name, kind)
    assert answer.answer
    assert "aa" not in answer.flags
    assert name in {
        asked.question[0].name.to_text(True).lower() for asked in served.upstream.asked + served.upstream.asked_tcp
    }


def test_names_inside_the_zone_are_not(served, wire):
    for name in (f"none.{SVC}", f"none.{Z}", FOUR):
        wire(name, "A")
    assert not [name for name in asked_elsewhere(served) if name.endswith(f".{Z}")]


def asked_elsewhere(served):
    asked = served.upstream.asked + served.upstream.asked_tcp
    return {query.question[0].name.to_text(True).lower() for query in asked}
