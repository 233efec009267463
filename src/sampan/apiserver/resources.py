"""The one visible table of every resource that the API server serves.

A row says how a resource is named, where it is stored, which subresources and verbs it has and which strategy class
knows its special rules. Order matters twice: groups appear in discovery in this order, and the first version of a
group is its preferred one. `catalog.py` indexes the table for the router; adding a resource is adding a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.apiserver.conversion.conversion import Conversion
from sampan.apiserver.conversion.versions import OLD_VERSIONS
from sampan.apiserver.registry import strategies
from sampan.apiserver.strategy import Strategy

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)
READ_ONLY = ("get", "list")


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """One row: a resource of one group and version."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    storage: str = ""
    """The prefix of the keys; resources that are two views of the same objects share it."""
    strategy: type[Strategy] | None = None
    conversion: Conversion | None = None
    """How the served form and the stored form differ, for old versions."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`services`, or `deployments.apps`: the name by which `Services` and error messages know it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _row(
    group_version: str,
    plural: str,
    kind: str,
    *,
    cluster: bool = False,
    short: str = "",
    categories: str = "",
    sub: str = "",
    verbs: Sequence[str] = ALL_VERBS,
    stored_as: str = "",
) -> ResourceInfo:
    """Build a row; lists are words in a string, `stored_as` is the `group/plural` that holds the objects."""
    group, _, version = group_version.rpartition("/")
    home = stored_as or f"{group or 'core'}/{plural}"
    conversion = OLD_VERSIONS.get((group, version, kind))
    return ResourceInfo(
        group=group,
        version=version,
        plural=plural,
        singular=kind.lower(),
        kind=kind,
        namespaced=not cluster,
        short_names=tuple(short.split()),
        categories=tuple(categories.split()),
        subresources=tuple(sub.split()),
        verbs=tuple(verbs),
        storage=f"/registry/{home}/",
        strategy=strategies.strategy_of(group, version, kind),
        conversion=conversion,
    )


_NO_COLLECTION = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")
_POD_SUBRESOURCES = "attach binding ephemeralcontainers eviction exec log portforward proxy resize status"

_CORE = (
    _row("v1", "bindings", "Binding", verbs=CREATE_ONLY),
    _row("v1", "componentstatuses", "ComponentStatus", cluster=True, short="cs", verbs=READ_ONLY),
    _row("v1", "configmaps", "ConfigMap", short="cm"),
    _row("v1", "endpoints", "Endpoints", short="ep"),
    _row("v1", "events", "Event", short="ev"),
    _row("v1", "limitranges", "LimitRange", short="limits"),
    _row("v1", "namespaces", "Namespace", cluster=True, short="ns", sub="finalize status", verbs=_NO_COLLECTION),
    _row("v1", "nodes", "Node", cluster=True, short="no", sub="proxy status"),
    _row("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", sub="status"),
    _row("v1", "persistentvolumes", "PersistentVolume", cluster=True, short="pv", sub="status"),
    _row("v1", "pods", "Pod", short="po", categories="all", sub=_POD_SUBRESOURCES),
    _row("v1", "podtemplates", "PodTemplate"),
    _row("v1", "replicationcontrollers", "ReplicationController", short="rc", categories="all", sub="scale status"),
    _row("v1", "resourcequotas", "ResourceQuota", short="quota", sub="status"),
    _row("v1", "secrets", "Secret"),
    _row("v1", "serviceaccounts", "ServiceAccount", short="sa", sub="token"),
    _row("v1", "services", "Service", short="svc", categories="all", sub="proxy status"),
)

_APPS = (
    _row("apps/v1", "controllerrevisions", "ControllerRevision"),
    _row("apps/v1", "daemonsets", "DaemonSet", short="ds", categories="all", sub="status"),
    _row("apps/v1", "deployments", "Deployment", short="deploy", categories="all", sub="scale status"),
    _row("apps/v1", "replicasets", "ReplicaSet", short="rs", categories="all", sub="scale status"),
    _row("apps/v1", "statefulsets", "StatefulSet", short="sts", categories="all", sub="scale status"),
)

_EVENTS = (_row("events.k8s.io/v1", "events", "Event", short="ev", stored_as="core/events"),)

_ACCESS = tuple(
    _row(group_version, plural, kind, cluster=not kind.startswith("Local"), verbs=CREATE_ONLY)
    for group_version, plural, kind in (
        ("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview"),
        ("authentication.k8s.io/v1", "tokenreviews", "TokenReview"),
        ("authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview"),
        ("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        ("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
        ("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview"),
    )
)

_AUTOSCALING = tuple(
    _row(
        f"autoscaling/{version}",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short="hpa",
        categories="all",
        sub="status",
    )
    for version in ("v2", "v1")
)

_BATCH = (
    _row("batch/v1", "cronjobs", "CronJob", short="cj", categories="all", sub="status"),
    _row("batch/v1", "jobs", "Job", categories="all", sub="status"),
    _row("batch/v1beta1", "cronjobs", "CronJob", short="cj", categories="all", sub="status"),
)

_CERTIFICATES = (
    _row(
        "certificates.k8s.io/v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        cluster=True,
        short="csr",
        sub="approval status",
    ),
)

_NETWORKING = (
    _row("networking.k8s.io/v1", "ingressclasses", "IngressClass", cluster=True),
    _row("networking.k8s.io/v1", "ingresses", "Ingress", short="ing", sub="status"),
    _row("networking.k8s.io/v1", "ipaddresses", "IPAddress", cluster=True, short="ip"),
    _row("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", short="netpol"),
    _row("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", cluster=True, sub="status"),
    _row("networking.k8s.io/v1beta1", "ingresses", "Ingress", short="ing", sub="status"),
    _row("networking.k8s.io/v1beta1", "ingressclasses", "IngressClass", cluster=True),
)

_POLICY = (
    _row("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", sub="status"),
    _row("policy/v1beta1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", sub="status"),
)

_RBAC = tuple(
    _row(f"rbac.authorization.k8s.io/{version}", plural, kind, cluster=kind.startswith("Cluster"))
    for version in ("v1", "v1beta1")
    for plural, kind in (
        ("clusterrolebindings", "ClusterRoleBinding"),
        ("clusterroles", "ClusterRole"),
        ("rolebindings", "RoleBinding"),
        ("roles", "Role"),
    )
)

_STORAGE = (
    _row("storage.k8s.io/v1", "csidrivers", "CSIDriver", cluster=True),
    _row("storage.k8s.io/v1", "csinodes", "CSINode", cluster=True),
    _row("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity"),
    _row("storage.k8s.io/v1", "storageclasses", "StorageClass", cluster=True, short="sc"),
    _row("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", cluster=True, sub="status"),
    _row("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", cluster=True, short="vac"),
    _row("storage.k8s.io/v1beta1", "storageclasses", "StorageClass", cluster=True, short="sc"),
)

_ADMISSION = tuple(
    _row(
        "admissionregistration.k8s.io/v1",
        plural,
        kind,
        cluster=True,
        categories="api-extensions",
        sub="status" if kind == "ValidatingAdmissionPolicy" else "",
    )
    for plural, kind in (
        ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
        ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    )
)

_SCHEDULING = (
    _row("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", cluster=True, short="pc"),
    _row("scheduling.k8s.io/v1beta1", "priorityclasses", "PriorityClass", cluster=True, short="pc"),
)
_COORDINATION = (_row("coordination.k8s.io/v1", "leases", "Lease"),)
_NODE = (_row("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", cluster=True),)

_DISCOVERY = (
    _row("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _row("discovery.k8s.io/v1beta1", "endpointslices", "EndpointSlice"),
)

_DYNAMIC_RESOURCES = (
    _row("resource.k8s.io/v1", "deviceclasses", "DeviceClass", cluster=True),
    _row("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", sub="status"),
    _row("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    _row("resource.k8s.io/v1", "resourceslices", "ResourceSlice", cluster=True),
)

_FLOW_CONTROL = (
    _row("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "FlowSchema", cluster=True, sub="status"),
    _row(
        "flowcontrol.apiserver.k8s.io/v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        cluster=True,
        sub="status",
    ),
)

_OLD_APPS = tuple(
    _row(f"apps/{version}", plural, kind, short=short, sub=sub)
    for version, kinds in (
        ("v1beta2", ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")),
        ("v1beta1", ("Deployment", "StatefulSet")),
    )
    for plural, kind, short, sub in (
        ("daemonsets", "DaemonSet", "ds", "status"),
        ("deployments", "Deployment", "deploy", "scale status"),
        ("replicasets", "ReplicaSet", "rs", "scale status"),
        ("statefulsets", "StatefulSet", "sts", "scale status"),
    )
    if kind in kinds
)

_EXTENSIONS = (
    _row("extensions/v1beta1", "daemonsets", "DaemonSet", sub="status", stored_as="apps/daemonsets"),
    _row(
        "extensions/v1beta1",
        "deployments",
        "Deployment",
        sub="scale status",
        stored_as="apps/deployments",
    ),
    _row(
        "extensions/v1beta1",
        "ingresses",
        "Ingress",
        sub="status",
        stored_as="networking.k8s.io/ingresses",
    ),
    _row(
        "extensions/v1beta1",
        "networkpolicies",
        "NetworkPolicy",
        stored_as="networking.k8s.io/networkpolicies",
    ),
    _row(
        "extensions/v1beta1",
        "replicasets",
        "ReplicaSet",
        sub="scale status",
        stored_as="apps/replicasets",
    ),
)

RESOURCES: tuple[ResourceInfo, ...] = (
    *_CORE,
    *_APPS,
    *_OLD_APPS,
    *_EVENTS,
    *_ACCESS,
    *_AUTOSCALING,
    *_BATCH,
    *_CERTIFICATES,
    *_NETWORKING,
    *_POLICY,
    *_RBAC,
    *_STORAGE,
    *_ADMISSION,
    *_SCHEDULING,
    *_COORDINATION,
    *_NODE,
    *_DISCOVERY,
    *_DYNAMIC_RESOURCES,
    *_FLOW_CONTROL,
    *_EXTENSIONS,
)
