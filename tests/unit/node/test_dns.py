"""resolv.conf by dnsPolicy."""

import pytest

from sampan.api.core_v1 import Pod, PodDNSConfig, PodDNSOption, PodSpec
from sampan.api.meta_v1 import ObjectMeta
from sampan.node.dns import ResolvConf, for_pod, parse

HOST = ResolvConf(("192.0.2.53",), (), ("timeout:1",))
CLUSTER = "nameserver 10.96.0.10\nsearch jds.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
NODE = "nameserver 192.0.2.53\noptions timeout:1\n"


def text(host: ResolvConf = HOST, **spec: object) -> str:
    pod = Pod(metadata=ObjectMeta(namespace="jds"), spec=PodSpec(**spec))  # type: ignore[arg-type]
    return for_pod(pod, ["10.96.0.10"], "cluster.local", host).render()


@pytest.mark.parametrize(
    ("policy", "host_network", "expected"),
    [
        ("ClusterFirst", False, CLUSTER),
        ("ClusterFirst", True, NODE),
        ("ClusterFirstWithHostNet", True, CLUSTER),
        ("Default", False, NODE),
        ("None", False, ""),
    ],
)
def test_each_policy(policy: str, host_network: bool, expected: str) -> None:
    assert text(dns_policy=policy, host_network=host_network) == expected


def test_the_hosts_search_domains_follow_the_clusters() -> None:
    assert "cluster.local example.com\n" in text(ResolvConf(("192.0.2.53",), ("example.com",)))


def test_dns_config_adds_servers_and_searches_and_overrides_options() -> None:
    config = PodDNSConfig(
        nameservers=("1.1.1.1", "10.96.0.10"),
        searches=("my.dns",),
        options=(PodDNSOption(name="ndots", value="2"), PodDNSOption(name="edns0")),
    )
    lines = text(dns_config=config).splitlines()
    assert lines[:2] == ["nameserver 10.96.0.10", "nameserver 1.1.1.1"]
    assert lines[2].endswith("cluster.local my.dns")
    assert lines[3] == "options ndots:2 edns0"


def test_policy_none_uses_only_what_is_given() -> None:
    config = PodDNSConfig(nameservers=("1.2.3.4",), searches=("a.b",))
    assert text(dns_policy="None", dns_config=config) == "nameserver 1.2.3.4\nsearch a.b\n"


def test_a_resolv_conf_is_read_as_the_resolver_reads_it() -> None:
    parsed = parse("# c\nnameserver 1.1.1.1\nsearch a b\nsearch c .\noptions ndots:1 edns0\nnonsense\n")
    assert parsed == ResolvConf(("1.1.1.1",), ("c",), ("ndots:1", "edns0"))
