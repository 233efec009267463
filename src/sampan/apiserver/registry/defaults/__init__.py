"""What the server fills in when a client leaves it out: one function a kind, found here by group and kind.

Values are upstream's (`pkg/apis/*/v1/defaults.go`), kept as tables beside the few rules that need code. The strategy
(`registry/generic.py`) applies them before anything else looks at the object.
"""

from collections.abc import Callable, Mapping

from sampan.apiserver.registry.defaults import networking, others, pods, workloads
from sampan.machinery.objects import Object

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

DEFAULTS: Mapping[tuple[str, str], Callable[[Object], None]] = {
    ("", "Endpoints"): networking.default_endpoints,
    ("", "LimitRange"): others.default_limit_range,
    ("", "Namespace"): others.default_namespace,
    ("", "Node"): others.default_node,
    ("", "PersistentVolume"): others.default_volume,
    ("", "PersistentVolumeClaim"): others.default_claim,
    ("", "Pod"): pods.default_pod,
    ("", "PodTemplate"): workloads.default_pod_template,
    ("", "ReplicationController"): workloads.default_replication_controller,
    ("", "ResourceQuota"): others.default_resource_quota,
    ("", "Secret"): others.default_secret,
    ("", "Service"): networking.default_service,
    ("apps", "DaemonSet"): workloads.default_daemon_set,
    ("apps", "Deployment"): workloads.default_deployment,
    ("apps", "ReplicaSet"): workloads.default_replica_set,
    ("apps", "StatefulSet"): workloads.default_stateful_set,
    ("batch", "CronJob"): workloads.default_cron_job,
    ("batch", "Job"): workloads.default_job,
    ("autoscaling", "HorizontalPodAutoscaler"): others.default_autoscaler,
    ("discovery.k8s.io", "EndpointSlice"): networking.default_endpoint_slice,
    ("networking.k8s.io", "IngressClass"): networking.default_ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): networking.default_network_policy,
    (_RBAC, "ClusterRoleBinding"): others.default_role_binding,
    (_RBAC, "RoleBinding"): others.default_role_binding,
    ("scheduling.k8s.io", "PriorityClass"): others.default_priority_class,
    ("storage.k8s.io", "CSIDriver"): others.default_csi_driver,
    ("storage.k8s.io", "StorageClass"): others.default_storage_class,
    (_ADMISSION, "MutatingWebhookConfiguration"): others.default_webhooks,
    (_ADMISSION, "ValidatingWebhookConfiguration"): others.default_webhooks,
    (_ADMISSION, "MutatingAdmissionPolicy"): others.default_admission_policy,
    (_ADMISSION, "ValidatingAdmissionPolicy"): others.default_admission_policy,
}
