"""What a KubeProxyConfiguration must not say, checked as upstream checks it: every wrong value, with its path. Pure.

configuration.py has read the file by then, so that types are right; what is no duration has been refused there.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.proxy.configuration import Configuration

PRIMARY = "primary"
CLUSTER_CIDR, NODE_CIDR = "ClusterCIDR", "NodeCIDR"
BRIDGE, PREFIX = "BridgeInterface", "InterfaceNamePrefix"
LOCAL_MODES = (CLUSTER_CIDR, NODE_CIDR, BRIDGE, PREFIX)


def problems(file: "Configuration") -> Iterator[str]:
    """Each in words, its path first."""
    yield from _between("oomScoreAdj", file.oom_score_adj, -1000, 1000)
    yield from _between("iptables.masqueradeBit", file.iptables.masquerade_bit, 0, 31)
    yield from _between("nftables.masqueradeBit", file.nftables.masquerade_bit, 0, 31)
    yield from _not_negative("conntrack.maxPerCore", file.conntrack.max_per_core)
    yield from _not_negative("conntrack.min", file.conntrack.min)
    yield from _address("bindAddress", file.bind_address)
    yield from _cluster_cidrs(file.cluster_cidr)
    yield from _cidrs("ipvs.excludeCIDRs", file.ipvs.exclude_cidrs or ())
    yield from _node_port_addresses(file.node_port_addresses or ())
    yield from _local_mode(file)


def _between(path: str, value: int | None, least: int, most: int) -> Iterator[str]:
    if value is not None and not least <= value <= most:
        yield f"{path}: Invalid value: {value}: must be within the range [{least}, {most}]"


def _not_negative(path: str, value: int | None) -> Iterator[str]:
    if value is not None and value < 0:
        yield f"{path}: Invalid value: {value}: must be greater than or equal to 0"


def _address(path: str, ip: str) -> Iterator[str]:
    try:
        ipaddress.ip_address(ip or "0.0.0.0")
    except ValueError:
        yield f"{path}: Invalid value: {ip!r}: not a valid textual representation of an IP address"


def _cidrs(path: str, cidrs: Iterable[str]) -> Iterator[str]:
    for index, cidr in enumerate(cidrs):
        if _network(cidr) is None:
            yield f"{path}[{index}]: {cidr!r} is no CIDR such as 10.0.0.0/8"


def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(cidr.strip(), strict=False) if "/" in cidr else None
    except ValueError:
        return None


def _cluster_cidrs(text: str) -> Iterator[str]:
    cidrs = text.split(",") if text else []
    found = [_network(cidr) for cidr in cidrs]
    if None in found:
        yield f"clusterCIDR: Invalid value: {text!r}: must be a valid CIDR block (e.g. 10.100.0.0/16)"
    elif len({each.version for each in found if each}) != len(found):
        yield f"clusterCIDR: Invalid value: {text!r}: must be a single CIDR or one of each family"


def _node_port_addresses(addresses: Iterable[str]) -> Iterator[str]:
    given = list(addresses)
    if PRIMARY in given and len(given) > 1:
        yield f"nodePortAddresses: Invalid value: {given}: can't use both {PRIMARY!r} and CIDRs"
    else:
        yield from _cidrs("nodePortAddresses", [each for each in given if each != PRIMARY])


def _local_mode(file: "Configuration") -> Iterator[str]:
    mode = file.detect_local_mode
    if mode and mode not in LOCAL_MODES:
        yield f"detectLocalMode: Unsupported value: {mode!r}: supported values: {', '.join(map(repr, LOCAL_MODES))}"
    if mode == BRIDGE and not file.detect_local.bridge_interface:
        yield f"detectLocal.bridgeInterface: Required value: detectLocalMode is {BRIDGE}"
    if mode == PREFIX and not file.detect_local.interface_name_prefix:
        yield f"detectLocal.interfaceNamePrefix: Required value: detectLocalMode is {PREFIX}"
