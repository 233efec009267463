"""Broken Services, and what an explanation says of them: the first thing that is wrong, and how to mend it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from sampan.api.core_v1 import Node, Pod, Service
from sampan.proxy.explain.explain import explain
from sampan.proxy.explain.facts import (
    DROPPED,
    ENDPOINTS,
    MISSING,
    NODE,
    OUTSIDE,
    POD,
    REFUSED,
    Client,
    ClusterFacts,
    Destination,
    DNSAnswer,
    Listening,
    NodeFacts,
    PodEvent,
    Rule,
    TrackedFlow,
)
from sampan.proxy.explain.gather import NoSuchClient, client_named
from sampan.proxy.explain.nearest import misses, nearest
from sampan.proxy.explain.readers import iptables_rule
from sampan.proxy.explain.report import Explanation, Verdict, lines
from sampan.proxy.explain.sockets import parse
from sampan.proxy.objects import Slice

IP = "10.96.5.5"
HERE, THERE = "node-1", "node-2"
NODE_IPS = {HERE: "10.2.2.10", THERE: "10.2.2.11"}
RUNNING = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}]
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": "NodePort", "clusterIP": IP, "clusterIPs": [IP], "selector": {"app": "web"}, "ports": ports}
        | spec,
    }


def pod(
    name: str = "web-1", *, labels: dict[str, str] | None = None, ready: bool = True, node: str = HERE,
    ip: str = "10.244.0.5", ports: list[dict[str, Any]] | None = None, state: dict[str, Any] | None = None,
    probe: dict[str, Any] | None = None, namespace: str = "default", **spec: Any,
) -> dict[str, Any]:  # fmt: skip
    container = {"name": "main", "ports": ports or [], **({"readinessProbe": probe} if probe else {})}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    container_status = {"name": "main", "ready": ready or "readinessGates" in spec, "state": state or RUNNING}
    status = {"phase": "Running", "podIP": ip, "conditions": conditions, "containerStatuses": [container_status]}
    labels = {"app": "web"} if labels is None else labels
    metadata = {"name": name, "namespace": namespace, "uid": name, "labels": labels}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": [container], **spec}, "status": status}


def slice_(*endpoints: tuple[str, str], port: int | None = 8080) -> dict[str, Any]:
    return {
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": port}] if port else [],
        "endpoints": [{"addresses": [ip], "nodeName": node, "conditions": {"ready": True}} for ip, node in endpoints],
    }


ONE = ("10.244.0.5", HERE)
OTHER = ("10.244.1.5", THERE)
LISTENS = (Listening(protocol="TCP", ip="0.0.0.0", port=8080),)
AT_CLUSTER_IP = Destination(ip=IP, protocol="TCP", port=80)
AT_NODE_PORT = Destination(ip=NODE_IPS[HERE], protocol="TCP", port=30080)
LEADS = Rule(destination=AT_CLUSTER_IP, outcome=ENDPOINTS, targets=("10.244.0.5:8080",), lines=("the rule",))
ANSWER = DNSAnswer(name="web.default.svc.cluster.local", addresses=(IP,))
REFUSES = Rule(destination=AT_CLUSTER_IP, outcome=REFUSED)
INSIDE = Client(kind=NODE, node=HERE, ips=(NODE_IPS[HERE],))
OUTSIDER = Client(kind=OUTSIDE, node=HERE, ips=("10.2.2.1",))


@dataclass
class Case:
    """A Service and its surroundings, as they are when nothing is wrong, but for what is given."""

    name: str
    wrong: str
    mend: str = ""
    service: dict[str, Any] | None = field(default_factory=service)
    pods: list[dict[str, Any]] = field(default_factory=lambda: [pod()])
    slices: list[dict[str, Any]] = field(default_factory=lambda: [slice_(ONE)])
    events: list[dict[str, Any]] = field(default_factory=list)
    others: tuple[tuple[str, str], ...] = ()
    client: Client = INSIDE
    rules: tuple[Rule, ...] = (LEADS,)
    sockets: tuple[Listening, ...] = LISTENS
    dns: DNSAnswer | None = ANSWER
    flows: tuple[TrackedFlow, ...] = ()
    mode: str = "nftables"
    notes: tuple[str, ...] = ()


NOT_READY = {"slices": [], "rules": (REFUSES,)}
PROBE = {"httpGet": {"path": "/health", "port": 8080, "scheme": "HTTP"}}
UNHEALTHY = {
    "involvedObject": {"kind": "Pod", "name": "web-1"}, "reason": "Unhealthy", "type": "Warning",
    "message": "Readiness probe failed: HTTP probe failed with statuscode: 503",
}  # fmt: skip
NAMED = [{"port": 80, "protocol": "TCP", "targetPort": "http"}]
LOCAL_ELSEWHERE = {"pods": [pod(node=THERE, ip="10.244.1.5")], "slices": [slice_(OTHER)]}

PINGS = {"nftables": "refuse", "iptables": "lost", "ipvs": "is always answered", "userspace": "refused"}

CASES = [
    Case("all is well", ""),
    # the Service
    Case("no such Service, but one of nearly that name", "there is no Service web in namespace default; there is wbe",
         "wbe.default", service=None, others=(("default", "wbe"),)),
    Case("no such Service here, but elsewhere", "there is no Service web in namespace default", "-n shop",
         service=None, others=(("shop", "web"),)),
    Case("no such Service anywhere", "there is no Service web in namespace default", "expose deployment web",
         service=None),
    Case("an alias needs no pods", "", service=service(type="ExternalName", externalName="example.org", clusterIP=""),
         pods=[], slices=[], rules=()),
    # DNS
    Case("DNS is silent", "web.default.svc.cluster.local: 10.96.0.10 does not answer", "no pod of the cluster DNS",
         dns=DNSAnswer(name="web.default.svc.cluster.local", failure="10.96.0.10 does not answer")),
    Case("DNS is silent though its pods are there", "10.96.0.10 does not answer", "logs -l k8s-app=kube-dns",
         dns=DNSAnswer(name="web", failure="10.96.0.10 does not answer"),
         pods=[pod(), pod("dns", labels={"k8s-app": "kube-dns"}, namespace="kube-system")]),
    Case("DNS knows an old address", "answered with 10.96.9.9, not 10.96.5.5", "kube-dns",
         dns=DNSAnswer(name="web", addresses=("10.96.9.9",))),
    # labels
    Case("a label is off by a letter", "no pod has app=web; pod web-1 has app=wbe, not app=web",
         "kubectl -n default set selector service web app=wbe", pods=[pod(labels={"app": "wbe"})], **NOT_READY),
    Case("a label's key is off by a letter", "no pod has app=web; pod web-1 has apps=web, not app=web",
         "set selector service web apps=web", pods=[pod(labels={"apps": "web"})], **NOT_READY),
    Case("one of two labels is wrong", "no pod has app=web,tier=front; pod web-1 has tier=frnt, not tier=front",
         "set selector service web app=web,tier=frnt", service=service(selector={"app": "web", "tier": "front"}),
         pods=[pod(labels={"app": "web", "tier": "frnt"})], **NOT_READY),
    Case("no pod is anything like it", "no pod in namespace default has app=web", "--show-labels",
         pods=[pod(labels={"run": "other"})], **NOT_READY),
    Case("the pods are in another namespace", "no pod in namespace default has app=web",
         "a Service selects pods of its own namespace only, and such pods are in shop",
         pods=[pod(namespace="shop")], **NOT_READY),
    Case("a pod that misses by a letter is told of beside one that does not", "",
         pods=[pod(), pod("web-2", labels={"app": "wbe"})], notes=("not web-2: it has app=wbe, not app=web",)),
    # readiness
    Case("the readiness probe fails",
         "no pod is ready; web-1: the readiness probe of container main (http GET :8080/health) fails: "
         "Readiness probe failed: HTTP probe failed with statuscode: 503", "kubectl describe pod -n default web-1",
         pods=[pod(ready=False, probe=PROBE)], events=[UNHEALTHY], **NOT_READY),
    Case("a TCP probe fails", "the readiness probe of container main (TCP connection to :9) fails", "describe",
         pods=[pod(ready=False, probe={"tcpSocket": {"port": 9}})], **NOT_READY),
    Case("the image cannot be pulled", "web-1: container main waits: ImagePullBackOff (no such image)", "describe",
         pods=[pod(ready=False, state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})],
         **NOT_READY),
    Case("the program has crashed", "web-1: container main ended with exit code 2 (Error)", "kubectl logs",
         pods=[pod(ready=False, state={"terminated": {"exitCode": 2, "reason": "Error"}})], **NOT_READY),
    Case("no node takes the pod", "web-1: it is on no node: not scheduled yet", "describe",
         pods=[pod(ready=False, node="")], **NOT_READY),
    Case("a readiness gate is shut", "web-1: its readiness gate example.org/gate is not True", "describe",
         pods=[pod(ready=False, readinessGates=[{"conditionType": "example.org/gate"}])], **NOT_READY),
    Case("one of two pods is not ready", "", pods=[pod(), pod("web-2", ready=False, probe=PROBE, ip="10.244.0.6")],
         notes=("1 of 2 pods are ready",)),
    # target ports
    Case("a named target port is off by a letter", "pod web-1 has no TCP port named 'http'; it has htpp",
         "targetPort: htpp", service=service(ports=NAMED), slices=[slice_(port=None)], rules=(REFUSES,),
         pods=[pod(ports=[{"name": "htpp", "containerPort": 8080}])]),
    Case("a named target port and no names at all", "pod web-1 has no TCP port named 'http', nor any other name",
         "name the container's port 'http'", service=service(ports=NAMED), slices=[slice_(port=None)], rules=(REFUSES,),
         pods=[pod(ports=[{"containerPort": 8080}])]),
    Case("a named target port of the other protocol", "pod web-1 has no TCP port named 'http'; it has http",
         "targetPort: http", service=service(ports=NAMED), slices=[slice_(port=None)], rules=(REFUSES,),
         pods=[pod(ports=[{"name": "http", "containerPort": 8080, "protocol": "UDP"}])]),
    Case("nothing listens at the target port, but elsewhere", "nothing listens on 8080/TCP in web-1",
         '"path":"/spec/ports/0/targetPort","value":80}', sockets=(Listening(protocol="TCP", ip="0.0.0.0", port=80),)),
    Case("nothing listens at all", "nothing listens on 8080/TCP in web-1", "make the program listen there", sockets=()),
    Case("UDP does not count for TCP", "nothing listens on 8080/TCP in web-1", "",
         sockets=(Listening(protocol="UDP", ip="0.0.0.0", port=8080),)),
    Case("the program listens for itself only",
         "web-1 listens on 8080/TCP only at 127.0.0.1, where nobody but itself can reach it", "0.0.0.0",
         sockets=(Listening(protocol="TCP", ip="127.0.0.1", port=8080),)),
    # EndpointSlices
    Case("the controller is behind", "ready pods are not listed: web-1", "sampan logs controllers", slices=[],
         rules=(REFUSES,)),
    Case("no selector and no slices", "there is no endpoint, and no selector to find any",
         "kubernetes.io/service-name=web", service=service(selector={}), pods=[], **NOT_READY),
    # policies
    Case("a cluster IP is not for outsiders", "a Service of type ClusterIP cannot be reached from outside",
         '{"spec":{"type":"NodePort"}}', service=service(type="ClusterIP"), client=OUTSIDER, rules=()),
    Case("external Local without an endpoint on the node",
         "externalTrafficPolicy is Local and node node-1 has no endpoint: its packets are dropped",
         "ask a node that has one (node-2)", service=service(externalTrafficPolicy="Local"), client=OUTSIDER,
         rules=(Rule(destination=AT_NODE_PORT, outcome=DROPPED),), dns=None, **LOCAL_ELSEWHERE),
    Case("external Local with an endpoint on the node", "", service=service(externalTrafficPolicy="Local"),
         client=OUTSIDER, dns=None,
         rules=(Rule(destination=AT_NODE_PORT, outcome=ENDPOINTS, targets=("10.244.0.5:8080",)),),
         notes=("externalTrafficPolicy: Local, and node node-1 has an endpoint",)),
    Case("internal Local without an endpoint on the node",
         "internalTrafficPolicy is Local and node node-1 has no endpoint: its packets are dropped", "DaemonSet",
         service=service(internalTrafficPolicy="Local"), rules=(Rule(destination=AT_CLUSTER_IP, outcome=DROPPED),),
         **LOCAL_ELSEWHERE),
    Case("outside the source ranges", "10.2.2.1 is in none of the loadBalancerSourceRanges (192.0.2.0/24)", "add",
         service=service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"])
         | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}},
         client=OUTSIDER, rules=(), dns=None),
    Case("a load balancer's address is still to come", "", service=service(type="LoadBalancer"), client=OUTSIDER,
         rules=(), dns=None, notes=("no load balancer has given it an address yet; its node ports work",)),
    # the kernel
    Case("the proxy has made no rule", "10.96.5.5:80/TCP in mode nftables on node node-1: there is no rule",
         "sampan logs node-1-proxy", rules=(Rule(destination=AT_CLUSTER_IP, outcome=MISSING),)),
    Case("the rule leads elsewhere", "leads to 10.244.0.9:8080, not to 10.244.0.5:8080", "node-1-proxy",
         rules=(Rule(destination=AT_CLUSTER_IP, outcome=ENDPOINTS, targets=("10.244.0.9:8080",)),)),
    Case("the rule refuses though there are endpoints", "refused, although there are endpoints", "node-1-proxy",
         rules=(REFUSES,)),
    Case("the rule leads there, but something keeps packets from it", "on node node-1: its address is nowhere",
         "sampan logs node-1-proxy", mode="ipvs",
         rules=(Rule(destination=AT_CLUSTER_IP, outcome=ENDPOINTS, targets=("10.244.0.5:8080",),
                     fault="its address is nowhere"),)),
    Case("a userspace rule does not name its endpoints", "", mode="userspace",
         rules=(Rule(destination=AT_CLUSTER_IP, outcome=ENDPOINTS, targets=None),)),
    Case("connections are counted", "", notes=("2 remembered on node node-1: 2 with 10.244.0.5:8080",),
         flows=(TrackedFlow(client="10.2.2.10", destination=AT_CLUSTER_IP, backend="10.244.0.5:8080"),) * 2),
    *(
        Case(f"a ping is explained in mode {mode}", "", mode=mode, notes=("ping 10.96.5.5 tells nothing", says))
        for mode, says in PINGS.items()
    ),
]  # fmt: skip


def explained(case: Case) -> Explanation:
    facts = ClusterFacts(
        namespace="default",
        name="web",
        client=case.client,
        service=msgspec.convert(case.service, Service) if case.service else None,
        services=case.others,
        pods=tuple(msgspec.convert(case.pods, list[Pod])),
        slices=tuple(msgspec.convert(case.slices, list[Slice])),
        events=tuple(msgspec.convert(case.events, list[PodEvent])),
        nodes=nodes(),
    )
    sockets = {facts_pod.metadata.key: case.sockets for facts_pod in facts.pods}
    kernel = NodeFacts(node=HERE, mode=case.mode, rules=case.rules, flows=case.flows, sockets=sockets, dns=case.dns)
    return explain(facts, kernel)


def nodes() -> tuple[Node, ...]:
    made = [
        {"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": ip}]}}
        for name, ip in NODE_IPS.items()
    ]
    return tuple(msgspec.convert(made, list[Node]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_first_thing_that_is_wrong_is_named(case: Case) -> None:
    """Or nothing; and what is worth a note is noted."""
    explanation = explained(case)
    first = explanation.first_wrong
    text = "\n".join(lines(explanation))
    if case.wrong:
        assert first is not None, text
        assert case.wrong in first.text
        assert case.mend in first.mend
        assert first.mend
    else:
        assert first is None, text
        assert text.endswith("Nothing is wrong.")
    for note in case.notes:
        assert note in text


def test_without_a_kernel_the_rest_is_explained() -> None:
    facts = ClusterFacts(namespace="default", name="web", client=INSIDE, service=msgspec.convert(service(), Service))
    steps = explain(facts, None).steps
    assert steps[-1].text.startswith("not looked at")
    assert steps[-1].verdict is Verdict.NOTE


def test_who_asks_is_found_by_name() -> None:
    pods = msgspec.convert([pod(), pod("web-2", namespace="shop", node=THERE)], list[Pod])
    assert client_named("", "default", pods, nodes()) == INSIDE
    assert client_named(THERE, "default", pods, nodes()).node == THERE
    assert client_named("web-1", "default", pods, nodes()).kind == POD
    assert client_named("shop/web-2", "default", pods, nodes()).node == THERE
    assert client_named("outside", "default", pods, nodes()).kind == OUTSIDE
    with pytest.raises(NoSuchClient, match="did you mean web-1"):
        client_named("wbe-1", "default", pods, nodes())
    with pytest.raises(NoSuchClient, match="no node"):
        client_named("", "default", pods, ())


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("web", ["wbe", "db"], "wbe"),
        ("http", ["https", "htp"], "htp"),
        ("service", ["sevrice"], "sevrice"),
        ("web", ["database"], ""),
        ("web", [], ""),
    ],
)
def test_the_nearest_word_is_found_if_it_is_near(word: str, known: list[str], expected: str) -> None:
    assert nearest(word, known) == expected


def test_labels_that_miss_are_compared_with_what_is_in_their_place() -> None:
    missed = misses({"app": "web", "tier": "front", "x": "y"}, {"app": "wbe", "teir": "front"})
    assert [(miss.wanted[0], miss.found) for miss in missed] == [
        ("app", ("app", "wbe")), ("tier", ("teir", "front")), ("x", ("", "")),
    ]  # fmt: skip


PROC_NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0500F40A:1F90 0100F40A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""
PROC_NET_TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A
   1: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A
"""


def test_listening_sockets_are_read_from_proc() -> None:
    assert [(each.ip, each.port) for each in parse(PROC_NET_TCP, "TCP")] == [("0.0.0.0", 8080), ("127.0.0.1", 80)]
    assert [(each.ip, each.port) for each in parse(PROC_NET_TCP6, "TCP")] == [("::", 8080), ("127.0.0.1", 81)]


SAVED = """\
[5:300] -A KUBE-SERVICES -d 10.96.5.5/32 -p tcp -m comment --comment "a" -m tcp --dport 80 -j KUBE-SVC-A
[0:0] -A KUBE-SERVICES -m comment --comment "n" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
[0:0] -A KUBE-SERVICES -d 10.96.6.6/32 -p tcp -m comment --comment "b has no endpoints" -m tcp --dport 80 -j REJECT
[1:60] -A KUBE-NODEPORTS -p tcp -m comment --comment "a" -m tcp --dport 30080 -j KUBE-EXT-A
[0:0] -A KUBE-EXT-A -s 10.244.0.0/16 -m comment --comment "p" -j KUBE-SVC-A
[0:0] -A KUBE-EXT-A -j KUBE-SVL-A
[2:120] -A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-1
[3:180] -A KUBE-SVC-A -j KUBE-SEP-2
[1:60] -A KUBE-SVL-A -j KUBE-SEP-1
[0:0] -A KUBE-SEP-1 -s 10.244.0.5/32 -j KUBE-MARK-MASQ
[2:120] -A KUBE-SEP-1 -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
[3:180] -A KUBE-SEP-2 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
""".splitlines()


@pytest.mark.parametrize(
    ("ip", "port", "outside", "outcome", "targets"),
    [
        (IP, 80, False, ENDPOINTS, ("10.244.0.5:8080", "10.244.1.5:8080")),
        (NODE_IPS[HERE], 30080, True, ENDPOINTS, ("10.244.0.5:8080",)),
        (NODE_IPS[HERE], 30080, False, ENDPOINTS, ("10.244.0.5:8080", "10.244.1.5:8080")),
        ("10.96.6.6", 80, False, REFUSED, ()),
        (IP, 81, False, MISSING, ()),
        ("10.96.7.7", 80, False, MISSING, ()),
    ],
)
def test_iptables_are_followed_to_their_end(
    ip: str, port: int, outside: bool, outcome: str, targets: tuple[str, ...]
) -> None:
    found = iptables_rule(SAVED, Destination(ip=ip, protocol="TCP", port=port), outside)
    assert (found.outcome, found.targets) == (outcome, targets)
    assert bool(found.lines) == (outcome != MISSING)
