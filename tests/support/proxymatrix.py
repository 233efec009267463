"""Every combination of who asks, what for, under which policy, by which protocol and family, and with which endpoints:
what must come of it.

proxycases.py has the flows that need a story of their own; this is the rule from which all the plain ones follow. A
combination that a mode or this machine cannot have is in `impossible`, with the reason.
"""

from dataclasses import dataclass
from itertools import product

from support.proxycases import (
    DRAINING,
    DROPPED,
    ETP_LOCAL,
    EVERYWHERE,
    GONE,
    ITP_LOCAL,
    KEPT,
    LOCAL,
    MASQUERADED,
    ONE_FOR_ALL,
    REFUSED,
    SOURCE_LOST,
    Case,
)
from support.proxyworld import has_sctp

CLIENTS = ("pod", "node", "outside", "local-1")
DESTINATIONS = ("cluster-ip", "node-port", "external-ip", "load-balancer")
POLICIES = {"Cluster": {}, "external Local": ETP_LOCAL, "internal Local": ITP_LOCAL}
PROTOCOLS = ("TCP", "UDP", "SCTP")
FAMILIES = (4, 6)
ENDPOINTS = {
    "everywhere": EVERYWHERE,
    "here": LOCAL,
    "elsewhere": ("remote",),
    "nowhere": (),
    "draining": EVERYWHERE,
}
CONDITIONS = {"draining": {"local-1": DRAINING, "local-2": GONE, "remote": GONE}}


@dataclass(frozen=True)
class Shown:
    """What the Service is like."""

    policy: str
    protocol: str
    family: int
    endpoints: str

    def __str__(self) -> str:
        return f"{self.policy}, {self.protocol}, IPv{self.family}, endpoints {self.endpoints}"

    @property
    def usable(self) -> tuple[str, ...]:
        return ("local-1",) if self.endpoints == "draining" else ENDPOINTS[self.endpoints]


@dataclass(frozen=True)
class Asked:
    """Who asks for what."""

    client: str
    destination: str

    def __str__(self) -> str:
        return f"{self.client} to {self.destination}"


SHOWN = tuple(Shown(*each) for each in product(POLICIES, PROTOCOLS, FAMILIES, ENDPOINTS))
NODE_TO_CLUSTER_IP = Asked("node", "cluster-ip")
ASKED = tuple(Asked(*each) for each in product(CLIENTS, DESTINATIONS))
NOT_OURS_ON_THE_NODE = (Asked("node", "external-ip"), Asked("node", "load-balancer"))


def case(shown: Shown, asked: Asked) -> Case:
    """The combination as a flow, with what is expected of it."""
    expect = _answer(shown, asked)
    source = _source(shown, asked, expect) if isinstance(expect, tuple) else ""
    return Case(
        f"{shown}: {asked}",
        asked.client,
        asked.destination,
        expect,
        source,
        ENDPOINTS[shown.endpoints],
        CONDITIONS.get(shown.endpoints, {}),
        spec=dict(POLICIES[shown.policy]),
        protocol=shown.protocol,
    )


def _answer(shown: Shown, asked: Asked) -> tuple[str, ...] | str:
    """Who answers: a policy may leave only this node's endpoints, and then none is not the same as none at all.

    The kernel's SCTP does not tell clients of ICMP errors: refused or dropped, they see that no answer comes.
    """
    if not shown.usable:
        return DROPPED if shown.protocol == "SCTP" else REFUSED
    if not _is_bound_to_node(shown, asked):
        return shown.usable
    return tuple(each for each in shown.usable if each in LOCAL) or DROPPED


def _is_bound_to_node(shown: Shown, asked: Asked) -> bool:
    if asked.destination == "cluster-ip":
        return shown.policy == "internal Local"
    return shown.policy == "external Local" and asked.client == "outside"


def _source(shown: Shown, asked: Asked, expect: tuple[str, ...]) -> str:
    """Which address endpoints see; empty where it depends on the endpoint, or where the node's own has several."""
    if asked.client == "node":
        return ""
    if asked.client in expect:
        return MASQUERADED if len(expect) == 1 else ""
    if asked.destination == "cluster-ip":
        return MASQUERADED if asked.client == "outside" else KEPT
    return KEPT if shown.policy == "external Local" else MASQUERADED


def impossible(mode: str, shown: Shown, asked: Asked) -> str:
    """Why a mode cannot have a flow; empty if it can."""
    if shown.protocol == "SCTP" and not has_sctp():
        return "this kernel has no SCTP"
    if shown.protocol == "SCTP" and mode == "userspace":
        return "it relays TCP and UDP only, as upstream's did"
    if mode == "ipvs" and shown.policy == "external Local" and asked.client != "outside":
        return "" if asked.destination == "cluster-ip" else ONE_FOR_ALL["ipvs"]
    if (mode, shown.policy, shown.endpoints, asked) == ("ipvs", "internal Local", "elsewhere", NODE_TO_CLUSTER_IP):
        return "IPVS refuses the node itself before any filter rule could drop, as in upstream's mode"
    if mode == "iptables" and not shown.usable and asked in NOT_OURS_ON_THE_NODE:
        return "as upstream's, it refuses external addresses to who comes in or passes through, not to the node itself"
    return ""


def tells_source(mode: str) -> bool:
    """Whether endpoints see what `source` says in that mode."""
    return mode not in SOURCE_LOST
