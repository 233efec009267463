"""What a cluster is to be, as data: from defaults, a YAML file and flags, checked before anything is touched.

A file holds the same fields in camelCase:

    name: dev
    nodes: 3              # or a list: [{name: edge, labels: {zone: a}, taints: [{key: edge, effect: NoSchedule}]}]
    apiPort: 6443
    dns: {nodeLocal: true}
    ingress: true         # the ingress controller, as class nginx
    isolated: true        # no way out to the machine's network; or allowHostLoopback: true (`outbound.py`)
    hostNetwork: true     # the machine itself reaches nodes, pods and Services (docs/reach.md)
    network: {nodes: 10.2.2.0/24, pods: 10.244.0.0/16, services: 10.96.0.0/12, domain: cluster.local}
    loadBalancer: {enabled: true, pools: [{name: default, addresses: [10.2.2.200-10.2.2.250]}]}

`components.py` turns a ClusterConfig into the processes that make it real.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from sampan.cluster import loadbalancing
from sampan.cluster.loadbalancing import LoadBalancer
from sampan.cluster.paths import DEFAULT_NAME
from sampan.loadbalancer.pools import Pool
from sampan.machinery import names, schema

MAX_NODES = 200
FIRST_NODE_HOST = 10
NODE_LOCAL_ADDRESS = "169.254.20.10"
OUTBOUND_RANGES = ("169.254.77.0/24", "198.18.77.0/24", "100.127.77.0/24", "192.0.2.0/24")
"""Networks that no machine has beyond a router, tried in this order."""

_SPECIAL = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
"""This network, loopback, link-local, multicast: the API server refuses them in Endpoints and EndpointSlices."""

IPv4Network = ipaddress.IPv4Network
Store = Literal["sqlite", "memory"]
ProxyMode = Literal["nftables", "iptables", "ipvs", "userspace"]
Protocol = Literal["TCP", "UDP", "SCTP"]
_CHOICES = {"`$.store`": Store, "`$.proxyMode`": ProxyMode, "].protocol`": Literal["TCP", "UDP"]}


class ConfigError(ValueError):
    """The configuration cannot work; each line of the message names a field and says why."""


class _Data(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class Taint(_Data, frozen=True):
    key: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    value: str = ""


class ExtraMount(_Data, frozen=True):
    """A file or directory of the machine at a path of a node, where pods' hostPath volumes find it; kind's fields."""

    host_path: str
    container_path: str
    read_only: bool = False
    selinux_relabel: bool = False
    propagation: str = "None"


class PortMapping(_Data, frozen=True):
    """A port of the machine that leads to one of a node, under kind's names. `host_port` 0: any free one."""

    container_port: int
    host_port: int = 0
    listen_address: str = "127.0.0.1"
    protocol: Protocol = "TCP"


class NodeConfig(_Data, frozen=True):
    """One node. Without a name it is node-1, node-2…"""

    name: str = ""
    labels: dict[str, str] = {}
    taints: list[Taint] = []
    extra_mounts: list[ExtraMount] = []
    extra_port_mappings: list[PortMapping] = []


class Network(_Data, frozen=True):
    """The address ranges, all IPv4. Nodes get .10, .11… of theirs; each has a /24 of the pods'."""

    nodes: str = "10.2.2.0/24"
    pods: str = "10.244.0.0/16"
    services: str = "10.96.0.0/12"
    domain: str = "cluster.local"
    node_ports: str = "30000-32767"


class DNS(_Data, frozen=True):
    """How names are answered. `node_local`: by a server on each node too, which pods ask first."""

    node_local: bool = False


class ClusterConfig(_Data, frozen=True):
    """A whole cluster. `api_port` 0 means the first free one from 6443."""

    name: str = DEFAULT_NAME
    nodes: int | list[NodeConfig] = 3
    api_port: int = 0
    kubernetes_version: str = "1.36"
    store: Store = "sqlite"
    proxy_mode: ProxyMode = "nftables"
    network: Network = Network()
    dns: DNS = DNS()
    ingress: bool = False
    isolated: bool = False
    allow_host_loopback: bool = False
    host_network: bool = False
    load_balancer: LoadBalancer = LoadBalancer()

    @property
    def node_list(self) -> list[NodeConfig]:
        """Every node with its name filled in."""
        given = [NodeConfig()] * self.nodes if isinstance(self.nodes, int) else self.nodes
        return [
            node if node.name else msgspec.structs.replace(node, name=f"node-{number}")
            for number, node in enumerate(given, 1)
        ]

    @property
    def ranges(self) -> tuple[str, ...]:
        """Networks that are the cluster's own: pods', nodes', Services'."""
        return (self.network.pods, self.network.nodes, self.network.services)

    @property
    def outbound_range(self) -> str:
        """The /24 between the box and the world; empty if the cluster is isolated or its ranges leave none."""
        taken = [IPv4Network(one) for one in (*self.ranges, f"{NODE_LOCAL_ADDRESS}/32")]
        free = (one for one in OUTBOUND_RANGES if not any(IPv4Network(one).overlaps(other) for other in taken))
        return "" if self.isolated else next(free, "")

    @property
    def gateway(self) -> str:
        """The box's own address on the nodes' LAN, where the API server listens."""
        return str(IPv4Network(self.network.nodes)[1])

    @property
    def host_ip(self) -> str:
        """The machine's own address beside the nodes, with `host_network`."""
        return str(IPv4Network(self.network.nodes)[2])

    def node_ip(self, index: int) -> str:
        return str(IPv4Network(self.network.nodes)[FIRST_NODE_HOST + index])

    @property
    def load_balancer_pools(self) -> tuple[Pool, ...]:
        """Where Services of type LoadBalancer get their addresses from."""
        lan = IPv4Network(self.network.nodes)
        return loadbalancing.pools(self.load_balancer, lan, len(self.node_list), FIRST_NODE_HOST)

    def pod_cidr(self, index: int) -> str:
        """The index-th /24 of the pods' range."""
        base = int(IPv4Network(self.network.pods).network_address) + (index << 8)
        return f"{ipaddress.IPv4Address(base)}/24"

    @property
    def lan_prefix(self) -> int:
        return IPv4Network(self.network.nodes).prefixlen

    @property
    def dns_ip(self) -> str:
        return str(IPv4Network(self.network.services)[10])

    @property
    def dns_servers(self) -> tuple[str, ...]:
        """Whom pods ask, in this order: while the node's own server is away, the cluster's answers."""
        return (NODE_LOCAL_ADDRESS, self.dns_ip) if self.dns.node_local else (self.dns_ip,)

    @property
    def kubernetes_ip(self) -> str:
        """The ClusterIP of the Service `kubernetes`."""
        return str(IPv4Network(self.network.services)[1])

    @property
    def node_port_range(self) -> tuple[int, int]:
        low, _, high = self.network.node_ports.partition("-")
        return int(low), int(high)


def read_file(path: Path) -> dict[str, Any]:
    """The fields given in a YAML file. Raises ConfigError, OSError."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected fields such as 'nodes: 3' at the top")
    return document


def build(fields: dict[str, Any], *, source: str = "configuration") -> ClusterConfig:
    """A checked ClusterConfig from plain data. Raises ConfigError that tells everything that is wrong."""
    try:
        config = msgspec.convert(fields, ClusterConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}{_choices(str(error))}") from error
    problems = list(_problems(config))
    if problems:
        raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems))
    return config


def located(config: ClusterConfig) -> ClusterConfig:
    """With the machine's paths absolute, as seen from the working directory. Raises ConfigError if one is not there."""
    if isinstance(config.nodes, int):
        return config
    nodes = []
    for node in config.nodes:
        found = [msgspec.structs.replace(one, host_path=os.path.abspath(one.host_path)) for one in node.extra_mounts]
        for mount in found:
            if not Path(mount.host_path).exists():
                raise ConfigError(f"extraMounts: hostPath: {mount.host_path} does not exist")
            if Path(os.path.realpath(mount.host_path)).parts[1:2] in (("run",), ("proc",), ("sys",)):
                raise ConfigError(
                    f"extraMounts: hostPath: {mount.host_path}: the box has its own of it, not the machine's"
                )
        nodes.append(msgspec.structs.replace(node, extra_mounts=found))
    return msgspec.structs.replace(config, nodes=nodes)


def _choices(problem: str) -> str:
    """What could be chosen instead, if the problem is a choice."""
    offered = [get_args(kind) for field, kind in _CHOICES.items() if problem.endswith(field)]
    return f"; choose from {', '.join(offered[0])}" if offered else ""


def _problems(config: ClusterConfig) -> Iterator[str]:
    yield from (f"name: {config.name!r}: {problem}" for problem in names.dns1123_label(config.name))
    if len(config.name) > 40:
        yield f"name: {config.name!r} is longer than 40 characters"
    if not 0 <= config.api_port <= 65535:
        yield f"apiPort: {config.api_port} is not a port"
    if problem := schema.release_problem(config.kubernetes_version):
        yield f"kubernetesVersion: {problem}"
    if config.isolated and config.allow_host_loopback:
        yield "allowHostLoopback: the cluster is isolated: choose one of the two"
    yield from _node_problems(config)
    ranges = list(_ranges(config.network))
    yield from (problem for _, _, problem in ranges if problem)
    if not any(problem for _, _, problem in ranges):
        yield from _fit_problems(config)


def _node_problems(config: ClusterConfig) -> Iterator[str]:
    count = config.nodes if isinstance(config.nodes, int) else len(config.nodes)
    if not 1 <= count <= MAX_NODES:
        yield f"nodes: {count}: must be from 1 to {MAX_NODES}"
        return
    seen: set[str] = set()
    for index, node in enumerate(config.node_list):
        yield from (f"nodes[{index}].name: {node.name!r}: {problem}" for problem in names.dns1123_subdomain(node.name))
        if node.name in seen:
            yield f"nodes[{index}].name: {node.name!r} is used twice"
        seen.add(node.name)
        for key, value in node.labels.items():
            yield from (f"nodes[{index}].labels: {key!r}: {problem}" for problem in names.qualified_name(key))
            yield from (f"nodes[{index}].labels[{key}]: {problem}" for problem in names.label_value(value))
        covered: dict[Path, int] = {}
        for number, mount in enumerate(node.extra_mounts):
            field = f"nodes[{index}].extraMounts[{number}]"
            yield from (f"{field}.{problem}" for problem in _mount_problems(mount))
            first = covered.setdefault(Path("/", mount.container_path), number)
            if first != number:
                yield f"{field}.containerPath: {mount.container_path!r} is used by extraMounts[{first}] already"
    yield from _mapping_problems(config)


def _mount_problems(mount: ExtraMount) -> Iterator[str]:
    for field, text in (("hostPath", mount.host_path), ("containerPath", mount.container_path)):
        if not text or "\0" in text:
            yield f"{field}: {text!r} is not a path"
        elif ".." in Path(text).parts:
            yield f"{field}: {text!r} must not contain '..'"
    target = Path("/", mount.container_path)  # as for kind, a relative one starts at the root
    if target.parts[1:2] in ((), ("dev",), ("proc",), ("sys",)):
        yield f"containerPath: {mount.container_path!r} is the machine's own on every node"
    if mount.propagation not in ("", "None"):
        yield f"propagation: {mount.propagation!r} is not supported: only None is"
    if mount.selinux_relabel:
        yield "selinuxRelabel: is not supported"


def _mapping_problems(config: ClusterConfig) -> Iterator[str]:
    taken = {("TCP", "127.0.0.1", config.api_port): "apiPort"}
    for index, node in enumerate(config.node_list):
        for number, mapping in enumerate(node.extra_port_mappings):
            field = f"nodes[{index}].extraPortMappings[{number}]"
            if mapping.protocol == "SCTP":
                yield f"{field}.protocol: SCTP is not supported; choose TCP or UDP"
            if not 1 <= mapping.container_port <= 65535:
                yield f"{field}.containerPort: {mapping.container_port} is not a port"
            if not 0 <= mapping.host_port <= 65535:
                yield f"{field}.hostPort: {mapping.host_port} is not a port; 0 takes any free one"
            try:
                ipaddress.ip_address(mapping.listen_address)
            except ValueError:
                yield f"{field}.listenAddress: {mapping.listen_address!r} is not an IP address"
            place = (mapping.protocol, mapping.listen_address, mapping.host_port)
            if mapping.host_port and place in taken:
                yield f"{field}.hostPort: {mapping.host_port}/{mapping.protocol} is used by {taken[place]} already"
            taken[place] = field


def _ranges(network: Network) -> Iterator[tuple[str, IPv4Network | None, str]]:
    for field in ("nodes", "pods", "services"):
        text = getattr(network, field)
        try:
            found = IPv4Network(text)
        except ValueError as error:
            yield f"network.{field}", None, f"network.{field}: {error}"
            continue
        special = next((one for one in _SPECIAL if found.subnet_of(IPv4Network(one))), "")
        problem = f"network.{field}: {text} is of {special}, whose addresses no endpoint may have" if special else ""
        yield f"network.{field}", found, problem
    low, _, high = network.node_ports.partition("-")
    if not (low.isdigit() and high.isdigit() and 0 < int(low) <= int(high) <= 65535):
        problem = f"network.nodePorts: {network.node_ports!r}: expected FIRST-LAST, as in 30000-32767"
        yield "network.nodePorts", None, problem


def _fit_problems(config: ClusterConfig) -> Iterator[str]:
    count = len(config.node_list)
    given = [(field, network) for field, network, _ in _ranges(config.network) if network is not None]
    for index, (field, network) in enumerate(given):
        for other_field, other in given[:index]:
            if network.overlaps(other):
                yield f"{field}: {network} overlaps {other_field} {other}"
    by_field = dict(given)
    if by_field["network.nodes"].num_addresses < FIRST_NODE_HOST + count + 1:
        yield f"network.nodes: {config.network.nodes} has no room for {count} nodes"
    else:
        node_ips = [config.node_ip(index) for index in range(count)]
        yield from loadbalancing.problems(config.load_balancer, by_field["network.nodes"], node_ips, FIRST_NODE_HOST)
    if by_field["network.pods"].num_addresses < count << 8:
        yield f"network.pods: {config.network.pods} has no /24 for each of {count} nodes"
    if not config.isolated and not config.outbound_range:
        yield "network: the ranges leave none for the way out: make them smaller, or set isolated: true"
    if by_field["network.services"].num_addresses < 32:
        yield f"network.services: {config.network.services}: must hold at least 32 addresses"
