"""What makes a pod the n-th of its StatefulSet: name, labels, host name, and the volumes that are its own. Pure."""

from sampan.api.apps_v1 import StatefulSet
from sampan.api.core_v1 import Pod
from sampan.client.resources import STATEFUL_SETS
from sampan.controllers.adoption import controller_reference
from sampan.controllers.history import HASH_LABEL
from sampan.machinery.objects import Object

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal_of(owner: str, pod: Pod) -> int:
    """The number at the end of the pod's name, -1 when it is not one of the set's names."""
    prefix, _, number = pod.metadata.name.rpartition("-")
    return int(number) if prefix == owner and number.isdigit() else -1


def start_of(stateful_set: StatefulSet) -> int:
    return stateful_set.spec.ordinals.start if stateful_set.spec.ordinals else 0


def pod_of(stateful_set: StatefulSet, template: Object, revision: str, ordinal: int) -> Object:
    """The pod to create from a revision's template."""
    meta, source = stateful_set.metadata, template.get("metadata") or {}
    name = f"{meta.name}-{ordinal}"
    labels = {**(source.get("labels") or {}), POD_NAME: name, POD_INDEX: str(ordinal), HASH_LABEL: revision}
    metadata = {
        "name": name,
        "namespace": meta.namespace,
        "labels": labels,
        "annotations": dict(source.get("annotations") or {}),
        "ownerReferences": [controller_reference(STATEFUL_SETS.api_version, STATEFUL_SETS.kind, meta)],
    }
    if source.get("finalizers"):
        metadata["finalizers"] = list(source["finalizers"])
    spec: Object = {**(template.get("spec") or {}), "hostname": name}
    if stateful_set.spec.service_name:
        spec["subdomain"] = stateful_set.spec.service_name
    spec["volumes"] = _volumes(stateful_set, spec.get("volumes") or [], name)
    if not spec["volumes"]:
        del spec["volumes"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def claims_of(stateful_set: StatefulSet, ordinal: int) -> list[Object]:
    """The PersistentVolumeClaims that the pod needs."""
    meta = stateful_set.metadata
    selector = stateful_set.spec.selector
    chosen = selector.match_labels if selector else {}
    claims = []
    for template in stateful_set.spec.volume_claim_templates:
        source = template.get("metadata") or {}
        metadata = {
            "name": f"{source.get('name', '')}-{meta.name}-{ordinal}",
            "namespace": meta.namespace,
            "labels": {**(source.get("labels") or {}), **chosen},
            "annotations": dict(source.get("annotations") or {}),
        }
        claims.append({"metadata": metadata, "spec": template.get("spec") or {}})
    return claims


def _volumes(stateful_set: StatefulSet, given: list[Object], pod: str) -> list[Object]:
    """The template's volumes, with those that have claims pointing to the pod's own."""
    names = [(one.get("metadata") or {}).get("name", "") for one in stateful_set.spec.volume_claim_templates]
    own = [{"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{pod}"}} for name in names]
    return own + [one for one in given if one.get("name") not in names]
