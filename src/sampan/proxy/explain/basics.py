"""The first steps: is there such a Service, what is it, what does DNS say, and what a ping of it shows."""

from collections.abc import Iterator

from sampan.api.core_v1 import Service
from sampan.proxy.explain.facts import ClusterFacts, DNSAnswer, NodeFacts
from sampan.proxy.explain.nearest import nearest
from sampan.proxy.explain.report import Step, fine, note, wrong

SERVICE, DNS, PING = "Service", "DNS", "Ping"

IPVS = "ipvs"
PINGS = {
    "nftables": "the rules refuse what is sent to a cluster IP on no port of the Service, and so an echo request, too",
    "iptables": "the rules know the Service's port only, so an echo request leaves the node as it is and is lost",
    IPVS: "every node has the address on its kube-ipvs0 and answers itself, also for a Service without endpoints",
    "userspace": "only the Service's port leads to a listener; all else is refused, and so an echo request, too",
}


def missing_service(facts: ClusterFacts) -> Step:
    """What somebody who asks for a Service that is not there probably meant."""
    here = [name for namespace, name in facts.services if namespace == facts.namespace]
    elsewhere = sorted(namespace for namespace, name in facts.services if name == facts.name)
    text = f"there is no Service {facts.name} in namespace {facts.namespace}"
    if elsewhere:
        return wrong(SERVICE, text, f"say which namespace is meant: -n {elsewhere[0]}", [f"in: {', '.join(elsewhere)}"])
    if meant := nearest(facts.name, here):
        return wrong(SERVICE, f"{text}; there is {meant}", f"use that name: {meant}.{facts.namespace}")
    return wrong(SERVICE, text, f"create one: kubectl -n {facts.namespace} expose deployment {facts.name} --port=…")


def service_step(service: Service) -> Step:
    """What the Service is."""
    spec = service.spec
    if spec.type == "ExternalName":
        return note(SERVICE, f"ExternalName: an alias for {spec.external_name}; no packet is ever sent to a Service")
    if spec.cluster_ip == "None":
        return note(SERVICE, "headless: DNS gives the pods' own addresses, and nothing stands between")
    ports = ", ".join(
        f"{port.port}/{port.protocol} → {port.target_port or port.port}"
        + (f", node port {port.node_port}" if port.node_port else "")
        for port in spec.ports
    )
    if not spec.cluster_ip:
        return wrong(SERVICE, "it has no cluster IP", "see its events: kubectl describe service")
    return fine(SERVICE, f"{spec.type} {' and '.join(spec.cluster_ips or (spec.cluster_ip,))}, {ports}")


def dns_step(service: Service, facts: ClusterFacts, answer: DNSAnswer) -> Step:
    """Whether the name leads to the Service."""
    wanted = sorted(_wanted_addresses(service, facts))
    found = sorted(answer.addresses)
    if answer.failure and not (service.spec.cluster_ip == "None" and not wanted):
        return wrong(DNS, f"{answer.name}: {answer.failure}", _dns_advice(facts))
    if service.spec.type == "ExternalName":
        return fine(DNS, f"{answer.name} → {', '.join(found) or 'no address'}")
    if wanted != found:
        text = f"{answer.name} is answered with {', '.join(found) or 'nothing'}, not {', '.join(wanted) or 'nothing'}"
        return wrong(DNS, text, _dns_advice(facts))
    return fine(DNS, f"{answer.name} → {', '.join(found) or 'no address, because there is no endpoint'}")


def _wanted_addresses(service: Service, facts: ClusterFacts) -> set[str]:
    """Of all its families; a headless Service's are those of its endpoints."""
    if service.spec.cluster_ip != "None":
        return {ip for ip in (service.spec.cluster_ips or (service.spec.cluster_ip,)) if ip}
    even_unready = service.spec.publish_not_ready_addresses
    return {
        ip
        for each in facts.slices
        for endpoint in each.endpoints
        if even_unready or endpoint.conditions.ready is not False
        for ip in endpoint.addresses
    }


def _dns_advice(facts: ClusterFacts) -> str:
    dns = [pod for pod in facts.pods if pod.metadata.labels.get("k8s-app") == "kube-dns"]
    if not dns:
        return "no pod of the cluster DNS is there (label k8s-app=kube-dns in kube-system): start them"
    return "look at the cluster DNS: kubectl -n kube-system logs -l k8s-app=kube-dns"


def ping_steps(service: Service, kernel: NodeFacts) -> Iterator[Step]:
    """Why a ping does not tell whether a Service works."""
    ip = service.spec.cluster_ip
    if ip and ip != "None" and kernel.mode in PINGS:
        why = "it is always answered" if kernel.mode == IPVS else "a cluster IP is a rule, not an interface"
        text = f"ping {ip} tells nothing about the Service: {why}"
        yield note(PING, text, [f"in mode {kernel.mode}: {PINGS[kernel.mode]}"])
