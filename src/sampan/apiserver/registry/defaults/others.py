"""Defaults of configuration, storage, access, scaling and admission kinds."""

from sampan.apiserver.registry.defaults.fill import Table, child, each, fill
from sampan.apiserver.registry.defaults.pods import canonical_quantities
from sampan.machinery import quantity
from sampan.machinery.objects import Object, metadata

_RBAC_GROUP = "rbac.authorization.k8s.io"
_CSI_DRIVER: Table = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
_WEBHOOK: Table = {
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "namespaceSelector": dict,
    "objectSelector": dict,
    "timeoutSeconds": 10,
}


def default_namespace(obj: Object) -> None:
    """Every namespace is labelled with its own name, so that selectors can name it."""
    meta = metadata(obj)
    if meta.get("name"):
        labels = child(meta, "labels")
        labels.setdefault("kubernetes.io/metadata.name", meta["name"])


def default_node(obj: Object) -> None:
    """Allocatable is everything, unless the agent says otherwise."""
    status = obj.get("status") or {}
    canonical_quantities(status.get("capacity"))
    canonical_quantities(status.get("allocatable"))
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def default_secret(obj: Object) -> None:
    fill(obj, {"type": "Opaque"})


def default_claim(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, {"volumeMode": "Filesystem"})
    canonical_quantities((spec.get("resources") or {}).get("requests"))
    canonical_quantities((spec.get("resources") or {}).get("limits"))


def default_volume(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"})
    canonical_quantities(spec.get("capacity"))
    if isinstance(path := spec.get("hostPath"), dict):
        path.setdefault("type", "")


def default_storage_class(obj: Object) -> None:
    fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


def default_csi_driver(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, _CSI_DRIVER)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def default_priority_class(obj: Object) -> None:
    fill(obj, {"preemptionPolicy": "PreemptLowerPriority"})


def default_role_binding(obj: Object) -> None:
    fill(child(obj, "roleRef"), {"apiGroup": _RBAC_GROUP})
    for subject in each(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, {"apiGroup": _RBAC_GROUP})


def default_resource_quota(obj: Object) -> None:
    canonical_quantities(child(obj, "spec").get("hard"))


def default_limit_range(obj: Object) -> None:
    """For containers, a default limit follows the maximum, and a default request the limit or the minimum."""
    for limit in each(child(obj, "spec"), "limits"):
        for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            canonical_quantities(limit.get(field))
        if limit.get("type") == "Container":
            _inherit(limit, "default", "max")
            _inherit(limit, "defaultRequest", "default")
            _inherit(limit, "defaultRequest", "min")


def default_autoscaler(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, {"minReplicas": 1})
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def default_webhooks(obj: Object) -> None:
    mutating = obj.get("kind") == "MutatingWebhookConfiguration"
    for webhook in each(obj, "webhooks"):
        fill(webhook, _WEBHOOK)
        if mutating:
            fill(webhook, {"reinvocationPolicy": "Never"})
        if service := child(webhook, "clientConfig").get("service"):
            fill(service, {"port": 443})
        for rule in each(webhook, "rules"):
            fill(rule, {"scope": "*"})


def default_admission_policy(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, {"failurePolicy": "Fail"})
    if constraints := spec.get("matchConstraints"):
        fill(constraints, {"matchPolicy": "Equivalent", "namespaceSelector": dict, "objectSelector": dict})
        for rule in each(constraints, "resourceRules"):
            fill(rule, {"scope": "*"})


def _inherit(limit: Object, field: str, source: str) -> None:
    amounts = limit.get(source)
    if amounts:
        target = child(limit, field)
        for name, amount in amounts.items():
            target.setdefault(name, str(quantity.parse(amount)))
