"""From EndpointSlices to the kernel: is every ready pod listed, may this client use them, do the rules say the same."""

import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence

from sampan.api.core_v1 import Service
from sampan.proxy.endpoints import NodeTopology
from sampan.proxy.explain.facts import (
    DROPPED,
    ENDPOINTS,
    MISSING,
    OUTSIDE,
    REFUSED,
    ClusterFacts,
    Destination,
    NodeFacts,
    Rule,
    place,
)
from sampan.proxy.explain.families import node_ips, pod_ips, proxied_families, service_families
from sampan.proxy.explain.ports import target_port
from sampan.proxy.explain.report import Step, fine, note, wrong
from sampan.proxy.explain.selection import selected, why_not_ready
from sampan.proxy.state import Endpoint, ServicePort, is_family, service_ports
from sampan.proxy.tracker import ZONE

SLICES, POLICY, RULE, TRACKED = "EndpointSlices", "Policy", "Rule", "Connections"


def slice_steps(service: Service, facts: ClusterFacts) -> Iterator[Step]:
    """Whether the slices list what they should: the controller's work."""
    families = service_families(service)
    listed = {
        (ip, port.port)
        for each in facts.slices for endpoint in each.endpoints for ip in endpoint.addresses for port in each.ports
    }  # fmt: skip
    expected = {
        (ip, number): pod.metadata.name
        for pod in selected(facts) if not why_not_ready(pod)
        for port in service.spec.ports if (number := target_port(port, pod)) is not None
        for ip in pod_ips(pod) if (6 if is_family(ip, 6) else 4) in families
    }  # fmt: skip
    absent = sorted({name for at, name in expected.items() if at not in listed})
    if absent:
        mend = "the endpoint slice controller is behind or does not run; see: sampan logs controllers"
        yield wrong(SLICES, f"ready pods are not listed: {', '.join(absent)}", mend)
    elif not service.spec.selector and not listed:
        mend = f"create an EndpointSlice with the label kubernetes.io/service-name={facts.name}"
        yield wrong(SLICES, "there is no endpoint, and no selector to find any", mend)
    elif listed:
        places = (place(ip, port) if port is not None else ip for ip, port in sorted(listed, key=str))
        yield fine(SLICES, ", ".join(places))


def destinations(service: Service, facts: ClusterFacts) -> list[Destination]:
    """Where this client can ask: cluster IPs from inside, node ports and load balancers' addresses from outside.

    Of the families that its node proxies.
    """
    spec, client, families = service.spec, facts.client, proxied_families(service, facts)
    if spec.type == "ExternalName" or spec.cluster_ip == "None":
        return []
    if client.kind != OUTSIDE:
        ips = _of(families, [ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip])
        return [Destination(ip=ip, protocol=port.protocol, port=port.port) for ip in ips for port in spec.ports]
    balanced = [each.ip for each in service.status.load_balancer.ingress if each.ip and each.ip_mode != "Proxy"]
    direct = _of(families, [*spec.external_ips, *(balanced if spec.type == "LoadBalancer" else ())])
    found = [Destination(ip=ip, protocol=port.protocol, port=port.port) for ip in direct for port in spec.ports]
    node = facts.node(client.node)
    if node is not None and spec.type in ("NodePort", "LoadBalancer"):
        ips = _of(families, node_ips(node))
        found += [
            Destination(ip=ip, protocol=port.protocol, port=port.node_port)
            for ip in ips for port in spec.ports if port.node_port
        ]  # fmt: skip
    return found


def _of(families: Sequence[int], ips: Sequence[str]) -> list[str]:
    return [ip for ip in ips if any(is_family(ip, family) for family in families)]


def policy_steps(service: Service, facts: ClusterFacts) -> Iterator[Step]:
    """Whether this client may use the Service, and whether its node has an endpoint where the policy asks for one."""
    spec, client = service.spec, facts.client
    outside = client.kind == OUTSIDE
    if outside and not destinations(service, facts):
        patch = '{"spec":{"type":"NodePort"}}'
        yield wrong(
            POLICY,
            f"a Service of type {spec.type} cannot be reached from outside",
            f"kubectl -n {facts.namespace} patch service {facts.name} -p '{patch}',"
            f" or: sampan publish -n {facts.namespace} {facts.name}",
        )
        return
    if outside and spec.type == "LoadBalancer" and not service.status.load_balancer.ingress:
        yield note(POLICY, "no load balancer has given it an address yet; its node ports work")
    for ip in _turned_away(service, client.ips) if outside else ():
        ranges = ", ".join(spec.load_balancer_source_ranges)
        yield wrong(POLICY, f"{ip} is in none of the loadBalancerSourceRanges ({ranges})", "add its network there")
    field = "externalTrafficPolicy" if outside else "internalTrafficPolicy"
    policy = spec.external_traffic_policy if outside else spec.internal_traffic_policy
    if policy == "Local":
        yield _local_step(service, facts, field)


def _turned_away(service: Service, ips: Sequence[str]) -> list[str]:
    """Which of a client's addresses may not use the load balancer's address of their family."""
    ranges = service.spec.load_balancer_source_ranges if service.spec.type == "LoadBalancer" else ()
    networks = [ipaddress.ip_network(each.strip(), strict=False) for each in ranges]
    balanced = [each.ip for each in service.status.load_balancer.ingress if each.ip]
    asking = [ip for ip in ips if any(is_family(ip, 6) == is_family(each, 6) for each in balanced)] if ranges else []
    return [ip for ip in asking if not any(ipaddress.ip_address(ip) in network for network in networks)]


def _local_step(service: Service, facts: ClusterFacts, field: str) -> Step:
    node, outside = facts.client.node, facts.client.kind == OUTSIDE
    usable = [
        port.local_endpoints if outside else port.endpoints
        for port in expected_ports(service, facts)
        if port.has_endpoints
    ]
    if not usable or all(usable):
        return fine(POLICY, f"{field}: Local, and node {node} has an endpoint") if usable else note(
            POLICY, f"{field}: Local, and there is no endpoint anywhere")  # fmt: skip
    others = sorted({
        endpoint.node_name
        for each in facts.slices for endpoint in each.endpoints
        if endpoint.node_name and endpoint.conditions.ready is not False
    })  # fmt: skip
    use = f"ask a node that has one ({', '.join(others)}), or " if outside else ""
    return wrong(
        POLICY,
        f"{field} is Local and node {node} has no endpoint: its packets are dropped",
        f"{use}run a pod on every node (a DaemonSet), or set {field}: Cluster",
    )


def expected_ports(service: Service, facts: ClusterFacts) -> list[ServicePort]:
    """What the proxy of the client's node should make of the Service in each family, decided as the proxy decides."""
    node = facts.node(facts.client.node)
    topology = NodeTopology(facts.client.node, node.metadata.labels.get(ZONE, "") if node else "")
    return [
        port
        for family in proxied_families(service, facts)
        for port in service_ports(service, facts.slices, family, topology).values()
    ]


def rule_steps(service: Service, facts: ClusterFacts, kernel: NodeFacts) -> Iterator[Step]:
    """Whether the kernel of the client's node does what the API objects ask for."""
    ports = expected_ports(service, facts)
    for rule in kernel.rules:
        port = _port_of(rule.destination, ports)
        if port is not None:
            yield _rule_step(rule, _expected(rule.destination, port, facts), port, kernel)


def _port_of(destination: Destination, ports: Sequence[ServicePort]) -> ServicePort | None:
    mine = [each for each in ports if is_family(each.cluster_ip, 6) == is_family(destination.ip, 6)]
    numbers = {(each.protocol, number): each for each in mine for number in (each.node_port, each.port) if number}
    return numbers.get((destination.protocol, destination.port))


def _expected(destination: Destination, port: ServicePort, facts: ClusterFacts) -> tuple[Endpoint, ...]:
    if destination.ip == port.cluster_ip:
        return port.endpoints
    if port.external_local and facts.client.kind == OUTSIDE:
        return port.local_endpoints
    return port.cluster_endpoints


def _rule_step(rule: Rule, expected: Sequence[Endpoint], port: ServicePort, kernel: NodeFacts) -> Step:
    where = f"{rule.destination} in mode {kernel.mode} on node {kernel.node}"
    wanted = {place(each.ip, each.port) for each in expected}
    restart = f"see what its proxy says: sampan logs {kernel.node}-proxy"
    if rule.outcome == MISSING and (wanted or kernel.mode != "iptables"):
        return wrong(RULE, f"{where}: there is no rule", restart, rule.lines)
    if rule.fault:
        return wrong(RULE, f"{where}: {rule.fault}", restart, rule.lines)
    if not wanted:
        nothing = {REFUSED: "refused, because there is no endpoint", DROPPED: "dropped, as the policy says"}
        if rule.outcome == ENDPOINTS:
            return wrong(RULE, f"{where}: the rule still leads to endpoints that are gone", restart, rule.lines)
        return note(RULE, f"{where}: {nothing.get(rule.outcome, 'nothing')}", rule.lines)
    if rule.outcome in (REFUSED, DROPPED):
        return wrong(RULE, f"{where}: {rule.outcome}, although there are endpoints", restart, rule.lines)
    targets = None if rule.targets is None else {canonical(each) for each in rule.targets}
    if targets is not None and targets != wanted:
        text = f"{where}: leads to {_list(targets)}, not to {_list(wanted)}"
        return wrong(RULE, text, restart, rule.lines)
    return fine(RULE, f"{where} → {_list(wanted)}", rule.lines)


def flow_steps(facts: ClusterFacts, kernel: NodeFacts) -> Iterator[Step]:
    """What the kernel remembers of connections to the Service."""
    ips = facts.client.ips
    mine = [flow for flow in kernel.flows if not ips or flow.client in ips] or kernel.flows
    if not mine:
        return
    backends = Counter(flow.backend for flow in mine)
    text = ", ".join(f"{count} with {backend}" for backend, count in sorted(backends.items()))
    yield note(TRACKED, f"{len(mine)} remembered on node {kernel.node}: {text}")


def canonical(target: str) -> str:
    """A target as a place, whether its reader put an IPv6 address into brackets or not."""
    ip, _, port = target.rpartition(":")
    return place(ip.strip("[]"), int(port))


def _list(places: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(places)) or "nothing"
