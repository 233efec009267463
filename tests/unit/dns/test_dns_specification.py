"""The Kubernetes DNS specification 1.1, sentence by sentence, read back from the wire. The section is in each name."""

import dns.rcode
import pytest

Z = "cluster.local"
NS = f"default.svc.{Z}"
DUAL, PEERS = f"dual.{NS}", f"peers.{NS}"


def data(section):
    return sorted(rdata.to_text() for rrset in section for rdata in rrset)


def test_2_2_the_schema_version_is_in_a_txt_record(ask):
    assert data(ask(f"dns-version.{Z}", "TXT").answer) == ['"1.1.0"']


def test_2_3_1_a_service_with_an_ipv4_cluster_ip_has_an_a_record_with_it(ask):
    assert data(ask(DUAL, "A").answer) == ["10.96.0.6"]


def test_2_3_1_a_service_with_an_ipv6_cluster_ip_has_an_aaaa_record_with_it(ask):
    assert data(ask(DUAL, "AAAA").answer) == ["fd00::6"]


def test_2_3_1_a_question_is_in_the_form_service_ns_svc_zone(ask):
    assert ask(f"dual.default.{Z}").rcode() == dns.rcode.NXDOMAIN
    assert ask(f"dual.svc.{Z}").rcode() == dns.rcode.NXDOMAIN


def test_2_3_2_each_named_port_has_an_srv_record_that_leads_to_the_service(ask):
    assert data(ask(f"_http._tcp.{DUAL}", "SRV").answer) == [f"0 100 80 {DUAL}."]


def test_2_3_2_the_addresses_of_the_srv_target_are_in_the_additional_section(ask):
    assert data(ask(f"_http._tcp.{DUAL}", "SRV").additional) == ["10.96.0.6", "fd00::6"]


def test_2_3_2_a_port_without_a_name_has_no_srv_record_of_its_own(ask):
    answers = [ask(f"{name}.web.{NS}", "SRV").answer for name in ("_81._tcp", "_._tcp", "_none._tcp")]
    assert answers == [[], [], []]


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("5.0.96.10.in-addr.arpa", "web"),
        ("6.0.96.10.in-addr.arpa", "dual"),
        ("6.0.0.0" + ".0" * 24 + ".0.0.d.f.ip6.arpa", "dual"),
    ],
)
def test_2_3_3_a_cluster_ip_has_a_ptr_record_to_the_service(ask, name, service):
    assert data(ask(name, "PTR").answer) == [f"{service}.{NS}."]


def test_2_4_1_a_headless_service_has_an_a_record_for_each_ready_endpoint(ask):
    assert data(ask(PEERS).answer) == ["10.244.0.2", "10.244.1.3"]


def test_2_4_1_and_an_aaaa_record_for_each_ready_ipv6_endpoint(ask):
    assert data(ask(PEERS, "AAAA").answer) == ["fd00::1:2"]


def test_2_4_1_without_ready_endpoints_the_answer_is_nxdomain(ask):
    assert ask(f"lonely.{NS}").rcode() == dns.rcode.NXDOMAIN


def test_2_4_1_unready_endpoints_to_be_published_count_as_ready(ask, cluster, make):
    """publishNotReadyAddresses makes the controller mark them so in the slice."""
    endpoints = [{"addresses": ["10.244.1.9"], "conditions": {"ready": True, "serving": False}}]
    cluster.set_slice(None, make.endpoint_slice("lonely", endpoints, name="lonely-2"))
    assert data(ask(f"lonely.{NS}").answer) == ["10.244.1.9"]


def test_2_4_1_each_endpoint_has_a_name_of_its_own_its_hostname_if_it_has_one(ask):
    assert data(ask(f"peer-0.{PEERS}").answer) == ["10.244.0.2"]


def test_2_4_1_otherwise_one_that_the_system_makes_and_srv_and_ptr_agree_on(ask):
    (name,) = {target.split()[3] for target in data(ask(PEERS, "SRV").answer) if "10-244-1-3" in target}
    assert data(ask(name).answer) == ["10.244.1.3"]
    assert data(ask("3.1.244.10.in-addr.arpa", "PTR").answer) == [name]


def test_2_4_1_endpoints_may_be_called_as_their_pods(asker, cluster, make):
    endpoints = [{"addresses": ["10.244.5.5"], "targetRef": {"kind": "Pod", "name": "peer-x"}}]
    cluster.set_slice(None, make.endpoint_slice("peers", endpoints, name="peers-pods"))
    ask = asker(". {\nkubernetes cluster.local {\nendpoint_pod_names\n}\n}")
    assert data(ask(f"peer-x.{PEERS}").answer) == ["10.244.5.5"]


def test_2_4_2_each_ready_endpoint_has_an_srv_record_for_each_named_port(ask):
    targets = {text.split()[3] for text in data(ask(f"_http._tcp.{PEERS}", "SRV").answer)}
    assert targets == {f"{host}.{PEERS}." for host in ("peer-0", "10-244-1-3", "fd00--1-2")}


def test_2_4_3_a_ready_endpoint_has_a_ptr_record_to_its_name(ask):
    assert data(ask("2.0.244.10.in-addr.arpa", "PTR").answer) == [f"peer-0.{PEERS}."]


def test_2_4_3_an_endpoint_that_is_not_ready_has_none(ask):
    ask("4.1.244.10.in-addr.arpa", "PTR")
    assert ask.outside == [("4.1.244.10.in-addr.arpa", 12)]


def test_2_5_an_external_name_service_has_a_cname_record(ask):
    assert data(ask(f"out.{NS}", "CNAME").answer) == ["example.com."]


def test_there_are_no_wildcards(ask):
    for name in ("*", "any", "*.default", "any.any"):
        assert ask(f"{name}.svc.{Z}").rcode() == dns.rcode.NXDOMAIN
    assert ask(f"*.{PEERS}").rcode() == dns.rcode.NXDOMAIN
    assert ask(f"any.any.{PEERS}", "SRV").rcode() == dns.rcode.NXDOMAIN


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
