"""The ReplicaSet controller: keeps the wanted number of pods of one template running."""

from collections.abc import Iterable

from sampan.api.apps_v1 import ReplicaSet
from sampan.client.informer import Informer
from sampan.client.resources import REPLICA_SETS
from sampan.controllers.context import Context
from sampan.controllers.replicacontroller import ReplicaController
from sampan.controllers.replication import ReplicaCounts, Replicated
from sampan.machinery.selectors import from_label_selector


class ReplicaSetController(ReplicaController[ReplicaSet]):
    name = "replicaset"
    component = "replicaset-controller"
    reports_terminating = True

    @staticmethod
    def owners(context: Context) -> Informer[ReplicaSet]:
        return context.replica_sets

    @staticmethod
    def view(replica_set: ReplicaSet) -> Replicated:
        spec, status = replica_set.spec, replica_set.status
        return Replicated(
            resource=REPLICA_SETS,
            metadata=replica_set.metadata,
            replicas=spec.replicas,
            min_ready_seconds=spec.min_ready_seconds,
            selector=from_label_selector(spec.selector),
            template=spec.template,
            status=ReplicaCounts(
                replicas=status.replicas,
                fully_labeled=status.fully_labeled_replicas,
                ready=status.ready_replicas,
                available=status.available_replicas,
                terminating=status.terminating_replicas,
                observed_generation=status.observed_generation,
                conditions=status.conditions,
            ),
        )

    def siblings(self, owner: Replicated) -> Iterable[str]:
        controller = owner.metadata.controller
        if controller is None:
            return [owner.metadata.uid]
        return [one.metadata.uid for one in self.cache.by_index("controller", controller.uid)]
