"""The core: one pure function from facts to an explanation, step by step as a request meets them."""

from collections.abc import Iterator

from sampan.api.core_v1 import Service
from sampan.proxy.explain.basics import dns_step, missing_service, ping_steps, service_step
from sampan.proxy.explain.facts import ClusterFacts, NodeFacts
from sampan.proxy.explain.families import family_steps
from sampan.proxy.explain.ports import socket_steps, target_steps
from sampan.proxy.explain.report import Explanation, Step, note
from sampan.proxy.explain.routing import flow_steps, policy_steps, rule_steps, slice_steps
from sampan.proxy.explain.selection import label_steps, readiness_steps


def explain(facts: ClusterFacts, kernel: NodeFacts | None) -> Explanation:
    """Follow a request of `facts.client` to the Service. Without `kernel`, only what the API server knows is judged."""
    question = f"Service {facts.name} in namespace {facts.namespace}, asked for from {facts.client}"
    if facts.service is None:
        return Explanation(question, (missing_service(facts),))
    return Explanation(question, tuple(_steps(facts.service, facts, kernel)))


def _steps(service: Service, facts: ClusterFacts, kernel: NodeFacts | None) -> Iterator[Step]:
    yield service_step(service)
    if kernel is not None and kernel.dns is not None:
        yield dns_step(service, facts, kernel.dns)
    if service.spec.type == "ExternalName":
        return
    yield from label_steps(service, facts)
    yield from readiness_steps(facts)
    yield from family_steps(service, facts)
    yield from target_steps(service, facts)
    yield from slice_steps(service, facts)
    yield from policy_steps(service, facts)
    if kernel is None:
        yield note("Kernel", "not looked at: that is possible in a cluster of `sampan up` only")
        return
    yield from rule_steps(service, facts, kernel)
    yield from flow_steps(facts, kernel)
    yield from socket_steps(service, facts, kernel)
    yield from ping_steps(service, kernel)
