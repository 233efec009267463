"""What an explanation makes of a node's virtual servers, addresses, sets and rules: first as they should be."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from sampan.kernel.ipvs import FLAG_PERSISTENT, Real, RealState, Service, Traffic
from sampan.proxy.backends.ipvs import rules, sets
from sampan.proxy.explain.facts import DROPPED, ENDPOINTS, MISSING, REFUSED, Destination, Rule
from sampan.proxy.explain.ipvs import Seen, ipvs_rule

IP = "10.96.5.5"
CLUSTER_IP = Destination(ip=IP, protocol="TCP", port=80)
NODE_PORT = Destination(ip="10.2.2.10", protocol="TCP", port=30080)
ONE, OTHER = Real("10.244.0.5", 8080), Real("10.244.0.6", 8080)
AT_CLUSTER_IP = {sets.CLUSTER_IP: [f"{IP},tcp:80"], sets.ADDRESSES: [IP]}
AT_NODE_PORT = {sets.NODE_PORT["TCP"]: ["30080"]}

MADE = rules.rules(rules.Fixed(4, ("10.244.0.0/16",)))
WHOLE = {table: [f"[7:420] {line}" for line in (*rules.JUMPS[table], *MADE[table])] for table in rules.JUMPS}
NO_JUMP = {**WHOLE, "filter": [line for line in WHOLE["filter"] if "-A OUTPUT" not in line]}
OTHERS = {**WHOLE, "nat": [line for line in WHOLE["nat"] if "--match-set" not in line]}


@dataclass(frozen=True)
class Case:
    """A destination that works, but for what is given."""

    name: str
    fault: str = ""
    outcome: str = ENDPOINTS
    targets: tuple[str, ...] = ("10.244.0.5:8080",)
    at: Destination = CLUSTER_IP
    outside: bool = False
    service: Service | None = field(default_factory=lambda: Service("rr"))
    reals: dict[Real, RealState] = field(default_factory=lambda: {ONE: RealState(1, 2, 3)})
    device: str = "kube-ipvs0"
    members: dict[str, list[str]] = field(default_factory=lambda: AT_CLUSTER_IP)
    rules: dict[str, list[str]] = field(default_factory=lambda: WHOLE)
    conntrack: bool = True

    def rule(self) -> Rule:
        traffic = Traffic(5, 600)
        seen = Seen(self.service, traffic, self.reals, self.device, self.members, self.rules, self.conntrack)
        return ipvs_rule(self.at, self.outside, seen)


AT_NODE: dict[str, Any] = {"at": NODE_PORT, "device": "the node's own", "members": AT_NODE_PORT, "outside": True}
NO_LOCAL = {**AT_NODE_PORT, sets.NO_LOCAL_EXTERNAL: ["10.2.2.10,tcp:30080"]}
CASES = [
    Case("all is there"),
    Case("a node port", **AT_NODE),
    Case("no virtual server", outcome=MISSING, targets=(), service=None, reals={}),
    Case("no endpoint", outcome=REFUSED, targets=(), reals={}),
    Case("nothing but an endpoint that goes", outcome=REFUSED, targets=(), reals={OTHER: RealState(0, 1, 0)}),
    Case("an endpoint that goes beside another", reals={ONE: RealState(1), OTHER: RealState(0, 1, 0)}),
    Case("internal Local without an endpoint", outcome=DROPPED, targets=(),
         members={**AT_CLUSTER_IP, sets.NO_LOCAL_INTERNAL: [f"{IP},tcp:80"]}),
    Case("external Local without an endpoint, from outside", outcome=DROPPED, targets=(),
         **{**AT_NODE, "members": NO_LOCAL}),
    Case("external Local without an endpoint, from a pod",
         **{**AT_NODE, "members": NO_LOCAL, "outside": False}),
    Case("the address is nowhere", f"{IP} is not on kube-ipvs0", device=""),
    Case("the set of cluster IPs lacks it", f"KUBE-IPVS-FILTER refuses {IP} port 80", members={sets.ADDRESSES: [IP]}),
    Case("the set of node ports lacks it", "10.2.2.10 port 30080 is in none of our sets",
         **{**AT_NODE, "members": {}}),
    Case("a jump is gone", "iptables -t filter lacks -A OUTPUT", rules=NO_JUMP),
    Case("another mode's rules", "the chain KUBE-SERVICES asks no sets", rules=OTHERS),
    Case("virtual servers without conntrack", "net.ipv4.vs.conntrack is 0", conntrack=False),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_becomes_of_packets_and_what_keeps_them_away(case: Case) -> None:
    rule = case.rule()
    assert (rule.outcome, rule.targets) == (case.outcome, case.targets)
    assert rule.fault.startswith(case.fault)
    assert bool(rule.fault) == bool(case.fault)


def test_what_is_shown_is_what_documentation_prints() -> None:
    """Persistence, weights, connections, the address, the sets, and the rules that ask these sets, with counters."""
    persistent = Service("lc", FLAG_PERSISTENT, 10800)
    lines = Case("", service=persistent, reals={ONE: RealState(1, 2, 3), OTHER: RealState(0, 1, 0)}).rule().lines
    assert lines[:6] == (
        "TCP 10.96.5.5:80 lc persistent 10800: 5 connections, 600 bytes",
        "-> 10.244.0.5:8080 Masq weight 1, 2 active, 3 inactive",
        "-> 10.244.0.6:8080 Masq weight 0, 1 active, 0 inactive, taking no more connections",
        "address 10.96.5.5: on kube-ipvs0",
        "KUBE-CLUSTER-IP: 10.96.5.5,tcp:80",
        "KUBE-IPVS-IPS: 10.96.5.5",
    )
    assert all(line.startswith("[7:420] -A KUBE-") for line in lines[6:])
    assert any(line.endswith("KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ") for line in lines[6:])
    assert not any("KUBE-LOAD-BALANCER " in line for line in lines)
