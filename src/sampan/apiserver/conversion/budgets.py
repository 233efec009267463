"""PodDisruptionBudget before policy/v1: an empty selector chose no pods, where it now chooses all."""

from sampan.apiserver.conversion.conversion import stamped
from sampan.machinery.objects import Object

_MARK = {"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists"}
_EMPTY: Object = {}


def _to_storage(obj: Object) -> Object:
    spec = obj.get("spec") or {}
    if spec.get("selector") != _EMPTY:
        return dict(obj)
    return {**obj, "spec": {**spec, "selector": {"matchExpressions": [dict(_MARK)]}}}


def _from_storage(obj: Object) -> Object:
    spec = obj.get("spec") or {}
    if spec.get("selector") != {"matchExpressions": [_MARK]}:
        return dict(obj)
    return {**obj, "spec": {**spec, "selector": {}}}


to_storage = stamped("policy/v1", _to_storage)
from_storage = stamped("policy/v1beta1", _from_storage)
