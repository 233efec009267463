"""The objects that every cluster has before anybody asks: namespaces, the `kubernetes` Service, priority classes.

All of it is idempotent: a restart finds its objects and corrects only what the server itself owns, its endpoints.
"""

from ipaddress import ip_network

from sampan.apiserver.context import Context
from sampan.machinery import times
from sampan.machinery.objects import Object

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_PORT = {"name": "https", "port": 443, "protocol": "TCP"}
_PRIORITY_CLASSES = {
    "system-node-critical": (
        2000001000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2000000000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}


async def bootstrap(context: Context, address: str, port: int) -> None:
    """Create what is missing. `address` and `port` are where pods reach this server."""
    for name in NAMESPACES:
        await _ensure(context, "namespaces", "", {"metadata": {"name": name}})
    await _ensure_service_cidr(context)
    await _ensure(context, "services", "default", _kubernetes_service(context))
    await _publish(context, "endpoints", _endpoints(address, port))
    await _publish(context, "endpointslices.discovery.k8s.io", _endpoint_slice(address, port))
    for name, (value, description) in _PRIORITY_CLASSES.items():
        priority = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(context, "priorityclasses.scheduling.k8s.io", "", priority)


async def _ensure(context: Context, resource: str, namespace: str, obj: Object) -> None:
    if await context.get(resource, namespace, obj["metadata"]["name"]) is None:
        await context.create(resource, obj, namespace)


async def _publish(context: Context, resource: str, obj: Object) -> None:
    """Make the stored object say what `obj` says."""
    found = await context.get(resource, "default", "kubernetes")
    if found is None:
        await context.create(resource, obj, "default")
    elif any(found.get(name) != value for name, value in obj.items() if name != "metadata"):
        await context.update(resource, {**found, **obj, "metadata": found["metadata"]}, "default")


def _kubernetes_service(context: Context) -> Object:
    """The API server as pods know it, at the first address of the Service range."""
    address = str(ip_network(context.config.service_cidr.split(",")[0].strip())[1])
    return {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{**_PORT, "targetPort": 6443}],
        },
    }


def _endpoints(address: str, port: int) -> Object:
    return {
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{**_PORT, "port": port}]}],
    }


def _endpoint_slice(address: str, port: int) -> Object:
    return {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{**_PORT, "port": port}],
    }


async def _ensure_service_cidr(context: Context) -> None:
    """The range that ClusterIPs come from, with the condition that says so."""
    resource = "servicecidrs.networking.k8s.io"
    if await context.get(resource, "", "kubernetes") is not None:
        return
    ranges = [cidr.strip() for cidr in context.config.service_cidr.split(",")]
    made = await context.create(resource, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ranges}})
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": times.now(),
    }
    await context.update(resource, {**made, "status": {"conditions": [ready]}}, subresource="status")
