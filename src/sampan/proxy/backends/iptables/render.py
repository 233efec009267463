"""The words of iptables-restore: the fixed chains, the shared ones, and a table's part of an input. Pure.

plan.py decides which inputs, in which order, bring the kernel from what it has to what it should have.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sampan.proxy.backends.iptables import names
from sampan.proxy.backends.iptables.rules import PortRules
from sampan.proxy.state import ServicePortName

Rendered = Mapping[ServicePortName, PortRules]
Lines = dict[tuple[str, str], list[str]]
"""The rules of some chains, by (table, chain)."""

NEW = "-m conntrack --ctstate NEW"
VISIBLE = '-m comment --comment "kubernetes externally-visible service portals"'
JUMPS = {
    "nat": (
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    ),
    "filter": (
        f'-A INPUT {NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
        f'-A OUTPUT {NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
        f'-A FORWARD {NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
        f"-A INPUT {NEW} {VISIBLE} -j KUBE-EXTERNAL-SERVICES",
        f"-A FORWARD {NEW} {VISIBLE} -j KUBE-EXTERNAL-SERVICES",
        f'-A FORWARD {NEW} -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        f'-A OUTPUT {NEW} -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
    ),
}
"""What leads from the kernel's chains to ours, as iptables-save prints it."""

LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
GUARD = (
    f"-A {names.FIREWALL} ! -s {LOOPBACK[4]} -d {LOOPBACK[4]}"
    ' -m comment --comment "block incoming localnet connections"'
    " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
)
"""With node ports at 127.0.0.1 the kernel routes such addresses; nobody else shall reach what listens there by that."""

SHARED = {
    "nat": (names.SERVICES, names.NODE_PORTS),
    "filter": (names.SERVICES, names.EXTERNAL_SERVICES, names.FIREWALL),
}
FIXED = {"nat": (names.POSTROUTING, names.MARK_MASQ), "filter": (names.FORWARD,)}


@dataclass(slots=True)
class Table:
    """One table's part of an input: chains to fill anew, lines, and chains to empty or delete."""

    chains: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def fill(self, chain: str, lines: Iterable[str]) -> None:
        """Let a chain have exactly these lines."""
        self.chains.append(chain)
        self.lines += lines

    def extend(self, other: "Table") -> None:
        self.chains += other.chains
        self.lines += other.lines
        self.deleted += other.deleted

    def text(self, name: str) -> str:
        if not (self.chains or self.lines or self.deleted):
            return ""
        declared = [f":{chain} - [0:0]" for chain in dict.fromkeys((*self.chains, *self.deleted))]
        dropped = [f"-X {chain}" for chain in self.deleted]
        return "\n".join([f"*{name}", *declared, *self.lines, *dropped, "COMMIT", ""])


@dataclass(frozen=True, slots=True)
class Fixed:
    """What the fixed rules depend on. Without `node_port_ips`, every local address serves node ports.

    `loopback` are the loopback addresses that do not; empty if all do, and then they are kept from others.
    """

    mark: str = "0x4000"
    node_port_ips: tuple[str, ...] = ()
    random_fully: bool = True
    drop_invalid: bool = True
    loopback: str = LOOPBACK[4]


def fixed_lines(fixed: Fixed) -> Lines:
    """The rules of the chains that never change."""
    mark, full = fixed.mark, " --random-fully" if fixed.random_fully else ""
    snat = '-m comment --comment "kubernetes service traffic requiring SNAT"'
    forward = '-m comment --comment "kubernetes forwarding rules"'
    related = '-m comment --comment "kubernetes forwarding conntrack rule"'
    return {
        ("filter", names.FORWARD): [
            *([f"-A {names.FORWARD} -m conntrack --ctstate INVALID -j DROP"] if fixed.drop_invalid else []),
            f"-A {names.FORWARD} {forward} -m mark --mark {mark}/{mark} -j ACCEPT",
            f"-A {names.FORWARD} {related} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ],
        ("nat", names.POSTROUTING): [
            f"-A {names.POSTROUTING} -m mark ! --mark {mark}/{mark} -j RETURN",
            f"-A {names.POSTROUTING} -j MARK --set-xmark {mark}/0x0",
            f"-A {names.POSTROUTING} {snat} -j MASQUERADE{full}",
        ],
        ("nat", names.MARK_MASQ): [f"-A {names.MARK_MASQ} -j MARK --set-xmark {mark}/{mark}"],
    }


def shared_lines(ports: Iterable[PortRules], fixed: Fixed) -> Lines:
    """The rules of the chains in which every service port has lines, by (table, chain), in the order given."""
    ordered = list(ports)
    note = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
    comment = f'-m comment --comment "{note}"'
    if fixed.node_port_ips:
        last = [f"-A {names.SERVICES} -d {ip} {comment} -j {names.NODE_PORTS}" for ip in fixed.node_port_ips]
    else:
        others = f"! -d {fixed.loopback} " if fixed.loopback else ""
        last = [f"-A {names.SERVICES} {others}{comment} -m addrtype --dst-type LOCAL -j {names.NODE_PORTS}"]
    return {
        ("nat", names.SERVICES): [*_all(each.services for each in ordered), *last],
        ("nat", names.NODE_PORTS): _all(each.node_ports for each in ordered),
        ("filter", names.SERVICES): _all(each.filter_services for each in ordered),
        ("filter", names.EXTERNAL_SERVICES): _all(each.filter_external for each in ordered),
        ("filter", names.FIREWALL): [*_all(each.firewall for each in ordered), *([] if fixed.loopback else [GUARD])],
    }


def _all(groups: Iterable[Iterable[str]]) -> list[str]:
    return [line for group in groups for line in group]


def whole(rendered: Rendered, fixed: Fixed) -> str:
    """The input that makes everything of nothing, for people to read. What is applied is plan.py's."""
    ordered = [port for _, port in sorted(rendered.items())]
    tables = {"filter": Table(), "nat": Table()}
    for (name, chain), lines in (fixed_lines(fixed) | shared_lines(ordered, fixed)).items():
        tables[name].fill(chain, lines)
    for name, table in tables.items():
        table.lines += [jump.replace("-A ", "-I ", 1) for jump in reversed(JUMPS[name])]
    for port in ordered:
        for chain, lines in port.chains.items():
            tables["nat"].fill(chain, lines)
    return "".join(table.text(name) for name, table in tables.items())
