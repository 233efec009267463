"""What the scheduler knows: nodes, the pods on them, and what those use. Changes cost no more than what changed.

A pod that was just given a node is *assumed* there until the watch confirms it, so that the next decision counts it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sampan.api import nodes, pods
from sampan.api.core_v1 import Node, Pod, PodAffinityTerm
from sampan.scheduler import requests
from sampan.scheduler.requests import Resources

HostPort = tuple[str, str, int]


@dataclass(frozen=True)
class PodInfo:
    """A pod with what is asked of it again and again."""

    pod: Pod
    requests: Resources
    scored: tuple[int, int]
    host_ports: frozenset[HostPort]

    @classmethod
    def of(cls, pod: Pod) -> "PodInfo":
        asked = requests.pod_requests(pod)
        return cls(pod, asked, requests.with_defaults(asked), nodes.host_ports(pod))

    @property
    def required_anti_affinity(self) -> tuple[PodAffinityTerm, ...]:
        affinity = self.pod.spec.affinity
        anti = affinity.pod_anti_affinity if affinity else None
        return anti.required_during_scheduling_ignored_during_execution if anti else ()


@dataclass
class NodeInfo:
    """A node, its pods, and the sums of what they use. `node` is None while only pods are known. `by_controller` counts
    the pods of each controller (by uid) that will stay."""

    name: str
    node: Node | None = None
    allocatable: Resources = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)
    used: Resources = field(default_factory=dict)
    scored_cpu: int = 0
    scored_memory: int = 0
    by_controller: Counter[str] = field(default_factory=Counter)

    def add(self, info: PodInfo) -> None:
        self.pods[info.pod.metadata.uid] = info
        self._count(info, 1)

    def remove(self, uid: str) -> None:
        info = self.pods.pop(uid, None)
        if info is not None:
            self._count(info, -1)

    def used_ports(self) -> Iterator[HostPort]:
        for info in self.pods.values():
            yield from info.host_ports

    def without(self, uids: Iterable[str]) -> "NodeInfo":
        """A copy in which some pods are gone: for trying out preemption."""
        gone = set(uids)
        copy = NodeInfo(self.name, self.node, self.allocatable)
        for uid, info in self.pods.items():
            if uid not in gone:
                copy.add(info)
        return copy

    def _count(self, info: PodInfo, sign: int) -> None:
        for name, value in info.requests.items():
            self.used[name] = self.used.get(name, 0) + sign * value
        cpu, memory = info.scored
        self.scored_cpu += sign * cpu
        self.scored_memory += sign * memory
        controller = info.pod.metadata.controller
        if controller is not None and not pods.is_terminating(info.pod):
            self.by_controller[controller.uid] += sign
            if not self.by_controller[controller.uid]:
                del self.by_controller[controller.uid]


class Snapshot:
    """All nodes and placed pods. `namespaces` gives the labels by which affinity terms select namespaces."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._places: dict[str, str] = {}
        self._assumed: set[str] = set()
        self._with_anti_affinity: dict[str, str] = {}
        self.namespaces: dict[str, dict[str, str]] = {}

    # --- nodes

    def set_node(self, node: Node) -> None:
        info = self._nodes.setdefault(node.metadata.name, NodeInfo(node.metadata.name))
        info.node = node
        info.allocatable = requests.resources(node.status.allocatable or node.status.capacity)

    def remove_node(self, name: str) -> None:
        info = self._nodes.get(name)
        if info is not None:
            info.node = None
            if not info.pods:
                del self._nodes[name]

    def nodes(self) -> list[NodeInfo]:
        """The nodes that exist."""
        return [info for info in self._nodes.values() if info.node is not None]

    # --- pods

    def place(self, pod: Pod, node: str, *, assumed: bool = False) -> None:
        """Count a pod on a node: as the watch says, or because it was just decided."""
        uid = pod.metadata.uid
        if assumed:
            self._assumed.add(uid)
        else:
            self._assumed.discard(uid)
        self._take_away(uid)
        if pods.is_terminal(pod):
            return
        info = PodInfo.of(pod)
        self._nodes.setdefault(node, NodeInfo(node)).add(info)
        self._places[uid] = node
        if info.required_anti_affinity:
            self._with_anti_affinity[uid] = node

    def remove(self, uid: str) -> None:
        self._assumed.discard(uid)
        self._take_away(uid)

    def forget_assumed(self, uid: str) -> None:
        """The pod did not get there after all, unless the watch has said so meanwhile."""
        if uid in self._assumed:
            self.remove(uid)

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def placed(self) -> Iterator[tuple[PodInfo, NodeInfo]]:
        for info in self.nodes():
            for pod in info.pods.values():
                yield pod, info

    def with_anti_affinity(self) -> Iterator[tuple[PodInfo, NodeInfo]]:
        """The placed pods that keep others away."""
        for uid, node in self._with_anti_affinity.items():
            info = self._nodes[node]
            if info.node is not None:
                yield info.pods[uid], info

    def _take_away(self, uid: str) -> None:
        node = self._places.pop(uid, None)
        self._with_anti_affinity.pop(uid, None)
        if node is None:
            return
        info = self._nodes[node]
        info.remove(uid)
        if info.node is None and not info.pods:
            del self._nodes[node]
