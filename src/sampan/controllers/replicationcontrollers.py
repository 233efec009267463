"""The ReplicationController controller: what ReplicaSets were before they were called so, with a plain selector."""

from collections.abc import Iterable

from sampan.api.core_v1 import Pod, ReplicationController
from sampan.client.resources import REPLICATION_CONTROLLERS
from sampan.controllers.context import Context
from sampan.controllers.replicacontroller import ReplicaController
from sampan.controllers.replication import ReplicaCounts, Replicated
from sampan.machinery.selectors import from_labels


class ReplicationControllerController(ReplicaController):
    name = "replicationcontroller"
    resource = REPLICATION_CONTROLLERS
    component = "replication-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cache = context.replication_controllers
        self._cache.add_handler(self.enqueue)

    def find(self, namespace: str, name: str) -> Replicated | None:
        found = self._cache.get(namespace, name)
        return None if found is None else view(found)

    def selecting(self, pod: Pod) -> Iterable[Replicated]:
        for found in self._cache.by_index("namespace", pod.metadata.namespace):
            owner = view(found)
            if owner.selector.matches(pod.metadata.labels):
                yield owner

    def siblings(self, owner: Replicated) -> Iterable[str]:
        return [owner.metadata.uid]


def view(controller: ReplicationController) -> Replicated:
    spec, status = controller.spec, controller.status
    return Replicated(
        resource=REPLICATION_CONTROLLERS,
        metadata=controller.metadata,
        replicas=spec.replicas,
        min_ready_seconds=spec.min_ready_seconds,
        selector=from_labels(spec.selector),
        template=spec.template,
        status=ReplicaCounts(
            replicas=status.replicas,
            fully_labeled=status.fully_labeled_replicas,
            ready=status.ready_replicas,
            available=status.available_replicas,
            observed_generation=status.observed_generation,
            conditions=status.conditions,
        ),
    )
