"""What the server refuses, in upstream's words: one pair of functions a kind, found here by group and kind.

The engine has checked types, unknown fields and metadata before; these are the rules about values. Kinds that are not
listed have none. Errors carry field paths, and all of them are reported at once.
"""

from collections.abc import Callable, Mapping, Sequence

from sampan.apiserver.registry.validation import (
    access,
    cluster,
    configs,
    endpoints,
    ingresses,
    network_policies,
    pods,
    services,
    workloads,
)
from sampan.apiserver.registry.validation.addresses import canonical_address
from sampan.apiserver.registry.validation.rules import Rules
from sampan.machinery import names

_RBAC = "rbac.authorization.k8s.io"

RULES: Mapping[tuple[str, str], Rules] = {
    ("", "ConfigMap"): configs.CONFIG_MAPS,
    ("", "Endpoints"): endpoints.ENDPOINTS,
    ("", "LimitRange"): cluster.LIMIT_RANGES,
    ("", "Node"): cluster.NODES,
    ("", "Pod"): pods.PODS,
    ("", "PodTemplate"): workloads.POD_TEMPLATES,
    ("", "ReplicationController"): workloads.REPLICATION_CONTROLLERS,
    ("", "ResourceQuota"): cluster.RESOURCE_QUOTAS,
    ("", "Secret"): configs.SECRETS,
    ("", "Service"): services.SERVICES,
    ("apps", "DaemonSet"): workloads.DAEMON_SETS,
    ("apps", "Deployment"): workloads.DEPLOYMENTS,
    ("apps", "ReplicaSet"): workloads.REPLICA_SETS,
    ("apps", "StatefulSet"): workloads.STATEFUL_SETS,
    ("autoscaling", "HorizontalPodAutoscaler"): access.AUTOSCALERS,
    ("batch", "CronJob"): workloads.CRON_JOBS,
    ("batch", "Job"): workloads.JOBS,
    ("coordination.k8s.io", "Lease"): cluster.LEASES,
    ("discovery.k8s.io", "EndpointSlice"): endpoints.ENDPOINT_SLICES,
    ("networking.k8s.io", "Ingress"): ingresses.INGRESSES,
    ("networking.k8s.io", "IngressClass"): ingresses.INGRESS_CLASSES,
    ("networking.k8s.io", "NetworkPolicy"): network_policies.NETWORK_POLICIES,
    ("policy", "PodDisruptionBudget"): access.DISRUPTION_BUDGETS,
    (_RBAC, "ClusterRoleBinding"): access.ROLE_BINDINGS,
    (_RBAC, "RoleBinding"): access.ROLE_BINDINGS,
    ("scheduling.k8s.io", "PriorityClass"): cluster.PRIORITY_CLASSES,
    ("storage.k8s.io", "StorageClass"): access.STORAGE_CLASSES,
}

NAME_RULES: Mapping[tuple[str, str], Callable[[str], Sequence[str]]] = {
    ("", "Namespace"): names.dns1123_label,
    ("", "Service"): names.dns1035_label,
    ("networking.k8s.io", "IPAddress"): canonical_address,
    (_RBAC, "ClusterRole"): names.path_segment,
    (_RBAC, "ClusterRoleBinding"): names.path_segment,
    (_RBAC, "Role"): names.path_segment,
    (_RBAC, "RoleBinding"): names.path_segment,
}
