"""The ingress controller as pods: named, labelled and placed as ingress-nginx's own manifests do it.

Class `nginx` is the cluster's default. The Service is of type LoadBalancer and local, so that nginx sees clients' own
addresses. The pods run as an ordinary user, and their account reads nothing but what an Ingress may refer to.
"""

from __future__ import annotations

from sampan.client import resources
from sampan.cluster.addons.objects import Created, allow, binding, described, role
from sampan.cluster.config import ClusterConfig
from sampan.machinery.objects import Object

NAMESPACE = "ingress-nginx"
NAME = "ingress-nginx"
CONTROLLER = "ingress-nginx-controller"
ELECTION = "ingress-nginx-leader"
USER = 101
SELECTOR = {
    "app.kubernetes.io/name": NAME,
    "app.kubernetes.io/instance": NAME,
    "app.kubernetes.io/component": "controller",
}
LABELS = {**SELECTOR, "app.kubernetes.io/part-of": NAME}
GRACE_SECONDS = 55
"""How long open connections may last when a pod ends."""

DRAIN_SECONDS = 5
"""How long nginx takes new connections after a pod was told to end: until every proxy has heard of that."""
READY_FAILURES = 10
"""In a row: nginx serves on while another controller starts in the place of one that has died."""

_DEFAULT_CLASS = {"ingressclass.kubernetes.io/is-default-class": "true"}
_PORTS = (("http", 80), ("https", 443))


def objects(config: ClusterConfig) -> list[Created]:
    """What to create, in this order."""
    account = described("v1", "ServiceAccount", NAME, LABELS, namespace=NAMESPACE)
    bound = binding("ClusterRoleBinding", NAME, NAME, NAME, LABELS, namespace=NAMESPACE)
    return [
        (resources.NAMESPACES, described("v1", "Namespace", NAMESPACE, LABELS)),
        (resources.SERVICE_ACCOUNTS, account),
        (resources.CLUSTER_ROLES, role("ClusterRole", NAME, _cluster_rules(), LABELS)),
        (resources.CLUSTER_ROLE_BINDINGS, bound),
        (resources.ROLES, role("Role", NAME, _rules(), LABELS, namespace=NAMESPACE)),
        (resources.ROLE_BINDINGS, binding("RoleBinding", NAME, NAME, NAME, LABELS, namespace=NAMESPACE)),
        (resources.INGRESS_CLASSES, _class()),
        (resources.CONFIG_MAPS, described("v1", "ConfigMap", CONTROLLER, LABELS, namespace=NAMESPACE)),
        (resources.SERVICES, _service()),
        (resources.DEPLOYMENTS, _deployment(config)),
    ]


def _cluster_rules() -> list[Object]:
    """Secrets and ConfigMaps are read one by one, as Ingresses refer to them, but in any namespace."""
    return [
        allow("", "secrets configmaps", "list watch"),
        allow("", "services", "list watch"),
        allow("", "nodes namespaces", "get list watch"),
        allow("discovery.k8s.io", "endpointslices", "list watch"),
        allow("networking.k8s.io", "ingresses ingressclasses", "get list watch"),
        allow("networking.k8s.io", "ingresses/status", "update"),
        allow("", "events", "create patch"),
    ]


def _rules() -> list[Object]:
    """What the controller does in its own namespace: find its pods and elect who writes the status."""
    return [
        allow("", "pods", "get list watch"),
        allow("coordination.k8s.io", "leases", "create"),
        allow("coordination.k8s.io", "leases", "get patch", (ELECTION,)),
    ]


def _class() -> Object:
    spec = {"controller": "k8s.io/ingress-nginx"}
    return described("networking.k8s.io/v1", "IngressClass", "nginx", LABELS, annotations=_DEFAULT_CLASS, spec=spec)


def _service() -> Object:
    ports = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name, "appProtocol": name}
        for name, port in _PORTS
    ]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": SELECTOR, "ports": ports}
    return described("v1", "Service", CONTROLLER, LABELS, namespace=NAMESPACE, spec=spec)


def _deployment(config: ClusterConfig) -> Object:
    spec = {
        "replicas": min(2, len(config.node_list)),
        "selector": {"matchLabels": SELECTOR},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": {"labels": LABELS}, "spec": _pod()},
    }
    return described("apps/v1", "Deployment", CONTROLLER, LABELS, namespace=NAMESPACE, spec=spec)


def _pod() -> Object:
    spread = {"labelSelector": {"matchLabels": SELECTOR}, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 100, "podAffinityTerm": spread}]
    return {
        "serviceAccountName": NAME,
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": DRAIN_SECONDS + GRACE_SECONDS,
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        "containers": [_container()],
    }


def _container() -> Object:
    health = {"path": "/healthz", "port": 10254, "scheme": "HTTP"}
    field = {name: {"fieldRef": {"fieldPath": f"metadata.{part}"}} for name, part in _IDENTITY.items()}
    return {
        "name": "controller",
        "image": "sampan-ingress",
        "imagePullPolicy": "Never",
        "args": [
            "/nginx-ingress-controller",
            f"--publish-service=$(POD_NAMESPACE)/{CONTROLLER}",
            f"--election-id={ELECTION}",
            "--controller-class=k8s.io/ingress-nginx",
            "--ingress-class=nginx",
            f"--configmap=$(POD_NAMESPACE)/{CONTROLLER}",
            f"--shutdown-grace-period={DRAIN_SECONDS}",
        ],
        "env": [{"name": name, "valueFrom": source} for name, source in field.items()],
        "ports": [
            *({"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _PORTS),
            {"name": "metrics", "containerPort": 10254, "protocol": "TCP"},
        ],
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {"requests": {"cpu": "100m", "memory": "90Mi"}},
        "livenessProbe": {"httpGet": health, "failureThreshold": 5, "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {
            "httpGet": health,
            "periodSeconds": 1,
            "failureThreshold": READY_FAILURES,
            "timeoutSeconds": 5,
        },
    }


_IDENTITY = {"POD_NAME": "name", "POD_NAMESPACE": "namespace"}
