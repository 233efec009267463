"""nftables rules that a node needs beside the proxy's: masquerading of pods' traffic to the world, and host ports.

The two are texts for nft(8), each replacing its own table as a whole, in one transaction. Pure; `node_firewall.py` has
the kernel take them.
"""

from collections.abc import Iterable, Sequence

import msgspec

MASQUERADE_TABLE = "sampan-pods"
HOST_PORT_TABLE = "sampan-host-ports"
_EVERY_ADDRESS = ("", "0.0.0.0")


class HostPort(msgspec.Struct, frozen=True):
    """A port of the node that leads to a port of a pod."""

    host_port: int
    container_port: int
    protocol: str = "TCP"
    host_ip: str = ""


def masquerade(pod_cidr: str, direct: Sequence[str], own: Sequence[str] = ()) -> str:
    """Give packets that pods send out of the cluster the node's address.

    Host ports on the node's 127.0.0.1 need `route_localnet`; the guard keeps others from reaching what listens there.
    What pods send to an address that is the node's `own` and is not there at the moment is refused at once.
    """
    refusal = [
        "chain own {",
        "  type filter hook forward priority filter; policy accept;",
        f"  ip daddr {{ {', '.join(sorted(own))} }} reject with icmp port-unreachable",
        "}",
    ]
    return _table(
        MASQUERADE_TABLE,
        "chain postrouting {",
        "  type nat hook postrouting priority srcnat + 10; policy accept;",
        f"  ip saddr {pod_cidr} ip daddr != {{ {', '.join(sorted(direct))} }} masquerade",
        "}",
        "chain guard {",
        "  type filter hook prerouting priority raw; policy accept;",
        '  iifname != "lo" ip daddr 127.0.0.0/8 drop',
        "}",
        *(refusal if own else ()),
    )


def host_ports(mappings: Sequence[tuple[HostPort, str]], services: Sequence[str] = ()) -> str:
    """Lead ports of the node to pods, given as (port, pod address); also for the node's own packets and hairpins.

    Addresses of `services` (networks) are never meant, although the proxy's ipvs mode gives them to the node.
    """
    ours = "fib daddr type local" + (f" ip daddr != {{ {', '.join(sorted(services))} }}" if services else "")
    rules = [_destination(port, address) for port, address in in_order(mappings)]
    if not rules:
        return _table(HOST_PORT_TABLE, "chain ports { }")
    return _table(
        HOST_PORT_TABLE,
        "chain ports {",
        *(f"  {rule}" for rule in rules),
        "}",
        f"chain prerouting {{ type nat hook prerouting priority dstnat; {ours} jump ports; }}",
        f"chain output {{ type nat hook output priority -100; {ours} jump ports; }}",
        "chain postrouting {",
        "  type nat hook postrouting priority srcnat;",
        "  ct status dnat ip saddr 127.0.0.0/8 masquerade",
        *(f"  ip saddr {address} ip daddr {address} masquerade" for address in sorted({a for _, a in mappings})),
        "}",
    )


def everywhere(port: HostPort) -> bool:
    """Whether it is a port of all addresses of the node."""
    return port.host_ip in _EVERY_ADDRESS


def in_order(mappings: Iterable[tuple[HostPort, str]]) -> list[tuple[HostPort, str]]:
    """Ports of one address before those of all: the first rule that fits decides."""
    return sorted(mappings, key=_order)


def _order(mapping: tuple[HostPort, str]) -> tuple[bool, str, int, str]:
    port, address = mapping
    return (everywhere(port), port.protocol, port.host_port, address)


def _destination(port: HostPort, address: str) -> str:
    here = "" if everywhere(port) else f"ip daddr {port.host_ip} "
    return f"{here}{port.protocol.lower()} dport {port.host_port} dnat ip to {address}:{port.container_port}"


def _table(name: str, *lines: str) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"table ip {name} {{}}\ndelete table ip {name}\ntable ip {name} {{\n{body}\n}}\n"
