"""Defaults of Services, endpoints and the networking kinds."""

from sampan.apiserver.registry.defaults.fill import Table, child, each, fill
from sampan.machinery.objects import Object

_SERVICE: Table = {"sessionAffinity": "None", "type": "ClusterIP"}
_PROTOCOL: Table = {"protocol": "TCP"}
_SLICE_PORT: Table = {"protocol": "TCP"}
_AFFINITY_SECONDS = 10800


def default_service(obj: Object) -> None:
    spec = child(obj, "spec")
    fill(spec, _SERVICE)
    _session_affinity(spec)
    for port in each(spec, "ports"):
        fill(port, _PROTOCOL)
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    if spec["type"] != "ExternalName":
        fill(spec, {"internalTrafficPolicy": "Cluster"})
    if spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        fill(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] == "LoadBalancer":
        fill(spec, {"allocateLoadBalancerNodePorts": True})
    for ingress in each((obj.get("status") or {}).get("loadBalancer") or {}, "ingress"):
        if ingress.get("ip"):
            fill(ingress, {"ipMode": "VIP"})


def default_endpoints(obj: Object) -> None:
    for subset in each(obj, "subsets"):
        for port in each(subset, "ports"):
            fill(port, _PROTOCOL)


def default_endpoint_slice(obj: Object) -> None:
    for port in each(obj, "ports"):
        if port.get("name") is None:
            port["name"] = ""
        fill(port, _SLICE_PORT)


def default_ingress_class(obj: Object) -> None:
    parameters = child(obj, "spec").get("parameters")
    if parameters:
        fill(parameters, {"scope": "Cluster"})


def default_network_policy(obj: Object) -> None:
    spec = child(obj, "spec")
    child(spec, "podSelector")
    for rule in (*each(spec, "ingress"), *each(spec, "egress")):
        for port in each(rule, "ports"):
            fill(port, _PROTOCOL)
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _session_affinity(spec: Object) -> None:
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        fill(child(child(spec, "sessionAffinityConfig"), "clientIP"), {"timeoutSeconds": _AFFINITY_SECONDS})
