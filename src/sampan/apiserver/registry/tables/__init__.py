"""What `kubectl get` shows of each kind: upstream's columns, computed here, printed by the client as they come.

A kind that is not listed shows its name and the time it was made. Ages are words such as `5m`, as of the moment of
the request. `tables.py`, one level up, wraps rows into the `meta.k8s.io` Table.
"""

from collections.abc import Mapping

from sampan.apiserver.registry.tables import cluster, config, networking, pods, storage, workloads
from sampan.apiserver.registry.tables.table import Table, age, columns, name

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

NAME_AND_AGE = Table(columns(("Name", "Age")), lambda obj, now: [name(obj), age(obj, now)])

TABLES: Mapping[tuple[str, str], Table] = {
    ("", "ComponentStatus"): cluster.COMPONENT_STATUSES,
    ("", "ConfigMap"): config.CONFIG_MAPS,
    ("", "Endpoints"): networking.ENDPOINTS,
    ("", "Event"): cluster.EVENTS,
    ("", "LimitRange"): config.LIMIT_RANGES,
    ("", "Namespace"): cluster.NAMESPACES,
    ("", "Node"): cluster.NODES,
    ("", "PersistentVolume"): storage.PERSISTENT_VOLUMES,
    ("", "PersistentVolumeClaim"): storage.CLAIMS,
    ("", "Pod"): pods.PODS,
    ("", "PodTemplate"): workloads.POD_TEMPLATES,
    ("", "ReplicationController"): workloads.REPLICATION_CONTROLLERS,
    ("", "ResourceQuota"): config.RESOURCE_QUOTAS,
    ("", "Secret"): config.SECRETS,
    ("", "Service"): networking.SERVICES,
    ("", "ServiceAccount"): config.SERVICE_ACCOUNTS,
    ("apps", "ControllerRevision"): workloads.CONTROLLER_REVISIONS,
    ("apps", "DaemonSet"): workloads.DAEMON_SETS,
    ("apps", "Deployment"): workloads.DEPLOYMENTS,
    ("apps", "ReplicaSet"): workloads.REPLICA_SETS,
    ("apps", "StatefulSet"): workloads.STATEFUL_SETS,
    ("autoscaling", "HorizontalPodAutoscaler"): config.AUTOSCALERS,
    ("batch", "CronJob"): workloads.CRON_JOBS,
    ("batch", "Job"): workloads.JOBS,
    ("certificates.k8s.io", "CertificateSigningRequest"): config.SIGNING_REQUESTS,
    ("coordination.k8s.io", "Lease"): cluster.LEASES,
    ("discovery.k8s.io", "EndpointSlice"): networking.ENDPOINT_SLICES,
    ("events.k8s.io", "Event"): cluster.EVENTS,
    ("networking.k8s.io", "IPAddress"): networking.IP_ADDRESSES,
    ("networking.k8s.io", "Ingress"): networking.INGRESSES,
    ("networking.k8s.io", "IngressClass"): networking.INGRESS_CLASSES,
    ("networking.k8s.io", "NetworkPolicy"): networking.NETWORK_POLICIES,
    ("networking.k8s.io", "ServiceCIDR"): networking.SERVICE_CIDRS,
    ("node.k8s.io", "RuntimeClass"): config.RUNTIME_CLASSES,
    ("policy", "PodDisruptionBudget"): config.DISRUPTION_BUDGETS,
    (_RBAC, "ClusterRole"): config.ROLES,
    (_RBAC, "ClusterRoleBinding"): config.ROLE_BINDINGS,
    (_RBAC, "Role"): config.ROLES,
    (_RBAC, "RoleBinding"): config.ROLE_BINDINGS,
    ("resource.k8s.io", "DeviceClass"): NAME_AND_AGE,
    ("scheduling.k8s.io", "PriorityClass"): config.PRIORITY_CLASSES,
    ("storage.k8s.io", "CSIDriver"): storage.CSI_DRIVERS,
    ("storage.k8s.io", "CSINode"): storage.CSI_NODES,
    ("storage.k8s.io", "StorageClass"): storage.STORAGE_CLASSES,
    ("storage.k8s.io", "VolumeAttachment"): storage.VOLUME_ATTACHMENTS,
    (_ADMISSION, "MutatingWebhookConfiguration"): config.WEBHOOKS,
    (_ADMISSION, "ValidatingWebhookConfiguration"): config.WEBHOOKS,
}
