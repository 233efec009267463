"""HorizontalPodAutoscaler in autoscaling/v1: only the CPU has a field, everything else travels in an annotation."""

from typing import Any

import msgspec

from sampan.apiserver.conversion.conversion import stamped
from sampan.machinery.objects import Object

_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CPU = "targetCPUUtilizationPercentage"
_CURRENT_CPU = "currentCPUUtilizationPercentage"


def _to_storage(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    meta = dict(obj.get("metadata") or {})
    annotations = dict(meta.get("annotations") or {})
    metrics = _decoded(annotations.pop(_METRICS, ""), [])
    if (percentage := spec.pop(_CPU, None)) is not None:
        metrics = [_cpu(percentage), *metrics]
    if metrics:
        spec["metrics"] = metrics
    if behavior := _decoded(annotations.pop(_BEHAVIOR, ""), None):
        spec["behavior"] = behavior
    if "annotations" in meta:
        meta["annotations"] = annotations
    if (current := status.pop(_CURRENT_CPU, None)) is not None:
        status["currentMetrics"] = [_current_cpu(current)]
    return {**obj, "metadata": meta, "spec": spec, **({"status": status} if "status" in obj else {})}


def _from_storage(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
    others = []
    for metric in spec.pop("metrics", None) or ():
        percentage = _percentage(metric)
        if percentage is None:
            others.append(metric)
        else:
            spec[_CPU] = percentage
    if others:
        annotations[_METRICS] = msgspec.json.encode(others).decode()
    if behavior := spec.pop("behavior", None):
        annotations[_BEHAVIOR] = msgspec.json.encode(behavior).decode()
    for metric in status.pop("currentMetrics", None) or ():
        resource = metric.get("resource") or {}
        if resource.get("name") == "cpu" and "averageUtilization" in (resource.get("current") or {}):
            status[_CURRENT_CPU] = resource["current"]["averageUtilization"]
    status.pop("conditions", None)
    meta = {**(obj.get("metadata") or {}), **({"annotations": annotations} if annotations else {})}
    return {**obj, "metadata": meta, "spec": spec, **({"status": status} if "status" in obj else {})}


def _cpu(percentage: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percentage}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _current_cpu(percentage: int) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percentage}}}


def _percentage(metric: Object) -> int | None:
    """The target of a metric that is the CPU's utilisation."""
    resource = metric.get("resource") or {}
    target = resource.get("target") or {}
    if resource.get("name") != "cpu" or target.get("averageUtilization") is None:
        return None
    return int(target["averageUtilization"])


def _decoded(text: str, otherwise: Any) -> Any:
    """What an annotation holds; nonsense, which clients can write there, counts as nothing."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return otherwise


to_storage = stamped("autoscaling/v2", _to_storage)
from_storage = stamped("autoscaling/v1", _from_storage)
