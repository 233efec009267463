"""Services with IPv6 addresses, alone or beside IPv4 ones: what an explanation follows, and what it finds wrong."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from sampan.api.core_v1 import Node, Pod, Service
from sampan.proxy.explain.explain import explain
from sampan.proxy.explain.facts import (
    DROPPED,
    ENDPOINTS,
    OUTSIDE,
    POD,
    Client,
    ClusterFacts,
    Destination,
    DNSAnswer,
    Listening,
    NodeFacts,
    Rule,
    TrackedFlow,
)
from sampan.proxy.explain.gather import client_named
from sampan.proxy.explain.report import lines
from sampan.proxy.explain.routing import destinations
from sampan.proxy.objects import Slice

CLUSTER = {4: "10.96.5.5", 6: "fd00:96::55"}
NODE = {4: "10.2.2.10", 6: "fd00:2::10"}
POD_IP = {4: "10.244.0.5", 6: "fd00:244::5"}
BALANCED = {4: "203.0.113.9", 6: "2001:db8::9"}
PLACE = {4: "10.244.0.5:8080", 6: "[fd00:244::5]:8080"}
BOTH = (4, 6)
EVERYWHERE = (Listening(protocol="TCP", ip="::", port=8080),)
OUTSIDER = Client(kind=OUTSIDE, node="node-1", ips=("10.2.2.1", "fd00:2::1"))
INSIDE = Client(node="node-1", ips=tuple(NODE.values()))


def service(families: tuple[int, ...], **spec: Any) -> Service:
    ips = [CLUSTER[family] for family in families]
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}]
    whole = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": ips[0], "clusterIPs": ips, "selector": {"app": "web"}, "ports": ports,
            "ipFamilies": [f"IPv{family}" for family in families], **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": BALANCED[family]} for family in families]}},
    }  # fmt: skip
    return msgspec.convert(whole, Service)


def node(families: tuple[int, ...]) -> Node:
    addresses = [{"type": "InternalIP", "address": NODE[family]} for family in families]
    return msgspec.convert({"metadata": {"name": "node-1"}, "status": {"addresses": addresses}}, Node)


def pod(families: tuple[int, ...], name: str = "web-1") -> Pod:
    ips = [POD_IP[family] for family in families]
    status = {
        "phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips],
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "main", "ready": True, "state": {"running": {}}}],
    }  # fmt: skip
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}}
    spec = {"nodeName": "node-1", "containers": [{"name": "main"}]}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, Pod)


def slice_(family: int) -> Slice:
    whole = {
        "metadata": {"name": f"web-{family}", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": f"IPv{family}",
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [POD_IP[family]], "nodeName": "node-1", "conditions": {"ready": True}}],
    }
    return msgspec.convert(whole, Slice)


DUAL = service(BOTH)


@dataclass
class Case:
    """Everything is dual-stack and right, but for what is given."""

    name: str
    wrong: str = ""
    note: str = ""
    service: Service = DUAL
    nodes: tuple[int, ...] = BOTH
    pods: tuple[int, ...] = BOTH
    slices: tuple[int, ...] = BOTH
    client: Client = INSIDE
    dns: tuple[str, ...] = tuple(CLUSTER.values())
    rules: tuple[Rule, ...] = ()
    sockets: tuple[Listening, ...] = EVERYWHERE
    flows: tuple[TrackedFlow, ...] = ()


def at(ip: str, port: int = 80) -> Destination:
    return Destination(ip=ip, protocol="TCP", port=port)


def leads(ip: str, *targets: str, port: int = 80) -> Rule:
    return Rule(destination=at(ip, port), outcome=ENDPOINTS, targets=targets)


CASES = [
    Case("all is well", note="LoadBalancer 10.96.5.5 and fd00:96::55", rules=tuple(
        leads(CLUSTER[family], PLACE[family]) for family in BOTH)),
    Case("a Service of IPv6 alone", service=service((6,)), slices=(6,), dns=(CLUSTER[6],),
         rules=(leads(CLUSTER[6], "fd00:244::5:8080"),), note="[fd00:96::55]:80/TCP in mode nftables"),
    Case("a rule of IPv6 leads elsewhere", "[fd00:96::55]:80/TCP in mode nftables on node node-1: leads to "
         "[fd00:244::9]:8080, not to [fd00:244::5]:8080",
         rules=(leads(CLUSTER[4], PLACE[4]), leads(CLUSTER[6], "[fd00:244::9]:8080"))),
    Case("a rule of IPv6 drops", "dropped, although there are endpoints",
         rules=(Rule(destination=at(CLUSTER[6]), outcome=DROPPED),)),
    Case("the node port at the node's IPv6 address", client=OUTSIDER,
         rules=(leads(NODE[6], PLACE[6], port=30080),), note="[fd00:2::10]:30080/TCP"),
    Case("DNS has no AAAA record", "answered with 10.96.5.5, not 10.96.5.5, fd00:96::55", dns=(CLUSTER[4],)),
    Case("the controller has made no slice of IPv6", "ready pods are not listed: web-1", slices=(4,)),
    Case("the pods have no IPv6", "the Service has IPv6, but no ready pod has an IPv6 address", pods=(4,),
         slices=(4,)),
    Case("the node has no IPv6", note="node node-1 proxies IPv4 only; the Service also has IPv6", nodes=(4,)),
    Case("the node has no address of the Service's only family",
         "the Service has IPv6 only, and node node-1 has no such address", service=service((6,)), nodes=(4,),
         slices=(6,), dns=(CLUSTER[6],)),
    Case("the program listens by IPv4 only",
         "web-1 listens on 8080/TCP only at 0.0.0.0, where nobody by IPv6 can reach it",
         sockets=(Listening(protocol="TCP", ip="0.0.0.0", port=8080),)),
    Case("the program listens by IPv6 for itself only", "only at ::1, where nobody but itself can reach it",
         service=service((6,)), slices=(6,), dns=(CLUSTER[6],),
         sockets=(Listening(protocol="TCP", ip="::1", port=8080),)),
    Case("outside the source ranges by IPv6", "fd00:2::1 is in none of the loadBalancerSourceRanges", client=OUTSIDER,
         service=service(BOTH, loadBalancerSourceRanges=["10.2.2.0/24"])),
    Case("within the source ranges", client=OUTSIDER,
         service=service(BOTH, loadBalancerSourceRanges=["10.2.2.0/24", "fd00:2::/64"])),
    Case("a connection by IPv6 is remembered", note="1 remembered on node node-1: 1 with [fd00:244::5]:8080",
         flows=(TrackedFlow(client=NODE[6], destination=at(CLUSTER[6]), backend=PLACE[6]),)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_families_are_followed(case: Case) -> None:
    facts = facts_of(case)
    dns = DNSAnswer(name="web.default.svc.cluster.local", addresses=case.dns)
    kernel = NodeFacts(
        node="node-1", mode="nftables", rules=case.rules, flows=case.flows, sockets={"default/web-1": case.sockets},
        dns=dns,
    )  # fmt: skip
    explanation = explain(facts, kernel)
    text = "\n".join(lines(explanation))
    first = explanation.first_wrong
    assert (case.wrong in first.text and first.mend) if first else not case.wrong, text
    assert case.note in text


def facts_of(case: Case) -> ClusterFacts:
    return ClusterFacts(
        namespace="default", name="web", client=case.client, service=case.service, pods=(pod(case.pods),),
        slices=tuple(slice_(family) for family in case.slices), nodes=(node(case.nodes),),
    )  # fmt: skip


def test_what_can_be_asked_is_what_the_nodes_proxy_serves() -> None:
    """Cluster IPs for insiders, everything else for outsiders, in the families that Service and node share."""
    inside, outside = Case("inside"), Case("outside", client=OUTSIDER)
    assert destinations(inside.service, facts_of(inside)) == [at(CLUSTER[4]), at(CLUSTER[6])]
    assert destinations(outside.service, facts_of(outside)) == [
        at(BALANCED[4]), at(BALANCED[6]), at(NODE[4], 30080), at(NODE[6], 30080),
    ]  # fmt: skip
    ipv4 = Case("an IPv4 node", client=OUTSIDER, nodes=(4,))
    assert destinations(ipv4.service, facts_of(ipv4)) == [at(BALANCED[4]), at(NODE[4], 30080)]


def test_a_client_has_addresses_of_both_families() -> None:
    pods, nodes = [pod(BOTH)], (node(BOTH),)
    assert client_named("web-1", "default", pods, nodes) == Client(
        kind=POD, name="default/web-1", node="node-1", ips=tuple(POD_IP.values())
    )
    assert client_named("", "default", pods, nodes) == INSIDE
