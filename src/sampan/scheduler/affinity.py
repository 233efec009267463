"""Affinity and anti-affinity between pods: which topology domains attract or repel a pod. Pure.

What holds for a pod is worked out once per decision (`prepare`), then asked of each node.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.api.core_v1 import Pod, PodAffinity, PodAffinityTerm
from sampan.machinery.selectors import from_label_selector
from sampan.scheduler.snapshot import NodeInfo, Snapshot

Domain = tuple[str, str]
"""A topology key and its value."""


@dataclass
class AffinityState:
    """Domains in which existing pods repel this one, and in which pods stand that its own terms are about."""

    repelled: set[Domain] = field(default_factory=set)
    attracting: list[set[Domain]] = field(default_factory=list)
    avoided: set[Domain] = field(default_factory=set)
    first_of_its_kind: bool = False
    preferred: Counter[Domain] = field(default_factory=Counter)


def prepare(pod: Pod, snapshot: Snapshot) -> AffinityState:
    state = AffinityState()
    for info, node in snapshot.with_anti_affinity():
        for term in info.required_anti_affinity:
            if term_matches(term, info.pod, pod, snapshot):
                state.repelled.update(_domain(term, node))
    affinity = _terms(pod, anti=False)
    anti = _terms(pod, anti=True)
    if affinity is not None:
        _prepare_affinity(pod, affinity, state, snapshot)
    if anti is not None:
        for term in anti.required_during_scheduling_ignored_during_execution:
            state.avoided |= _domains_with(term, pod, snapshot)
    _prepare_preferred(pod, affinity, anti, state, snapshot)
    return state


def _prepare_affinity(pod: Pod, affinity: PodAffinity, state: AffinityState, snapshot: Snapshot) -> None:
    required = affinity.required_during_scheduling_ignored_during_execution
    state.attracting = [_domains_with(term, pod, snapshot) for term in required]
    nobody = not any(state.attracting)
    state.first_of_its_kind = nobody and all(term_matches(term, pod, pod, snapshot) for term in required)


def _prepare_preferred(
    pod: Pod, affinity: PodAffinity | None, anti: PodAffinity | None, state: AffinityState, snapshot: Snapshot
) -> None:
    for terms, sign in ((affinity, 1), (anti, -1)):
        for one in terms.preferred_during_scheduling_ignored_during_execution if terms else ():
            for info, node in snapshot.placed():
                if term_matches(one.pod_affinity_term, pod, info.pod, snapshot):
                    for domain in _domain(one.pod_affinity_term, node):
                        state.preferred[domain] += sign * one.weight


def violated(pod: Pod, node: NodeInfo, state: AffinityState) -> str | None:
    """Why the pod may not be on the node, None when it may."""
    own = domains(node)
    if state.attracting and not state.first_of_its_kind and not all(one & own for one in state.attracting):
        return "node(s) didn't match pod affinity rules"
    if state.first_of_its_kind and not _has_keys(pod, node):
        return "node(s) didn't match pod affinity rules"
    if state.avoided & own:
        return "node(s) didn't match pod anti-affinity rules"
    if state.repelled & own:
        return "node(s) didn't satisfy existing pods anti-affinity rules"
    return None


def domains(node: NodeInfo) -> set[Domain]:
    return set(node.node.metadata.labels.items()) if node.node else set()


def term_matches(term: PodAffinityTerm, owner: Pod, other: Pod, snapshot: Snapshot) -> bool:
    """Whether a term of `owner` is about the pod `other`."""
    spaces = set(term.namespaces)
    if not term.namespaces and term.namespace_selector is None:
        spaces = {owner.metadata.namespace}
    space = other.metadata.namespace
    if space not in spaces:
        selector = term.namespace_selector
        labels = snapshot.namespaces.get(space, {})
        if selector is None or not from_label_selector(selector).matches(labels):
            return False
    return from_label_selector(term.label_selector).matches(other.metadata.labels)


def _domains_with(term: PodAffinityTerm, pod: Pod, snapshot: Snapshot) -> set[Domain]:
    found: set[Domain] = set()
    for info, node in snapshot.placed():
        if term_matches(term, pod, info.pod, snapshot):
            found.update(_domain(term, node))
    return found


def _domain(term: PodAffinityTerm, node: NodeInfo) -> Iterable[Domain]:
    value = node.node.metadata.labels.get(term.topology_key) if node.node else None
    return () if value is None else ((term.topology_key, value),)


def _has_keys(pod: Pod, node: NodeInfo) -> bool:
    affinity = _terms(pod, anti=False)
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else ()
    return node.node is not None and all(one.topology_key in node.node.metadata.labels for one in required)


def _terms(pod: Pod, *, anti: bool) -> PodAffinity | None:
    affinity = pod.spec.affinity
    if affinity is None:
        return None
    return affinity.pod_anti_affinity if anti else affinity.pod_affinity
