"""A cluster's configuration is complete by default and refused, field by field, where it cannot work."""

from pathlib import Path
from typing import Any

import pytest

from sampan.cluster.config import ClusterConfig, ConfigError, build, located, read_file


def test_the_default_is_three_nodes_at_the_documented_addresses() -> None:
    config = build({})
    assert [node.name for node in config.node_list] == ["node-1", "node-2", "node-3"]
    assert [config.node_ip(index) for index in range(3)] == ["10.2.2.10", "10.2.2.11", "10.2.2.12"]
    assert [config.pod_cidr(index) for index in range(3)] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    assert (config.gateway, config.lan_prefix) == ("10.2.2.1", 24)
    assert (config.kubernetes_ip, config.dns_ip) == ("10.96.0.1", "10.96.0.10")
    assert config.node_port_range == (30000, 32767)


def test_nodes_may_be_described_one_by_one() -> None:
    fields = {
        "nodes": [{"name": "edge", "labels": {"zone": "a"}, "taints": [{"key": "k", "effect": "NoSchedule"}]}, {}]
    }
    edge, second = build(fields).node_list
    assert (edge.name, edge.labels, edge.taints[0].key) == ("edge", {"zone": "a"}, "k")
    assert second.name == "node-2"


def test_pods_ask_their_node_first_where_it_answers() -> None:
    assert build({}).dns_servers == ("10.96.0.10",)
    assert build({"dns": {"nodeLocal": True}}).dns_servers == ("169.254.20.10", "10.96.0.10")


def test_the_way_out_has_a_range_beside_all_of_the_clusters() -> None:
    assert build({}).outbound_range == "169.254.77.0/24"
    assert build({"network": {"nodes": "168.0.0.0/6"}}).outbound_range == "198.18.77.0/24"
    assert build({"isolated": True}).outbound_range == ""


def test_mounts_of_a_node_are_written_as_for_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    mount = {"hostPath": "./data", "containerPath": "/data", "readOnly": True, "propagation": "None"}
    (found,) = located(build({"nodes": [{"extraMounts": [mount]}]})).node_list[0].extra_mounts
    assert (found.host_path, found.container_path, found.read_only) == (str(tmp_path / "data"), "/data", True)
    with pytest.raises(ConfigError, match=r"hostPath: .*/none does not exist"):
        located(build({"nodes": [{"extraMounts": [mount | {"hostPath": "none"}]}]}))
    with pytest.raises(ConfigError, match="the box has its own"):
        located(build({"nodes": [{"extraMounts": [mount | {"hostPath": "/var/run"}]}]}))


MOUNT = {"hostPath": "/srv", "containerPath": "/data"}


def _mounting(**fields: Any) -> dict[str, Any]:
    return {"nodes": [{"extraMounts": [MOUNT | fields]}]}


def mapped(*mappings: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": [{"extraPortMappings": list(mappings)}]}


def test_ports_of_the_machine_are_mapped_by_kinds_fields_and_kept_to_the_loopback_by_default() -> None:
    config = build(mapped({"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}))
    tcp, udp = config.node_list[0].extra_port_mappings
    assert (tcp.container_port, tcp.host_port, tcp.listen_address, tcp.protocol) == (80, 0, "127.0.0.1", "TCP")
    assert (udp.container_port, udp.host_port, udp.protocol) == (53, 5353, "UDP")


def test_the_machine_has_an_address_of_its_own_beside_the_nodes() -> None:
    assert build({"hostNetwork": True, "network": {"nodes": "172.30.0.0/28"}}).host_ip == "172.30.0.2"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["10.2.2.200-10.2.2.250"]),
        ({"nodes": 200}, ["10.2.2.210-10.2.2.250"]),
        ({"network": {"nodes": "192.168.7.0/24"}}, ["192.168.7.200-192.168.7.250"]),
        ({"network": {"nodes": "10.2.0.0/16"}}, ["10.2.255.200-10.2.255.250"]),
        ({"network": {"nodes": "10.2.2.0/28"}}, ["10.2.2.13-10.2.2.14"]),
        ({"network": {"nodes": "10.2.2.0/28"}, "nodes": 5}, []),
        ({"loadBalancer": {"pools": [{"addresses": ["10.2.2.192/28"]}]}}, ["10.2.2.192-10.2.2.207"]),
        ({"loadBalancer": {"pools": []}}, []),
        ({"loadBalancer": {"enabled": False}}, []),
    ],
)
def test_load_balancers_get_addresses_of_the_lan_that_nobody_else_has(fields: dict[str, Any], expected: list[str]):
    pools = build(fields).load_balancer_pools
    assert [str(one) for pool in pools for one in pool.ranges] == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"isolated": True, "allowHostLoopback": True}, "allowHostLoopback: the cluster is isolated"),
        (
            {"network": {"nodes": "0.0.0.0/2", "pods": "64.0.0.0/2", "services": "128.0.0.0/1"}},
            "leave none for the way out",
        ),
        (_mounting(propagation="Bidirectional"), "propagation: 'Bidirectional' is not supported"),
        (_mounting(selinuxRelabel=True), "selinuxRelabel: is not supported"),
        (_mounting(containerPath="/"), "containerPath: '/' is the machine's own"),
        (_mounting(containerPath="proc/x"), "containerPath: 'proc/x' is the machine's own"),
        (_mounting(containerPath="/a/../b"), "must not contain"),
        (_mounting(hostPath=""), "hostPath: '' is not a path"),
        (mapped({"hostPort": 80}), "missing required field `containerPort`"),
        (mapped({"containerPort": 0}), "nodes[0].extraPortMappings[0].containerPort: 0 is not a port"),
        (mapped({"containerPort": 80, "hostPort": 70000}), "hostPort: 70000 is not a port"),
        (
            mapped({"containerPort": 80, "listenAddress": "localhost"}),
            "listenAddress: 'localhost' is not an IP address",
        ),
        (mapped({"containerPort": 80, "protocol": "SCTP"}), "protocol: SCTP is not supported; choose TCP or UDP"),
        (mapped({"containerPort": 80, "protocol": "tcp"}), "choose from TCP, UDP"),
        (
            mapped({"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}),
            "[1].hostPort: 8080/TCP is used by nodes[0].extraPortMappings[0] already",
        ),
        (mapped({"containerPort": 80, "hostPort": 6443}) | {"apiPort": 6443}, "hostPort: 6443/TCP is used by apiPort"),
        ({"hostNetwork": "yes"}, "$.hostNetwork"),
        ({"name": "Dev"}, "name: 'Dev'"),
        ({"name": "x" * 41}, "longer than 40"),
        ({"nodes": 0}, "nodes: 0: must be from 1 to 200"),
        ({"nodes": 201}, "nodes: 201"),
        ({"nodes": "three"}, "nodes"),
        ({"nodes": [{"name": "a"}, {"name": "a"}]}, "'a' is used twice"),
        ({"nodes": [{"name": "node-2"}, {}]}, "'node-2' is used twice"),
        ({"nodes": [{"name": "a_b"}]}, "nodes[0].name: 'a_b'"),
        ({"nodes": [{"labels": {"": "x"}}]}, "nodes[0].labels"),
        ({"nodes": [{"labels": {"a": "b c"}}]}, "nodes[0].labels[a]"),
        ({"nodes": [{"taints": [{"key": "a", "effect": "Never"}]}]}, "$.nodes[0].taints[0].effect"),
        (
            {"nodes": [{"extraMounts": [MOUNT, MOUNT | {"hostPath": "/etc", "containerPath": "data/"}]}]},
            "nodes[0].extraMounts[1].containerPath: 'data/' is used by extraMounts[0] already",
        ),
        ({"apiPort": 70000}, "apiPort: 70000"),
        ({"store": "mysql"}, "$.store"),
        ({"proxyMode": "magic"}, "$.proxyMode"),
        ({"colour": "red"}, "colour"),
        ({"dns": {"nodeLocal": "yes"}}, "$.dns.nodeLocal"),
        ({"dns": True}, "$.dns"),
        ({"loadBalancer": True}, "$.loadBalancer"),
        (
            {"loadBalancer": {"pools": [{"addresses": ["10.2.2.1-10.2.2.9"]}]}},
            "10.2.2.1, which is the gateway's",
        ),
        (
            {"loadBalancer": {"pools": [{"addresses": ["10.2.2.12-10.2.2.20"]}]}},
            "10.2.2.12, which is a node's",
        ),
        ({"loadBalancer": {"pools": [{"addresses": ["10.2.2.2"]}]}}, "10.2.2.2, which is the machine's address"),
        ({"loadBalancer": {"pools": [{"addresses": ["10.2.2.192/26"]}]}}, "10.2.2.255, which is the LAN's broadcast"),
        ({"loadBalancer": {"pools": [{"addresses": ["10.3.0.0/24"]}]}}, "not within network.nodes 10.2.2.0/24"),
        ({"loadBalancer": {"pools": [{"addresses": ["fd00::/120"]}]}}, "not within network.nodes 10.2.2.0/24"),
        ({"loadBalancer": {"pools": [{"addresses": ["ten"]}]}}, "loadBalancer.pools[0].addresses[0]"),
        ({"network": {"pods": "10.2.0.0/16"}}, "network.pods: 10.2.0.0/16 overlaps network.nodes 10.2.2.0/24"),
        ({"network": {"nodes": "10.2.2.7/24"}}, "network.nodes: 10.2.2.7/24 has host bits set"),
        ({"network": {"nodes": "10.2.2.0/28"}, "nodes": 10}, "has no room for 10 nodes"),
        ({"network": {"pods": "10.244.0.0/23"}}, "network.pods: 10.244.0.0/23 has no /24 for each of 3 nodes"),
        ({"network": {"nodes": "127.0.0.0/24"}}, "network.nodes: 127.0.0.0/24 is of 127.0.0.0/8"),
        ({"network": {"nodes": "169.254.64.0/18"}}, "network.nodes: 169.254.64.0/18 is of 169.254.0.0/16"),
        ({"network": {"pods": "224.0.0.0/16"}}, "network.pods: 224.0.0.0/16 is of 224.0.0.0/4"),
        ({"network": {"services": "10.96.0.0/28"}}, "must hold at least 32"),
        ({"network": {"nodePorts": "32767-30000"}}, "network.nodePorts"),
        ({"network": {"nodePorts": "many"}}, "network.nodePorts"),
    ],
)
def test_what_cannot_work_is_refused_with_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(fields, source="cluster.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("cluster.yaml: ")


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        build({"name": "-", "nodes": 0, "network": {"pods": "x"}})
    assert len(str(refused.value).splitlines()) == 3


def test_a_file_gives_fields_and_a_broken_one_says_why(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("name: dev\nnodes: 2\nnetwork: {domain: example.org}\n")
    config = build(read_file(path))
    assert (config.name, len(config.node_list), config.network.domain) == ("dev", 2, "example.org")
    path.write_text("")
    assert build(read_file(path)) == ClusterConfig()
    for broken in ("- a list", "a: b: c", "just words"):
        path.write_text(broken)
        with pytest.raises(ConfigError, match=str(path)):
            read_file(path)
