"""The rules of node_rules.py in the words of iptables, for kernels without nftables for IPv4. Pure.

They stand in chains of their own, behind the proxy's in the kernel's.
"""

from collections.abc import Iterable, Mapping, Sequence

from sampan.node.node_rules import HostPort, everywhere, in_order

MASQUERADE, GUARD, OWN = "SAMPAN-PODS", "SAMPAN-GUARD", "SAMPAN-OWN"
PORTS, HAIRPIN = "SAMPAN-PORTS", "SAMPAN-HAIRPIN"

Rules = Mapping[str, Mapping[str, Sequence[str]]]
"""By table and chain; the chains are ours, and hold just these."""

JUMPS = {
    MASQUERADE: (f"-A POSTROUTING -j {MASQUERADE}",),
    GUARD: (f"-A PREROUTING -j {GUARD}",),
    OWN: (f"-A FORWARD -j {OWN}",),
    PORTS: tuple(f"-A {chain} -m addrtype --dst-type LOCAL -j {PORTS}" for chain in ("PREROUTING", "OUTPUT")),
    HAIRPIN: (f"-A POSTROUTING -j {HAIRPIN}",),
}
"""What leads from the kernel's chains to ours, as iptables-save prints it."""


def masquerade(pod_cidr: str, direct: Sequence[str], own: Sequence[str] = ()) -> Rules:
    """As node_rules.masquerade."""
    return {
        "nat": {MASQUERADE: [*(f"-d {each} -j RETURN" for each in sorted(direct)), f"-s {pod_cidr} -j MASQUERADE"]},
        "raw": {GUARD: ["! -i lo -d 127.0.0.0/8 -j DROP"]},
        "filter": {OWN: [f"-d {each} -j REJECT --reject-with icmp-port-unreachable" for each in sorted(own)]},
    }


def host_ports(mappings: Sequence[tuple[HostPort, str]], services: Sequence[str] = ()) -> Rules:
    """As node_rules.host_ports."""
    pods = sorted({address for _, address in mappings})
    hairpin = [f"-s {address} -d {address} -j MASQUERADE" for address in pods]
    from_loopback = ["-s 127.0.0.0/8 -m conntrack --ctstate DNAT -j MASQUERADE"] if mappings else []
    return {
        "nat": {
            PORTS: [
                *(f"-d {each} -j RETURN" for each in sorted(services)),
                *(_destination(port, address) for port, address in in_order(mappings)),
            ],
            HAIRPIN: [*from_loopback, *hairpin],
        }
    }


def text(rules: Rules, present: Mapping[str, Sequence[str]]) -> str:
    """Input of `iptables-restore --noflush`: fills our chains, and adds jumps that are not among the lines present."""
    lines: list[str] = []
    for table, chains in rules.items():
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in chains)]
        for chain, contents in chains.items():
            lines += [f"-A {chain} {rule}" for rule in contents]
            lines += _lacking(JUMPS[chain], present[table])
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


def _lacking(jumps: Iterable[str], present: Sequence[str]) -> list[str]:
    return [jump for jump in jumps if jump not in present]


def _destination(port: HostPort, address: str) -> str:
    here = "" if everywhere(port) else f"-d {port.host_ip} "
    protocol = port.protocol.lower()
    return f"{here}-p {protocol} --dport {port.host_port} -j DNAT --to-destination {address}:{port.container_port}"
