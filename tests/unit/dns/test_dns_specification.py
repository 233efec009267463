"""The Kubernetes DNS specification, schema 1.1.0: a test for each behaviour that it states, in its order.

Each is asked of the running program, over UDP and TCP, with dnspython and with dig; the section is in the test's name.
What the specification leaves open, and the RFCs or CoreDNS settle, is in `test_dns_beyond_specification`.
"""

from ipaddress import ip_address

import pytest

Z = "cluster.local"
SVC = f"default.svc.{Z}"
FOUR, SIX, DUAL, PEERS = (f"{name}.{SVC}" for name in ("four", "six", "dual", "peers"))
TTL = 7
ADDRESSES = [
    pytest.param(FOUR, "A", ["10.96.0.4"], id="ipv4"),
    pytest.param(SIX, "AAAA", ["fd00:96::6"], id="ipv6"),
    pytest.param(DUAL, "A", ["10.96.0.46"], id="dual-ipv4"),
    pytest.param(DUAL, "AAAA", ["fd00:96::46"], id="dual-ipv6"),
]


def reverse(text):
    return ip_address(text).reverse_pointer


def targets(answer):
    """The hosts that SRV records lead to."""
    return [data.split()[3] for data in answer.data("SRV")]


# --- 1 and 2.2: the schema's version


def test_2_2_a_txt_record_below_the_zone_has_the_version_of_the_schema(wire):
    answer = wire(f"dns-version.{Z}", "TXT")
    assert [record.name for record in answer.answer] == [f"dns-version.{Z}."]
    assert answer.data("TXT") == ['"1.1.0"']
    assert answer.answer[0].ttl == 28800


# --- 2.1: definitions


def test_2_1_the_zone_is_the_one_configured(wire):
    """The server has a second domain: all names exist below it as well, and lead to names below it."""
    assert wire("four.default.svc.corp.example", "A").data("A") == ["10.96.0.4"]
    srv = wire("_http._tcp.four.default.svc.corp.example", "SRV")
    assert targets(srv) == ["four.default.svc.corp.example."]
    assert wire("dns-version.corp.example", "TXT").data("TXT") == ['"1.1.0"']


def test_2_1_a_service_is_found_in_its_own_namespace_only(wire):
    assert wire(f"four.other.svc.{Z}", "A").data("A") == ["10.96.1.4"]
    assert wire(f"dual.other.svc.{Z}", "A").status == "NXDOMAIN"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (FOUR, "A"),
        (DUAL, "AAAA"),
        (f"_http._tcp.{FOUR}", "SRV"),
        (PEERS, "A"),
        (f"_http._tcp.{PEERS}", "SRV"),
        (reverse("10.96.0.4"), "PTR"),
        (f"inward.{SVC}", "CNAME"),
        (f"10-1-2-3.default.pod.{Z}", "A"),
    ],
)
def test_2_1_every_record_has_the_standard_time_to_live(wire, name, kind):
    answer = wire(name, kind)
    assert {record.ttl for record in (*answer.answer, *answer.additional)} == {TTL}


def test_2_1_the_hostname_of_an_endpoint_is_first_of_all_its_own(wire):
    assert wire(f"peer-0.{PEERS}", "A").status == "NOERROR"
    assert wire(f"10-244-0-2.{PEERS}", "A").status == "NXDOMAIN"


def test_2_1_an_endpoint_without_one_has_a_unique_name_in_its_service(wire):
    """Such a name is found in SRV and PTR records, and leads to this one endpoint."""
    (named,) = [name for name in targets(wire(f"_http._tcp.{PEERS}", "SRV")) if "10-244-0-3" in name]
    assert wire(named, "A").data("A") == ["10.244.0.3"]
    assert wire(reverse("10.244.0.3"), "PTR").data("PTR") == [named]


def test_2_1_an_endpoint_that_is_not_ready_has_no_record(wire):
    assert "10.244.0.4" not in wire(PEERS, "A").data("A")
    assert "fd00:244::4" not in wire(PEERS, "AAAA").data("AAAA")
    assert wire(f"peer-2.{PEERS}", "A").status == "NXDOMAIN"
    assert f"peer-2.{PEERS}." not in targets(wire(f"_http._tcp.{PEERS}", "SRV"))
    assert wire(reverse("10.244.0.4"), "PTR").data("PTR") == []


def test_2_1_an_endpoint_that_is_published_before_it_is_ready_counts_as_ready(wire):
    """publishNotReadyAddresses has the slice say `ready`, while `serving` stays false."""
    early = f"early.{SVC}"
    assert wire(early, "A").data("A") == ["10.244.4.2"]
    assert wire(f"early-0.{early}", "A").data("A") == ["10.244.4.2"]
    assert targets(wire(f"_http._tcp.{early}", "SRV")) == [f"early-0.{early}."]
    assert wire(reverse("10.244.4.2"), "PTR").data("PTR") == [f"early-0.{early}."]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (FOUR, "A"),
        (DUAL, "AAAA"),
        (f"_http._tcp.{FOUR}", "SRV"),
        (f"peer-0.{PEERS}", "A"),
        (f"_metrics._tcp.{PEERS}", "SRV"),
        (reverse("fd00:96::46"), "PTR"),
        (f"out.{SVC}", "CNAME"),
        (f"dns-version.{Z}", "TXT"),
        (f"10-1-2-3.default.pod.{Z}", "A"),
    ],
)
def test_2_1_names_are_compared_without_regard_to_case(wire, name, kind):
    mixed = "".join(letter.upper() if index % 2 else letter for index, letter in enumerate(name))
    found = wire(mixed, kind)
    assert found.data(kind)
    assert found.answer == wire(name, kind).answer


# --- 2.3: a Service with a virtual address


@pytest.mark.parametrize(("name", "kind", "addresses"), ADDRESSES)
def test_2_3_1_a_service_has_an_address_record_for_each_of_its_families(wire, name, kind, addresses):
    answer = wire(name, kind)
    assert [(record.name, record.data) for record in answer.answer] == [(f"{name}.", text) for text in addresses]


@pytest.mark.parametrize(("name", "kind"), [(FOUR, "AAAA"), (SIX, "A")])
def test_2_3_1_and_none_for_a_family_that_it_has_not(wire, name, kind):
    answer = wire(name, kind)
    assert (answer.status, answer.answer) == ("NOERROR", [])


@pytest.mark.parametrize("name", [f"four.default.{Z}", f"four.svc.{Z}", f"four.{Z}", f"default.four.svc.{Z}"])
def test_2_3_1_the_name_has_the_service_the_namespace_and_svc_in_this_order(wire, name):
    assert wire(name, "A").status == "NXDOMAIN"


@pytest.mark.parametrize(
    ("prefix", "service", "number"),
    [("_http._tcp", FOUR, 80), ("_https._tcp", FOUR, 443), ("_dns._udp", FOUR, 53), ("_http._tcp", SIX, 80)],
)
def test_2_3_2_each_named_port_has_an_srv_record_with_its_number_and_the_services_name(wire, prefix, service, number):
    answer = wire(f"{prefix}.{service}", "SRV")
    assert [record.name for record in answer.answer] == [f"{prefix}.{service}."]
    assert [data.split()[2:] for data in answer.data("SRV")] == [[str(number), f"{service}."]]


@pytest.mark.parametrize("prefix", ["_http._udp", "_dns._tcp", "_other._tcp", "_http._sctp"])
def test_2_3_2_a_port_of_another_name_or_protocol_has_none(wire, prefix):
    assert wire(f"{prefix}.{FOUR}", "SRV").status == "NXDOMAIN"


def test_2_3_2_priority_and_weight_are_numbers_as_rfc_2782_wants_them(wire):
    for data in wire(f"_http._tcp.{FOUR}", "SRV").data("SRV") + wire(f"_http._tcp.{PEERS}", "SRV").data("SRV"):
        priority, weight = data.split()[:2]
        assert int(priority) == 0
        assert 0 < int(weight) <= 65535


@pytest.mark.parametrize("prefix", ["_80._tcp", "_._tcp", "_http._tcp"])
def test_2_3_2_an_unnamed_port_has_no_srv_record(wire, prefix):
    assert wire(f"{prefix}.plain.{SVC}", "SRV").data("SRV") == []


@pytest.mark.parametrize(
    ("service", "addresses"),
    [
        (FOUR, [("A", "10.96.0.4")]),
        (SIX, [("AAAA", "fd00:96::6")]),
        (DUAL, [("A", "10.96.0.46"), ("AAAA", "fd00:96::46")]),
    ],
)
def test_2_3_2_the_additional_section_has_the_addresses_of_the_service(wire, service, addresses):
    answer = wire(f"_http._tcp.{service}", "SRV")
    assert {record.name for record in answer.additional} == {f"{service}."}
    assert [(record.type, record.data) for record in answer.additional] == addresses


@pytest.mark.parametrize(
    ("text", "service"),
    [("10.96.0.4", FOUR), ("10.96.0.46", DUAL), ("fd00:96::6", SIX), ("fd00:96::46", DUAL)],
)
def test_2_3_3_each_virtual_address_has_a_ptr_record_to_its_service(wire, text, service):
    """In reverse order, by number below in-addr.arpa, by nibble below ip6.arpa."""
    answer = wire(reverse(text), "PTR")
    assert [(record.name, record.data) for record in answer.answer] == [(f"{reverse(text)}.", f"{service}.")]


# --- 2.4: a headless Service


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [("A", ["10.244.0.2", "10.244.0.3", "10.244.1.2"]), ("AAAA", ["fd00:244::2", "fd00:244::3"])],
)
def test_2_4_1_a_headless_service_has_an_address_record_for_each_ready_endpoint(wire, kind, addresses):
    answer = wire(PEERS, kind)
    assert [(record.name, record.data) for record in answer.answer] == [(f"{PEERS}.", text) for text in addresses]


@pytest.mark.parametrize("kind", ["A", "AAAA", "SRV"])
@pytest.mark.parametrize("name", ["lonely", "empty"])
def test_2_4_1_without_a_ready_endpoint_the_name_does_not_exist(wire, name, kind):
    assert wire(f"{name}.{SVC}", kind).status == "NXDOMAIN"


@pytest.mark.parametrize(
    ("kind", "addresses"), [("A", ["10.244.0.2", "10.244.1.2"]), ("AAAA", ["fd00:244::2"])]
)  # fmt: skip
def test_2_4_1_a_hostname_has_an_address_record_for_each_of_its_addresses(wire, kind, addresses):
    answer = wire(f"peer-0.{PEERS}", kind)
    assert [(record.name, record.data) for record in answer.answer] == [
        (f"peer-0.{PEERS}.", text) for text in addresses
    ]


def test_2_4_1_an_endpoint_needs_no_port_for_that(wire):
    assert wire(f"portless.{SVC}", "A").data("A") == ["10.244.3.2"]
    assert wire(f"only.portless.{SVC}", "A").data("A") == ["10.244.3.2"]


@pytest.mark.parametrize(("port", "number"), [("http", "8080"), ("metrics", "9100")])
def test_2_4_2_each_named_port_of_each_ready_endpoint_has_an_srv_record(wire, port, number):
    """As many as there are hostnames, for each port; they lead to the hostnames, and those exist."""
    answer = wire(f"_{port}._tcp.{PEERS}", "SRV")
    hosts = ["10-244-0-3", "fd00-244--3", "peer-0"]
    assert sorted(targets(answer)) == [f"{host}.{PEERS}." for host in hosts]
    assert {data.split()[2] for data in answer.data("SRV")} == {number}
    for target in targets(answer):
        assert wire(target, "A").answer or wire(target, "AAAA").answer


def test_2_4_2_priority_and_weight_share_the_load_evenly(wire):
    assert len({tuple(data.split()[:2]) for data in wire(f"_http._tcp.{PEERS}", "SRV").data("SRV")}) == 1


@pytest.mark.parametrize("prefix", ["_80._tcp", "_._tcp"])
def test_2_4_2_an_unnamed_port_has_no_srv_record(wire, prefix):
    assert wire(f"{prefix}.bare.{SVC}", "SRV").data("SRV") == []


def test_2_4_2_the_additional_section_has_the_addresses_of_the_hostnames(wire):
    answer = wire(f"_http._tcp.{PEERS}", "SRV")
    assert [(record.name, record.data) for record in answer.additional] == [
        (f"10-244-0-3.{PEERS}.", "10.244.0.3"),
        (f"fd00-244--3.{PEERS}.", "fd00:244::3"),
        (f"peer-0.{PEERS}.", "10.244.0.2"),
        (f"peer-0.{PEERS}.", "10.244.1.2"),
        (f"peer-0.{PEERS}.", "fd00:244::2"),
    ]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("10.244.0.2", "peer-0"),
        ("10.244.1.2", "peer-0"),
        ("10.244.0.3", "10-244-0-3"),
        ("fd00:244::2", "peer-0"),
        ("fd00:244::3", "fd00-244--3"),
    ],
)
def test_2_4_3_the_address_of_a_ready_endpoint_has_a_ptr_record_to_its_hostname(wire, text, host):
    answer = wire(reverse(text), "PTR")
    assert [(record.name, record.data) for record in answer.answer] == [(f"{reverse(text)}.", f"{host}.{PEERS}.")]


# --- 2.5: a Service of type ExternalName


def test_2_5_an_external_name_is_a_cname_record(wire):
    answer = wire(f"out.{SVC}", "CNAME")
    assert [(record.name, record.data) for record in answer.answer] == [(f"out.{SVC}.", "www.example.com.")]


def test_2_5_who_asks_for_an_address_gets_the_alias_and_what_it_leads_to(wire):
    answer = wire(f"out.{SVC}", "A")
    assert [(record.name, record.type, record.data) for record in answer.answer] == [
        (f"out.{SVC}.", "CNAME", "www.example.com."),
        ("www.example.com.", "A", "192.0.2.7"),
    ]


def test_2_5_within_the_cluster_as_well(wire):
    answer = wire(f"inward.{SVC}", "A")
    assert [(record.name, record.type, record.data) for record in answer.answer] == [
        (f"four.other.svc.{Z}.", "A", "10.96.1.4"),
        (f"inward.{SVC}.", "CNAME", f"four.other.svc.{Z}."),
    ]


# --- 2.6: names of pods, deprecated but required


@pytest.mark.parametrize("text", ["10.244.0.2", "0.0.0.0", "255.255.255.255", "192.0.2.99"])
def test_2_6_an_ipv4_address_with_dashes_below_pod_is_that_address(wire, text):
    name = f"{text.replace('.', '-')}.default.pod.{Z}"
    answer = wire(name, "A")
    assert [(record.name, record.data) for record in answer.answer] == [(f"{name}.", text)]


@pytest.mark.parametrize("name", ["256-0-0-1", "1-2-3", "1-2-3-4-5", "a-b-c-d"])
def test_2_6_what_is_no_address_is_no_name(wire, name):
    assert wire(f"{name}.default.pod.{Z}", "A").status == "NXDOMAIN"


# --- 3: extensions


def test_3_what_there_is_besides_takes_nothing_away(wire):
    """The names that extensions use, such as the zone's own name server, are none that the schema gives a meaning."""
    assert wire(Z, "NS").data("NS") == [f"ns.dns.{Z}."]
    assert wire(Z, "SOA").data("SOA")
    assert wire(f"dns.default.svc.{Z}", "A").status == "NXDOMAIN"
