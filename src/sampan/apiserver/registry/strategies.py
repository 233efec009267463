"""Which strategy class serves which kind; kinds that are not listed follow their tables alone."""

from collections.abc import Mapping

from sampan.apiserver.registry import variants
from sampan.apiserver.registry.events import EventStrategy, NewEventStrategy
from sampan.apiserver.registry.generic import TableStrategy
from sampan.apiserver.registry.ingresses import IngressStrategy
from sampan.apiserver.registry.jobs import JobStrategy
from sampan.apiserver.registry.namespaces import NamespaceStrategy
from sampan.apiserver.registry.pods import PodStrategy
from sampan.apiserver.registry.secrets import SecretStrategy
from sampan.apiserver.registry.services import ServiceStrategy
from sampan.apiserver.strategy import Strategy

_RBAC = "rbac.authorization.k8s.io"

STRATEGIES: Mapping[tuple[str, str], type[Strategy]] = {
    ("", "Endpoints"): variants.CreatedByUpdate,
    ("", "Event"): EventStrategy,
    ("", "LimitRange"): variants.CreatedByUpdate,
    ("", "Namespace"): NamespaceStrategy,
    ("", "Node"): variants.NodeStrategy,
    ("", "PersistentVolume"): variants.ClaimStrategy,
    ("", "PersistentVolumeClaim"): variants.ClaimStrategy,
    ("", "Pod"): PodStrategy,
    ("", "ReplicationController"): variants.ReplicaSetStrategy,
    ("", "ResourceQuota"): variants.Ungenerated,
    ("", "Secret"): SecretStrategy,
    ("", "Service"): ServiceStrategy,
    ("apps", "DaemonSet"): variants.DaemonSetStrategy,
    ("apps", "Deployment"): variants.DeploymentStrategy,
    ("apps", "ReplicaSet"): variants.ReplicaSetStrategy,
    ("apps", "StatefulSet"): variants.StatefulSetStrategy,
    ("autoscaling", "HorizontalPodAutoscaler"): variants.Ungenerated,
    ("batch", "CronJob"): variants.StatusAtFirst,
    ("batch", "Job"): JobStrategy,
    ("certificates.k8s.io", "CertificateSigningRequest"): variants.SigningRequestStrategy,
    ("coordination.k8s.io", "Lease"): variants.LeaseStrategy,
    ("discovery.k8s.io", "EndpointSlice"): variants.EndpointSliceStrategy,
    ("events.k8s.io", "Event"): NewEventStrategy,
    ("networking.k8s.io", "Ingress"): IngressStrategy,
    ("policy", "PodDisruptionBudget"): variants.DisruptionBudgetStrategy,
    (_RBAC, "ClusterRole"): variants.CreatedByUpdate,
    (_RBAC, "ClusterRoleBinding"): variants.CreatedByUpdate,
    (_RBAC, "Role"): variants.CreatedByUpdate,
    (_RBAC, "RoleBinding"): variants.CreatedByUpdate,
}


def strategy_of(group: str, version: str, kind: str) -> type[Strategy]:
    """The class for a kind, in whatever version it is served."""
    return STRATEGIES.get((group, kind), TableStrategy)
