"""EndpointSlice before discovery.k8s.io/v1: node and zone were entries of a topology map."""

from sampan.apiserver.conversion.conversion import stamped
from sampan.machinery.objects import Object

_HOSTNAME, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def _to_storage(obj: Object) -> Object:
    return {**obj, "endpoints": [_new_endpoint(one) for one in obj.get("endpoints") or ()]}


def _from_storage(obj: Object) -> Object:
    return {**obj, "endpoints": [_old_endpoint(one) for one in obj.get("endpoints") or ()]}


def _new_endpoint(endpoint: Object) -> Object:
    new = dict(endpoint)
    topology = dict(new.pop("topology", None) or {})
    if hostname := topology.pop(_HOSTNAME, ""):
        new.setdefault("nodeName", hostname)
    if zone := topology.pop(_ZONE, ""):
        new["zone"] = zone
    if topology:
        new["deprecatedTopology"] = topology
    return new


def _old_endpoint(endpoint: Object) -> Object:
    old = dict(endpoint)
    topology = dict(old.pop("deprecatedTopology", None) or {})
    if node := old.get("nodeName"):
        topology[_HOSTNAME] = node
    if zone := old.pop("zone", ""):
        topology[_ZONE] = zone
    if topology:
        old["topology"] = topology
    return old


to_storage = stamped("discovery.k8s.io/v1", _to_storage)
from_storage = stamped("discovery.k8s.io/v1beta1", _from_storage)
