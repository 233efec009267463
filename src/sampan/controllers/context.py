"""What every controller is given: the client, the options, the metrics and the shared caches.

The caches are the one list of everything that controllers watch, with the indexes they look things up by. Each is made
when the first controller asks for it, so that a process running few controllers holds few watches; a controller asks
when it is made, because it starts to work when the caches it has asked for are filled.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sampan.api.apps_v1 import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from sampan.api.batch_v1 import CronJob, Job
from sampan.api.coordination_v1 import Lease
from sampan.api.core_v1 import (
    ConfigMap,
    Endpoints,
    Namespace,
    Node,
    Pod,
    ReplicationController,
    ResourceQuota,
    Service,
    ServiceAccount,
)
from sampan.api.discovery_v1 import EndpointSlice
from sampan.api.meta_v1 import APIObject
from sampan.api.policy_v1 import PodDisruptionBudget
from sampan.client import resources
from sampan.client.config import Config
from sampan.client.informer import Informer, Informers
from sampan.client.own_informers import OwnInformers
from sampan.client.queue_metrics import QueueMetrics
from sampan.client.rest import Client

NODE_LEASES = "kube-node-lease"
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True)
class ControllersOptions:
    """`controllers` names those to run; `cluster_cidr` is cut into one pod range of `node_cidr_mask` per node.

    With `health_port`, health and metrics are served on it, on the loopback address. With `leader_elect`, of several
    processes only the one that holds the Lease kube-system/kube-controller-manager acts, under the name `identity`.
    """

    config: Config
    cluster_cidr: str = "10.244.0.0/16"
    node_cidr_mask: int = 24
    ca_file: Path | None = None
    controllers: tuple[str, ...] = ("*",)
    node_monitor_grace_seconds: float = 50.0
    node_startup_grace_seconds: float = 60.0
    pod_gc_quarantine_seconds: float = 40.0
    terminated_pod_threshold: int = 12500
    health_port: int | None = None
    leader_elect: bool = False
    identity: str = ""


class Context:
    """What one controller gets; the informers and the metrics behind it are those of all controllers of the process."""

    def __init__(
        self, client: Client, options: ControllersOptions, informers: Informers, queue_metrics: QueueMetrics
    ) -> None:
        self.client = client
        self.options = options
        self.informers = OwnInformers(informers)
        self.queue_metrics = queue_metrics

    @cached_property
    def pods(self) -> Informer[Pod]:
        indexers = {"controller": by_controller, "orphans": orphans, "label": by_label, "node": _by_node}
        return self.informers.of(resources.PODS, Pod, indexers={**indexers, "namespace": by_namespace})

    @cached_property
    def nodes(self) -> Informer[Node]:
        return self.informers.of(resources.NODES, Node)

    @cached_property
    def leases(self) -> Informer[Lease]:
        return self.informers.of(resources.LEASES, Lease, namespace=NODE_LEASES)

    @cached_property
    def namespaces(self) -> Informer[Namespace]:
        return self.informers.of(resources.NAMESPACES, Namespace)

    @cached_property
    def service_accounts(self) -> Informer[ServiceAccount]:
        return self.informers.of(resources.SERVICE_ACCOUNTS, ServiceAccount, field_selector="metadata.name=default")

    @cached_property
    def root_ca_config_maps(self) -> Informer[ConfigMap]:
        return self.informers.of(resources.CONFIG_MAPS, ConfigMap, field_selector="metadata.name=kube-root-ca.crt")

    @cached_property
    def services(self) -> Informer[Service]:
        return self.informers.of(resources.SERVICES, Service, indexers={"selector": _by_selector})

    @cached_property
    def endpoint_slices(self) -> Informer[EndpointSlice]:
        return self.informers.of(resources.ENDPOINT_SLICES, EndpointSlice, indexers={"service": _by_service})

    @cached_property
    def endpoints(self) -> Informer[Endpoints]:
        return self.informers.of(resources.ENDPOINTS, Endpoints)

    @cached_property
    def deployments(self) -> Informer[Deployment]:
        return self.informers.of(resources.DEPLOYMENTS, Deployment, indexers={"namespace": by_namespace})

    @cached_property
    def replica_sets(self) -> Informer[ReplicaSet]:
        return self.informers.of(
            resources.REPLICA_SETS, ReplicaSet, indexers={"controller": by_controller, "namespace": by_namespace}
        )

    @cached_property
    def replication_controllers(self) -> Informer[ReplicationController]:
        return self.informers.of(
            resources.REPLICATION_CONTROLLERS, ReplicationController, indexers={"namespace": by_namespace}
        )

    @cached_property
    def daemon_sets(self) -> Informer[DaemonSet]:
        return self.informers.of(resources.DAEMON_SETS, DaemonSet, indexers={"namespace": by_namespace})

    @cached_property
    def stateful_sets(self) -> Informer[StatefulSet]:
        return self.informers.of(resources.STATEFUL_SETS, StatefulSet, indexers={"namespace": by_namespace})

    @cached_property
    def controller_revisions(self) -> Informer[ControllerRevision]:
        return self.informers.of(
            resources.CONTROLLER_REVISIONS,
            ControllerRevision,
            indexers={"controller": by_controller, "namespace": by_namespace},
        )

    @cached_property
    def jobs(self) -> Informer[Job]:
        return self.informers.of(resources.JOBS, Job, indexers={"controller": by_controller, "namespace": by_namespace})

    @cached_property
    def cron_jobs(self) -> Informer[CronJob]:
        return self.informers.of(resources.CRON_JOBS, CronJob)

    @cached_property
    def disruption_budgets(self) -> Informer[PodDisruptionBudget]:
        return self.informers.of(
            resources.POD_DISRUPTION_BUDGETS, PodDisruptionBudget, indexers={"namespace": by_namespace}
        )

    @cached_property
    def resource_quotas(self) -> Informer[ResourceQuota]:
        return self.informers.of(resources.RESOURCE_QUOTAS, ResourceQuota, indexers={"namespace": by_namespace})


def by_namespace(obj: APIObject) -> Iterator[Hashable]:
    yield obj.metadata.namespace


def by_controller(obj: APIObject) -> Iterator[Hashable]:
    """The uid of the managing controller."""
    controller = obj.metadata.controller
    if controller is not None:
        yield controller.uid


def orphans(obj: APIObject) -> Iterator[Hashable]:
    """The namespaces of objects that no controller manages."""
    if obj.metadata.controller is None:
        yield obj.metadata.namespace


def by_label(obj: APIObject) -> Iterator[Hashable]:
    """Every (namespace, key, value): the way from a selector to its objects."""
    for key, value in obj.metadata.labels.items():
        yield obj.metadata.namespace, key, value


def _by_node(pod: Pod) -> Iterator[Hashable]:
    if pod.spec.node_name:
        yield pod.spec.node_name


def _by_selector(service: Service) -> Iterator[Hashable]:
    """One (namespace, key, value) that every selected pod has: the way from a pod to its Services."""
    if service.spec.selector:
        yield service.metadata.namespace, *min(service.spec.selector.items())


def _by_service(endpoint_slice: EndpointSlice) -> Iterator[Hashable]:
    name = endpoint_slice.metadata.labels.get(SERVICE_NAME)
    if name:
        yield endpoint_slice.metadata.namespace, name
