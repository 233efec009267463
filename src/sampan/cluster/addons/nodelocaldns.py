"""DNS on each node as an add-on: DaemonSet `node-local-dns`, named and placed as upstream's NodeLocal DNSCache.

Its pods share the network of their node, where `nodelocal.py` makes the address that pods ask first. They know the
cluster's names themselves (docs/adr/0010).
"""

from __future__ import annotations

from sampan.client import resources
from sampan.cluster.addons import coredns
from sampan.cluster.addons.objects import Created, binding, described
from sampan.cluster.config import NODE_LOCAL_ADDRESS, ClusterConfig
from sampan.dns import defaults
from sampan.machinery.objects import Object

NAME = "node-local-dns"
LABELS = {"k8s-app": NAME}


def objects(config: ClusterConfig) -> list[Created]:
    """What to create, in this order."""
    corefile = defaults.node_local(config.network.domain, NODE_LOCAL_ADDRESS)
    return [
        (resources.SERVICE_ACCOUNTS, described("v1", "ServiceAccount", NAME)),
        (resources.CLUSTER_ROLE_BINDINGS, binding("ClusterRoleBinding", f"system:{NAME}", coredns.ROLE, NAME)),
        (resources.CONFIG_MAPS, described("v1", "ConfigMap", NAME, data={"Corefile": corefile})),
        (resources.DAEMON_SETS, _daemon_set()),
    ]


def _daemon_set() -> Object:
    return described(
        "apps/v1",
        "DaemonSet",
        NAME,
        LABELS,
        spec={
            "selector": {"matchLabels": LABELS},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {"metadata": {"labels": LABELS}, "spec": _pod()},
        },
    )


def _pod() -> Object:
    return {
        "priorityClassName": "system-node-critical",
        "serviceAccountName": NAME,
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
        "containers": [_container()],
        "volumes": [{"name": "config-volume", "configMap": {"name": NAME}}],
    }


def _container() -> Object:
    probe = {"host": NODE_LOCAL_ADDRESS, "port": 8080, "path": "/health"}
    return {
        "name": "node-cache",
        "image": "sampan",
        "imagePullPolicy": "Never",
        "args": ["dns", "--node-local", NODE_LOCAL_ADDRESS, "--conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9253, "protocol": "TCP"},
        ],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
        "resources": {"requests": {"cpu": "25m", "memory": "5Mi"}},
        "livenessProbe": {"httpGet": probe, "initialDelaySeconds": 60, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": probe, "periodSeconds": 1},
    }
