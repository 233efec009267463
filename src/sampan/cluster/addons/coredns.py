"""Cluster DNS as ordinary pods: Deployment `coredns`, Service `kube-dns`, label `k8s-app: kube-dns`."""

from __future__ import annotations

from sampan.client import resources
from sampan.cluster.addons.objects import Created, allow, binding, described, role
from sampan.cluster.config import ClusterConfig
from sampan.dns import defaults
from sampan.machinery.objects import Object

LABELS = {"k8s-app": "kube-dns"}
ROLE = "system:coredns"


def objects(config: ClusterConfig) -> list[Created]:
    """What to create, in this order."""
    rules = [
        allow("", "services pods namespaces nodes", "list watch"),
        allow("discovery.k8s.io", "endpointslices", "list watch"),
    ]
    return [
        (resources.SERVICE_ACCOUNTS, described("v1", "ServiceAccount", "coredns")),
        (resources.CLUSTER_ROLES, role("ClusterRole", ROLE, rules)),
        (resources.CLUSTER_ROLE_BINDINGS, binding("ClusterRoleBinding", ROLE, ROLE, "coredns")),
        (resources.CONFIG_MAPS, _config(config)),
        (resources.SERVICES, _service(config)),
        (resources.DEPLOYMENTS, _deployment(config)),
    ]


def _config(config: ClusterConfig) -> Object:
    return described("v1", "ConfigMap", "coredns", data={"Corefile": defaults.cluster(config.network.domain)})


def _service(config: ClusterConfig) -> Object:
    labels = {**LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    return described(
        "v1",
        "Service",
        "kube-dns",
        labels,
        spec={
            "clusterIP": config.dns_ip,
            "selector": LABELS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ],
        },
    )


def _deployment(config: ClusterConfig) -> Object:
    return described(
        "apps/v1",
        "Deployment",
        "coredns",
        {**LABELS, "kubernetes.io/name": "CoreDNS"},
        spec={
            "replicas": min(2, len(config.node_list)),
            "selector": {"matchLabels": LABELS},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": LABELS}, "spec": _pod()},
        },
    )


def _pod() -> Object:
    spread = {"labelSelector": {"matchLabels": LABELS}, "topologyKey": "kubernetes.io/hostname"}
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
        "containers": [_container()],
        "volumes": [
            {
                "name": "config-volume",
                "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
            }
        ],
    }


def _container() -> Object:
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
