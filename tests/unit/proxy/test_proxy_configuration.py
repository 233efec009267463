"""KubeProxyConfiguration files: what is understood, refused and warned of, and what comes of it."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import proxy_options
from sampan.cli.errors import CommandError
from sampan.client.resources import NODES
from sampan.client.rest import Client
from sampan.machinery.durations import seconds
from sampan.proxy.configuration import Configuration, ConfigurationError, ConntrackSection, parse
from sampan.proxy.conntrack import PREFIX, parameters
from sampan.proxy.options import ProxyOptions
from support.apiserver import running_apiserver

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

KUBEADM = (
    HEAD
    + """\
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null,
            tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s,
       tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"""
)


def test_the_file_that_kubeadm_writes_is_understood() -> None:
    found, warnings = parse(KUBEADM)
    assert found.cluster_cidr == "10.244.0.0/16"
    assert found.client_connection.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert found.masquerade("nftables") == found.masquerade("iptables") == (False, 14)
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: 5", "mode: Expected str, got int"),
        ("iptables: {masqueradeBit: fourteen}", "iptables.masqueradeBit: Expected int | null, got str"),
        ("nodePortAddresses: [10.0.0.0/8, 7]", "nodePortAddresses[1]: Expected str, got int"),
        ("conntrack: [1]", "conntrack: Expected object, got array"),
        ("conntrack: {udpTimeout: soon}", "conntrack.udpTimeout: 'soon' is no duration such as 1h30m or 500ms"),
        ("ipvs: {syncPeriod: 30}", "ipvs.syncPeriod: Expected str, got int"),
        ("ipvs: {excludeCIDRs: [10.0.0.0/8, all]}", "ipvs.excludeCIDRs[1]: 'all' is no CIDR such as 10.0.0.0/8"),
        ("colour: blue\niptables: {masqeradeAll: true}", "colour: unknown field; iptables.masqeradeAll: unknown field"),
        (
            "conntrack: {udpTimeout: -1s}",
            "conntrack.udpTimeout: Invalid value: '-1s': must be greater than or equal to 0",
        ),
        ("conntrack: {min: -1}", "conntrack.min: Invalid value: -1: must be greater than or equal to 0"),
        ("oomScoreAdj: 1001", "oomScoreAdj: Invalid value: 1001: must be within the range [-1000, 1000]"),
        (
            "iptables: {masqueradeBit: 32}",
            "iptables.masqueradeBit: Invalid value: 32: must be within the range [0, 31]",
        ),
        ("bindAddress: here", "bindAddress: Invalid value: 'here': not a valid textual representation of an IP"),
        ("clusterCIDR: 10.0.0.0", "clusterCIDR: Invalid value: '10.0.0.0': must be a valid CIDR block"),
        (
            "clusterCIDR: '10.0.0.0/8,10.1.0.0/16'",
            "clusterCIDR: Invalid value: '10.0.0.0/8,10.1.0.0/16': must be a single",
        ),
        ("nodePortAddresses: [primary, 10.0.0.0/8]", "nodePortAddresses: Invalid value: ['primary', '10.0.0.0/8']"),
        ("nodePortAddresses: [10.0.0.0/8, 10.0.0.1]", "nodePortAddresses[1]: '10.0.0.1' is no CIDR"),
        ("detectLocalMode: Guess", "detectLocalMode: Unsupported value: 'Guess': supported values: 'ClusterCIDR'"),
        ("detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface: Required value"),
        ("detectLocalMode: InterfaceNamePrefix", "detectLocal.interfaceNamePrefix: Required value"),
        (
            "oomScoreAdj: 1001\nbindAddress: x",
            "oomScoreAdj: Invalid value: 1001: must be within the range [-1000, 1000]; b",
        ),
        ("mode: [", "not YAML"),
    ],
)
def test_what_has_the_wrong_type_is_refused_with_its_path(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(HEAD + text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a KubeProxyConfiguration, got list"),
        ("apiVersion: v1\nkind: Pod", "apiVersion: expected 'kubeproxy.config.k8s.io/v1alpha1', got 'v1'"),
        ("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Pod", "kind: expected 'KubeProxyConfiguration'"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


def test_fields_that_are_deprecated_or_without_effect_are_told_of() -> None:
    """A file for an old release still starts a proxy."""
    old = "udpIdleTimeout: 250ms\nconntrack: {max: 0}\nmode: ipvs\n"
    _, warnings = parse(HEAD + old + "iptables: {minSyncPeriod: 1s}\nlogging: {format: json}\nconfigSyncPeriod: 15m")
    assert warnings == [
        "udpIdleTimeout is ignored: upstream has it no more",
        "conntrack.max is ignored: upstream has it no more",
        "mode: ipvs is deprecated: upstream has deprecated it in 1.35; nftables does what it does",
        "iptables.minSyncPeriod has no effect: events gather while a sync is under way",
        "configSyncPeriod has no effect: changes are followed as they happen, and nothing is read again",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("-1s", -1),
        ("24h0m0s", 24 * 3600),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "1h5", "h", "1 h", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        seconds(text)


@pytest.mark.parametrize(
    ("section", "cores", "expected"),
    [
        (ConntrackSection(), 2, {"max": 131072, "tcp_timeout_established": 86400, "tcp_timeout_close_wait": 3600}),
        (ConntrackSection(), 8, {"max": 262144, "tcp_timeout_established": 86400, "tcp_timeout_close_wait": 3600}),
        (ConntrackSection(max_per_core=0, tcp_established_timeout="0s", tcp_close_wait_timeout="0"), 8, {}),
        (
            ConntrackSection(max_per_core=1000, min=5000, tcp_established_timeout="1h", tcp_close_wait_timeout="5m",
                             tcp_be_liberal=True, udp_timeout="10s", udp_stream_timeout="2m"),
            2,
            {"max": 5000, "tcp_timeout_established": 3600, "tcp_timeout_close_wait": 300, "udp_timeout": 10,
             "udp_timeout_stream": 120, "tcp_be_liberal": 1},
        ),
    ],
)  # fmt: skip
def test_conntrack_parameters(section: ConntrackSection, cores: int, expected: dict[str, int]) -> None:
    assert parameters(section, cores) == {PREFIX + name: value for name, value in expected.items()}


# --- flags over file over Node over defaults

FLAGS = {
    "config": None, "node_name": "node-1", "mode": None, "cluster_cidr": None, "nodeport_addresses": None,
    "detect_local_mode": None, "pod_bridge_interface": None, "pod_interface_name_prefix": None,
    "masquerade_all": False, "healthz_bind_address": None, "metrics_bind_address": None,
}  # fmt: skip


def options(file: str = "", **flags: Any) -> ProxyOptions:
    async def ask() -> ProxyOptions:
        async with running_apiserver() as config:
            client = Client(config)
            made = {"metadata": {"name": "node-1"}, "spec": {"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"]}}
            await client.create(NODES, made)
            status = {"status": {"addresses": [{"type": "Hostname", "address": "x"},
                                               {"type": "InternalIP", "address": "10.2.2.10"}]}}  # fmt: skip
            await client.patch(NODES, "node-1", status, subresource="status")
            await client.close()
            return await proxy_options.options_for(wanted, config)

    configuration = parse(HEAD + file)[0] if file else Configuration()
    wanted = proxy_options.Given(argparse.Namespace(**{**FLAGS, **flags}), configuration)
    return asyncio.run(ask())


def test_the_node_says_its_addresses_and_defaults_are_upstreams() -> None:
    found = options()
    assert found.node_ips == ("10.2.2.10",)
    assert (found.mode, found.cluster_cidr, found.masquerade_bit) == ("nftables", "", 14)
    assert (found.healthz_address, found.healthz_port) == ("0.0.0.0", 10256)
    assert (found.metrics_address, found.metrics_port) == ("127.0.0.1", 10249)


def test_the_file_says_the_rest_and_flags_take_precedence() -> None:
    file = """
mode: iptables
clusterCIDR: 10.1.0.0/16
nodePortAddresses: [192.0.2.0/24]
iptables: {masqueradeAll: true, masqueradeBit: 10}
healthzBindAddress: "[::1]:1000"
metricsBindAddress: ":2000"
"""
    found = options(file)
    assert (found.mode, found.cluster_cidr, found.node_port_addresses) == ("iptables", "10.1.0.0/16", ("192.0.2.0/24",))
    assert (found.masquerade_all, found.masquerade_bit) == (True, 10)
    assert (found.healthz_address, found.healthz_port) == ("::1", 1000)
    assert (found.metrics_address, found.metrics_port) == ("127.0.0.1", 2000)
    flags = {"mode": "userspace", "cluster_cidr": "10.2.0.0/16", "nodeport_addresses": "primary"}
    found = options(file, **flags)
    assert (found.mode, found.cluster_cidr, found.node_port_addresses) == ("userspace", "10.2.0.0/16", ())


def test_the_ipvs_section_reaches_the_backend() -> None:
    section = "ipvs: {scheduler: wlc, excludeCIDRs: [192.0.2.0/24], strictARP: true, tcpTimeout: 15m, udpTimeout: 5s,"
    found = options(f"mode: ipvs\n{section} tcpFinTimeout: 1m30s}}")
    assert (found.mode, found.ipvs_scheduler, found.ipvs_strict_arp) == ("ipvs", "wlc", True)
    assert found.ipvs_exclude_cidrs == ("192.0.2.0/24",)
    assert found.ipvs_timeouts == (900, 90, 5)


def test_the_pods_network_can_be_the_nodes_own() -> None:
    """Whatever the cluster's is: what comes from other nodes' pods is masqueraded then."""
    assert options("detectLocalMode: NodeCIDR").cluster_cidr == "10.244.7.0/24"
    assert options("detectLocalMode: NodeCIDR\nclusterCIDR: 10.244.0.0/16").cluster_cidr == "10.244.7.0/24"


@pytest.mark.parametrize(
    ("file", "flags", "expected"),
    [
        ("detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cbr0}", {}, "cbr0"),
        ("detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}", {}, "veth+"),
        ("detectLocal: {interfaceNamePrefix: veth}", {"detect_local_mode": "InterfaceNamePrefix"}, "veth+"),
        ("", {"detect_local_mode": "BridgeInterface", "pod_bridge_interface": "cni0"}, "cni0"),
        ("detectLocalMode: ClusterCIDR\ndetectLocal: {bridgeInterface: cbr0}", {}, ""),
    ],
)
def test_pods_can_be_told_by_an_interface(file: str, flags: dict[str, str], expected: str) -> None:
    """Then no network counts."""
    found = options(f"clusterCIDR: 10.244.0.0/16\n{file}", **flags)
    assert found.pods_interface == expected
    assert found.cluster_cidrs == (() if expected else ("10.244.0.0/16",))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"detect_local_mode": "Guess"}, "--detect-local-mode: 'Guess' is none of ClusterCIDR"),
        ({"detect_local_mode": "BridgeInterface"}, "needs --pod-bridge-interface"),
    ],
)
def test_flags_that_do_not_say_who_is_a_pod_are_refused(flags: dict[str, str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        options(**flags)


def test_the_primary_addresses_restrict_iptables_and_are_the_others_default() -> None:
    """Left alone, iptables serves node ports at every local address."""
    assert options("mode: iptables").node_port_addresses == ()
    assert options("mode: iptables\nnodePortAddresses: [primary]").node_port_addresses == ("10.2.2.10/32",)
    assert options("nodePortAddresses: [primary]").node_port_addresses == ()


@pytest.mark.parametrize(("text", "expected"), [("", True), ("null", True), ("true", True), ("false", False)])
def test_node_ports_at_the_loopback_address_are_the_default(text: str, expected: bool) -> None:
    assert options(f"iptables: {{localhostNodePorts: {text}}}" if text else "").localhost_node_ports == expected


def test_how_willingly_the_process_dies_and_that_it_must_listen_come_from_the_file() -> None:
    wanted = proxy_options.Given(argparse.Namespace(**FLAGS), parse(HEAD + "oomScoreAdj: -5")[0])
    assert wanted.oom_score_adj == -5
    assert proxy_options.Given(argparse.Namespace(**FLAGS), Configuration()).oom_score_adj == -999
    assert options("bindAddressHardFail: true").must_listen
    assert not options().must_listen


def test_a_change_of_the_mode_in_the_file_is_followed_unless_a_flag_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(HEAD + "mode: iptables")
    given = proxy_options.given(argparse.Namespace(**{**FLAGS, "config": path}))
    assert given.mode == "iptables"
    assert given.mode_file is not None
    path.write_text(HEAD + "mode: userspace")
    assert given.mode_file.read(path) == "userspace"
    assert proxy_options.given(argparse.Namespace(**{**FLAGS, "config": path, "mode": "ipvs"})).mode_file is None


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        proxy_options.given(argparse.Namespace(**{**FLAGS, "config": tmp_path / "none"}))


@pytest.mark.parametrize("text", ["host:port", "1.2.3.4:0", "1.2.3.4:70000"])
def test_addresses_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(CommandError, match="no address to listen at"):
        options(healthz_bind_address=text)


def test_a_node_without_an_address_needs_a_bind_address() -> None:
    async def ask(file: str) -> ProxyOptions:
        async with running_apiserver() as config:
            client = Client(config)
            await client.create(NODES, {"metadata": {"name": "node-1"}})
            await client.close()
            wanted = proxy_options.Given(argparse.Namespace(**FLAGS), parse(HEAD + file)[0])
            return await proxy_options.options_for(wanted, config)

    with pytest.raises(CommandError, match="node node-1 has no InternalIP"):
        asyncio.run(ask(""))
    assert asyncio.run(ask("bindAddress: 192.0.2.1")).node_ips == ("192.0.2.1",)
