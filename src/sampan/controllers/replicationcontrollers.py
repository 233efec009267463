"""The ReplicationController controller: what ReplicaSets were before they were called so, with a plain selector."""

from sampan.api.core_v1 import ReplicationController
from sampan.client.informer import Informer
from sampan.client.resources import REPLICATION_CONTROLLERS
from sampan.controllers.context import Context
from sampan.controllers.replicacontroller import ReplicaController
from sampan.controllers.replication import ReplicaCounts, Replicated
from sampan.machinery.selectors import from_labels


class ReplicationControllerController(ReplicaController[ReplicationController]):
    name = "replicationcontroller"
    component = "replication-controller"

    @staticmethod
    def owners(context: Context) -> Informer[ReplicationController]:
        return context.replication_controllers

    @staticmethod
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
