"""The disruption controller: how many pods of each PodDisruptionBudget may be disturbed right now."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.api import pods
from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import Condition
from sampan.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetStatus
from sampan.client.events import EventRecorder
from sampan.client.resources import POD_DISRUPTION_BUDGETS
from sampan.controllers import conditions
from sampan.controllers.context import Context
from sampan.controllers.controller import QueueController, split
from sampan.controllers.freshness import STALE_SECONDS, OwnWrites
from sampan.controllers.references import reference
from sampan.machinery import times
from sampan.machinery.errors import NotFound
from sampan.machinery.intstr import is_percent, scaled
from sampan.machinery.objects import Object
from sampan.machinery.selectors import from_label_selector

DELETION_SECONDS = 120.0
"""How long an eviction that was granted may take to show as a deletion."""


@dataclass(frozen=True)
class Expectation:
    """How many pods there should be, and how many of them healthy."""

    expected: int
    healthy: int


def expectation(budget: PodDisruptionBudget, selected: Iterable[Pod], scales: Mapping[str, int]) -> Expectation:
    """`scales` gives the size of each pod's controller by the controller's uid: what percentages are of."""
    selected = tuple(selected)
    spec = budget.spec
    if spec.max_unavailable is not None:
        expected = _scale(selected, scales)
        return Expectation(expected, max(0, expected - scaled(spec.max_unavailable, expected, round_up=True)))
    minimum = spec.min_available if spec.min_available is not None else 0
    if is_percent(minimum):
        expected = _scale(selected, scales)
        return Expectation(expected, scaled(minimum, expected, round_up=True))
    return Expectation(len(selected), int(minimum))


def decide_status(
    budget: PodDisruptionBudget, selected: Iterable[Pod], scales: Mapping[str, int], now: float
) -> PodDisruptionBudgetStatus:
    """The budget's status: pure."""
    alive = [pod for pod in selected if not pods.is_terminal(pod)]
    wanted = expectation(budget, alive, scales)
    disrupted = _still_disrupted(budget, alive, now)
    healthy = sum(
        1 for pod in alive if pods.is_ready(pod) and not pods.is_terminating(pod) and pod.metadata.name not in disrupted
    )
    allowed = max(0, healthy - wanted.healthy) if wanted.expected > 0 else 0
    generation = budget.metadata.generation
    return PodDisruptionBudgetStatus(
        observed_generation=generation,
        disrupted_pods=disrupted,
        disruptions_allowed=allowed,
        current_healthy=healthy,
        desired_healthy=wanted.healthy,
        expected_pods=wanted.expected,
        conditions=conditions.with_condition(budget.status.conditions, _condition(allowed, generation, now)),
    )


def _still_disrupted(budget: PodDisruptionBudget, alive: Iterable[Pod], now: float) -> dict[str, str]:
    """Evictions that were granted and have not shown yet."""
    names = {pod.metadata.name for pod in alive if not pods.is_terminating(pod)}
    granted = budget.status.disrupted_pods.items()
    return {name: when for name, when in granted if name in names and times.epoch(when) + DELETION_SECONDS > now}


def _scale(selected: Iterable[Pod], scales: Mapping[str, int]) -> int:
    """The size of all controllers of the pods together."""
    uids = {pod.metadata.controller.uid for pod in selected if pod.metadata.controller is not None}
    return sum(scales.get(uid, 0) for uid in uids)


def _condition(allowed: int, generation: int, now: float) -> Condition:
    return Condition(
        type="DisruptionAllowed",
        status="True" if allowed else "False",
        reason="SufficientPods" if allowed else "InsufficientPods",
        last_transition_time=times.from_epoch(now),
        observed_generation=generation,
    )


class DisruptionController(QueueController):
    name = "disruption"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._budgets = context.disruption_budgets
        self._replica_sets, self._deployments = context.replica_sets, context.deployments
        self._stateful_sets, self._replication_controllers = context.stateful_sets, context.replication_controllers
        self._recorder = EventRecorder(context.client, "controllermanager")
        self._writes: OwnWrites[str] = OwnWrites(self._budgets)
        self._budgets.add_handler(self.enqueue)
        context.pods.add_handler(self._pod_changed)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _health(old) == _health(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            for budget in self._budgets.by_index("namespace", pod.metadata.namespace):
                if from_label_selector(budget.spec.selector).matches(pod.metadata.labels):
                    self.queue.add(budget.metadata.key)

    async def sync(self, key: str) -> None:
        budget = self._budgets.get(*split(key))
        if budget is None:
            return
        if not self._writes.seen(key):
            self.queue.add_after(key, STALE_SECONDS)
            return
        selector = from_label_selector(budget.spec.selector)
        in_namespace = self.context.pods.by_index("namespace", budget.metadata.namespace)
        selected = [pod for pod in in_namespace if selector.matches(pod.metadata.labels)]
        if not selected:
            about = reference(POD_DISRUPTION_BUDGETS, budget.metadata)
            self._recorder.event(about, "Normal", "NoPods", "No matching pods found")
        found = decide_status(budget, selected, self._scales(selected), time.time())
        if found.disrupted_pods:
            self.queue.add_after(key, DELETION_SECONDS)
        await self._write_status(budget, found)

    def _scales(self, selected: Iterable[Pod]) -> dict[str, int]:
        """The sizes of the pods' controllers; a ReplicaSet of a Deployment counts as the Deployment does."""
        scales: dict[str, int] = {}
        for pod in selected:
            controller = pod.metadata.controller
            if controller is not None and controller.uid not in scales:
                size = self._size(pod.metadata.namespace, controller.kind, controller.name)
                if size is not None:
                    scales[controller.uid] = size
        return scales

    def _size(self, namespace: str, kind: str, name: str) -> int | None:
        if kind == "ReplicaSet":
            owned = self._replica_sets.get(namespace, name)
            above = owned.metadata.controller if owned else None
            deployment = self._deployments.get(namespace, above.name) if above else None
            found = deployment or owned
            return found.spec.replicas if found else None
        if kind == "StatefulSet":
            stateful = self._stateful_sets.get(namespace, name)
            return stateful.spec.replicas if stateful else None
        if kind == "ReplicationController":
            controller = self._replication_controllers.get(namespace, name)
            return controller.spec.replicas if controller else None
        return None

    async def _write_status(self, budget: PodDisruptionBudget, found: PodDisruptionBudgetStatus) -> None:
        if found == budget.status:
            return
        gone = dict.fromkeys(name for name in budget.status.disrupted_pods if name not in found.disrupted_pods)
        status: Object = {
            "observedGeneration": found.observed_generation,
            "disruptedPods": {**gone, **found.disrupted_pods},
            "disruptionsAllowed": found.disruptions_allowed,
            "currentHealthy": found.current_healthy,
            "desiredHealthy": found.desired_healthy,
            "expectedPods": found.expected_pods,
            "conditions": [{"message": "", **conditions.to_object(one)} for one in found.conditions],
        }
        meta = budget.metadata
        patch = {"metadata": {"resourceVersion": meta.resource_version}, "status": status}
        try:
            written = await self.client.patch(
                POD_DISRUPTION_BUDGETS, meta.name, patch, meta.namespace, subresource="status"
            )
        except NotFound:
            return
        self._writes.wrote(meta.key, written)


def _health(pod: Pod) -> tuple[object, ...]:
    """All of a pod that budgets depend on."""
    return pod.metadata.labels, pods.is_ready(pod), pods.is_terminal(pod), pods.is_terminating(pod)
