"""The objects every cluster begins with besides those the API server makes itself: cluster DNS, as ordinary pods.

The names are those that documentation and tutorials expect: Deployment `coredns`, Service `kube-dns`, label
`k8s-app: kube-dns`. `bootstrap.py` creates them.
"""

from __future__ import annotations

from typing import Any

from sampan.client import resources
from sampan.client.resources import Resource
from sampan.cluster.config import ClusterConfig
from sampan.dns import defaults
from sampan.machinery.objects import Object

SYSTEM = "kube-system"
DNS_LABELS = {"k8s-app": "kube-dns"}
DNS_ROLE = "system:coredns"


def objects(config: ClusterConfig) -> list[tuple[Resource, Object]]:
    """What to create, in this order."""
    return [*_cluster_dns(config), *_node_local_dns(config), (resources.DEPLOYMENTS, _dns_deployment(config))]


def _cluster_dns(config: ClusterConfig) -> list[tuple[Resource, Object]]:
    """What the DNS pods need."""
    return [
        (resources.SERVICE_ACCOUNTS, described("v1", "ServiceAccount", "coredns")),
        (resources.CLUSTER_ROLES, _dns_role()),
        (resources.CLUSTER_ROLE_BINDINGS, _dns_role_binding()),
        (resources.CONFIG_MAPS, _dns_config(config)),
        (resources.SERVICES, _dns_service(config)),
    ]


def _node_local_dns(config: ClusterConfig) -> list[tuple[Resource, Object]]:
    if not config.dns.node_local:
        return []
    from sampan.cluster import nodelocal_addon

    return nodelocal_addon.objects(config)


def described(api_version: str, kind: str, name: str, labels: dict[str, str] | None = None, **content: Any) -> Object:
    """An object of the system, with its metadata filled in."""
    metadata = {"name": name, "labels": labels or {}} | ({} if kind.startswith("Cluster") else {"namespace": SYSTEM})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def _dns_role() -> Object:
    watching = ["list", "watch"]
    return described(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        DNS_ROLE,
        rules=[
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces", "nodes"], "verbs": watching},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watching},
        ],
    )


def _dns_role_binding() -> Object:
    return described(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        DNS_ROLE,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DNS_ROLE},
        subjects=[{"kind": "ServiceAccount", "name": "coredns", "namespace": SYSTEM}],
    )


def _dns_config(config: ClusterConfig) -> Object:
    return described("v1", "ConfigMap", "coredns", data={"Corefile": defaults.cluster(config.network.domain)})


def _dns_service(config: ClusterConfig) -> Object:
    labels = {**DNS_LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    return described(
        "v1",
        "Service",
        "kube-dns",
        labels,
        spec={
            "clusterIP": config.dns_ip,
            "selector": DNS_LABELS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ],
        },
    )


def _dns_deployment(config: ClusterConfig) -> Object:
    return described(
        "apps/v1",
        "Deployment",
        "coredns",
        {**DNS_LABELS, "kubernetes.io/name": "CoreDNS"},
        spec={
            "replicas": min(2, len(config.node_list)),
            "selector": {"matchLabels": DNS_LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": DNS_LABELS}, "spec": _dns_pod()},
        },
    )


def _dns_pod() -> Object:
    spread = {"labelSelector": {"matchLabels": DNS_LABELS}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "priorityClassName": "system-cluster-critical",
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "tolerations": [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
        ],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": spread}]
            }
        },
        "containers": [_dns_container()],
        "volumes": [
            {
                "name": "config-volume",
                "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
            }
        ],
    }


def _dns_container() -> Object:
    return {
        "name": "coredns",
        "image": "sampan",
        "imagePullPolicy": "Never",
        "args": ["dns", "--conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
        ],
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}, "limits": {"memory": "170Mi"}},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
    }
