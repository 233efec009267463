"""The fixed rules: whose packets are masqueraded, dropped or refused on their way to virtual servers. Pure.

They ask sets (sets.py), so they are written once and never again, whatever Services come and go. Chains are upstream's.
Packets meet them before IPVS, which stands at the end of INPUT (and, for the node's own, in OUTPUT right after nat).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.proxy.backends.ipvs import sets
from sampan.proxy.state import IPV6

CHAINS = {
    "nat": ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-MARK-MASQ"),
    "filter": (
        "KUBE-FORWARD",
        "KUBE-NODE-PORT",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SOURCE-RANGES-FIREWALL",
        "KUBE-IPVS-FILTER",
        "KUBE-IPVS-OUT-FILTER",
    ),
}

SHARED = {
    "nat": ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"),
    "filter": ("KUBE-FORWARD", "KUBE-PROXY-FIREWALL"),
}
"""Chains that the iptables mode has, too, with the same jumps: who comes second fills them anew and keeps them."""

_NEW = '-m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'
_ACCESS = '-m comment --comment "kubernetes ipvs access filter"'
JUMPS = {
    "nat": (
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
    ),
    "filter": (
        f"-A INPUT {_NEW}",
        f"-A FORWARD {_NEW}",
        f"-A OUTPUT {_NEW}",
        '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        '-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT',
        f"-A INPUT {_ACCESS} -j KUBE-IPVS-FILTER",
        f"-A OUTPUT {_ACCESS} -j KUBE-IPVS-OUT-FILTER",
    ),
}
"""What leads from the kernel's chains to ours, as iptables-save prints it."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """What the rules depend on."""

    family: int
    cluster_cidrs: tuple[str, ...] = ()
    masquerade_all: bool = False
    mark: str = "0x4000"
    interface: str = ""

    def match(self, name: str, sides: str = "dst,dst") -> str:
        return f"-m set --match-set {sets.name_of(name, self.family)} {sides}"


def rules(fixed: Fixed) -> dict[str, list[str]]:
    """The rules of all our chains."""
    return {
        "nat": [*_services(fixed), *_load_balancer(fixed), *_node_port(fixed), *_masquerade(fixed)],
        "filter": [*_forward(fixed), *_firewall(fixed), *_access(fixed)],
    }


def _services(fixed: Fixed) -> Iterable[str]:
    cluster_ip, chain = fixed.match(sets.CLUSTER_IP), "-A KUBE-SERVICES"
    note = '-m comment --comment "Kubernetes service cluster ip + port for masquerade purpose"'
    balancer = '-m comment --comment "Kubernetes service lb portal"'
    external = '-m comment --comment "Kubernetes service external ip + port for masquerade and filter purpose"'
    local = "-m addrtype --src-type LOCAL"
    yield f"{chain} {balancer} {fixed.match(sets.LOAD_BALANCER)} -j KUBE-LOAD-BALANCER"
    if fixed.masquerade_all:
        yield f"{chain} {note} {cluster_ip} -j KUBE-MARK-MASQ"
    elif fixed.interface:
        yield f"{chain} ! -i {fixed.interface} {note} {cluster_ip} -j KUBE-MARK-MASQ"
    elif fixed.cluster_cidrs:
        yield from (f"{chain} -s {cidr} {note} {cluster_ip} -j ACCEPT" for cidr in fixed.cluster_cidrs[1:])
        yield f"{chain} ! -s {fixed.cluster_cidrs[0]} {note} {cluster_ip} -j KUBE-MARK-MASQ"
    else:
        yield f"{chain} {note} {cluster_ip} {local} -j KUBE-MARK-MASQ"
    yield f"{chain} {external} {fixed.match(sets.EXTERNAL_IP)} -j KUBE-MARK-MASQ"
    yield f"{chain} {external} {fixed.match(sets.EXTERNAL_IP_LOCAL)} {local} -j KUBE-MARK-MASQ"
    for name in (sets.CLUSTER_IP, sets.LOAD_BALANCER):
        yield f"{chain} {fixed.match(name)} -j ACCEPT"
    yield f"{chain} -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT"


def _load_balancer(fixed: Fixed) -> Iterable[str]:
    note = '-m comment --comment "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"'
    yield "-A KUBE-LOAD-BALANCER -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"
    yield f"-A KUBE-LOAD-BALANCER {note} {fixed.match(sets.LOAD_BALANCER_LOCAL)} -j RETURN"
    yield "-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ"


def _node_port(fixed: Fixed) -> Iterable[str]:
    for protocol, name in sets.NODE_PORT.items():
        sides = "dst,dst" if protocol == "SCTP" else "dst"
        match = f"-A KUBE-NODE-PORT -p {protocol.lower()}"
        local = f'-m comment --comment "Kubernetes nodeport {protocol} port with externalTrafficPolicy=local"'
        note = f'-m comment --comment "Kubernetes nodeport {protocol} port for masquerade purpose"'
        yield f"{match} {local} {fixed.match(sets.NODE_PORT_LOCAL[protocol], sides)} -j RETURN"
        yield f"{match} {note} {fixed.match(name, sides)} -j KUBE-MARK-MASQ"


def _masquerade(fixed: Fixed) -> Iterable[str]:
    mark, chain = fixed.mark, "-A KUBE-POSTROUTING"
    hairpin = '-m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"'
    snat = '-m comment --comment "kubernetes service traffic requiring SNAT"'
    yield f"-A KUBE-MARK-MASQ -j MARK --set-xmark {mark}/{mark}"
    yield f"{chain} {hairpin} {fixed.match(sets.LOOP_BACK, 'dst,dst,src')} -j MASQUERADE"
    yield f"{chain} -m mark ! --mark {mark}/{mark} -j RETURN"
    yield f"{chain} -j MARK --set-xmark {mark}/0x0"
    yield f"{chain} {snat} -j MASQUERADE --random-fully"


def _forward(fixed: Fixed) -> Iterable[str]:
    note = '-m comment --comment "kubernetes forwarding rules"'
    related = '-m comment --comment "kubernetes forwarding conntrack rule"'
    yield f"-A KUBE-FORWARD {note} -m mark --mark {fixed.mark}/{fixed.mark} -j ACCEPT"
    yield f"-A KUBE-FORWARD {related} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def _firewall(fixed: Fixed) -> Iterable[str]:
    """Source ranges, and the policies that leave no endpoint on this node."""
    policy = '-m comment --comment "has no local endpoints"'
    chain, ranges = "-A KUBE-PROXY-FIREWALL", "-A KUBE-SOURCE-RANGES-FIREWALL"
    note = '-m comment --comment "Kubernetes service load balancer ip + port for load balancer with sourceRange"'
    yield f"{chain} {note} {fixed.match(sets.LOAD_BALANCER_FIREWALL)} -j KUBE-SOURCE-RANGES-FIREWALL"
    yield f"{chain} {policy} {fixed.match(sets.NO_LOCAL_INTERNAL)} -j DROP"
    yield from (f"{chain} -s {cidr} -j RETURN" for cidr in fixed.cluster_cidrs)
    if fixed.interface:
        yield f"{chain} -i {fixed.interface} -j RETURN"
    yield f"{chain} {policy} {fixed.match(sets.NO_LOCAL_EXTERNAL)} -j DROP"
    yield f"{ranges} {fixed.match(sets.SOURCE_CIDR, 'dst,dst,src')} -j RETURN"
    yield f"{ranges} {fixed.match(sets.SOURCE_IP, 'dst,dst,src')} -j RETURN"
    yield f"{ranges} -j DROP"


def _access(fixed: Fixed) -> Iterable[str]:
    """The addresses of kube-ipvs0 are the node's, but what listens on the node is not meant to be reached there."""
    health = '-m comment --comment "Kubernetes health check node port"'
    new = f"-m conntrack --ctstate NEW {fixed.match(sets.ADDRESSES, 'dst')} -j REJECT"
    ping = "-p ipv6-icmp" if fixed.family == IPV6 else "-p icmp"
    yield f"-A KUBE-NODE-PORT {health} {fixed.match(sets.HEALTH_CHECK, 'dst')} -j ACCEPT"
    for name in (sets.LOAD_BALANCER, sets.CLUSTER_IP, sets.EXTERNAL_IP, sets.EXTERNAL_IP_LOCAL):
        yield f"-A KUBE-IPVS-FILTER {fixed.match(name)} -j RETURN"
    yield f"-A KUBE-IPVS-FILTER -p tcp {fixed.match(sets.HEALTH_CHECK, 'dst')} -j RETURN"
    for chain in ("KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER"):
        yield f"-A {chain} {ping} -j RETURN"
        yield f"-A {chain} {new}"


# --- input of iptables-restore


def whole(fixed: Fixed, saved: Mapping[str, Iterable[str]]) -> str:
    """The input that makes everything right, given what iptables-save printed of each table before."""
    made = rules(fixed)
    text = ""
    for table, chains in CHAINS.items():
        present = set(saved.get(table, ()))
        jumps = [jump.replace("-A ", "-I ", 1) for jump in reversed(JUMPS[table]) if jump not in present]
        text += _input(table, chains, [*made[table], *jumps])
    return text


def removal(saved: Mapping[str, Iterable[str]]) -> str:
    """The input that removes our chains and what leads there, but leaves what the iptables mode has taken over."""
    text = ""
    ours = in_force(saved.get("nat", ()))
    for table, lines in saved.items():
        kept = () if ours else SHARED[table]
        present = {line.split()[0][1:] for line in lines if line.startswith(":")}
        chains = [chain for chain in CHAINS[table] if chain in present and chain not in kept]
        jumps = [line for line in lines if line in JUMPS[table] and line.split()[-1] not in kept]
        changes = [*(jump.replace("-A ", "-D ", 1) for jump in jumps), *(f"-X {chain}" for chain in chains)]
        text += _input(table, chains, changes) if changes else ""
    return text


def in_force(nat: Iterable[str]) -> bool:
    """Whether the chains that two modes share are filled by this one: only this one's ask sets."""
    return any(line.startswith("-A KUBE-SERVICES ") and "--match-set" in line for line in nat)


def _input(table: str, chains: Iterable[str], lines: Iterable[str]) -> str:
    return "\n".join([f"*{table}", *(f":{chain} - [0:0]" for chain in chains), *lines, "COMMIT", ""])
