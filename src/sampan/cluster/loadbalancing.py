"""The `loadBalancer` section of a cluster's configuration: its pools, checked against the nodes' LAN.

loadBalancer:
  pools: [{name: default, addresses: [10.2.2.200-10.2.2.250], autoAssign: true, avoidBuggyIPs: false}]
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

import msgspec

from sampan.loadbalancer.pools import Pool, PoolConfig, PoolError, Range, compile_pools, to_text

IPv4Network = ipaddress.IPv4Network
DEFAULT_FIRST, DEFAULT_LAST = 56, 6
"""The default pool, counted from the end of the LAN: of 10.2.2.0/24 it is 10.2.2.200-10.2.2.250."""


class LoadBalancer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whether Services of type LoadBalancer get addresses, and from which pools; by default one pool."""

    enabled: bool = True
    pools: list[PoolConfig] | None = None


def pools(config: LoadBalancer, lan: IPv4Network, node_count: int, first_node: int) -> tuple[Pool, ...]:
    """The pools of a cluster whose nodes have `node_count` addresses of its LAN from its `first_node`-th. Raises
    PoolError."""
    if not config.enabled:
        return ()
    if config.pools is not None:
        return compile_pools(config.pools)
    first = max(lan.num_addresses - DEFAULT_FIRST, first_node + node_count)
    last = lan.num_addresses - (DEFAULT_LAST if first <= lan.num_addresses - DEFAULT_LAST else 2)
    if first > last:
        return ()
    return compile_pools([PoolConfig(addresses=[f"{lan[first]}-{lan[last]}"])])


def problems(config: LoadBalancer, lan: IPv4Network, node_ips: Sequence[str], first_node: int) -> Iterator[str]:
    """Validation errors: ranges outside the LAN, and ranges with addresses that are in use."""
    try:
        found = pools(config, lan, len(node_ips), first_node)
    except PoolError as error:
        yield from (f"loadBalancer.{line}" for line in str(error).splitlines())
        return
    used = {
        int(lan[0]): "the LAN's own",
        int(lan[1]): "the gateway's",
        int(lan[2]): "the machine's",
        int(lan[-1]): "the LAN's broadcast",
    }
    used |= {int(ipaddress.IPv4Address(ip)): "a node's" for ip in node_ips}
    for pool in found:
        for one in pool.ranges:
            yield from _range_problems(f"loadBalancer.pools: {one} of {pool.name!r}", one, lan, used)


def _range_problems(what: str, one: Range, lan: IPv4Network, used: dict[int, str]) -> Iterator[str]:
    if one.family != 4 or one.first < int(lan[0]) or one.last > int(lan[-1]):
        yield f"{what} is not within network.nodes {lan}"
        return
    taken = next((number for number in used if one.first <= number <= one.last), None)
    if taken is not None:
        yield f"{what} contains {to_text(4, taken)}, which is {used[taken]} address"
