"""What the objects of all add-ons have in common."""

from __future__ import annotations

from typing import Any

from sampan.client.resources import Resource
from sampan.machinery.objects import Object

SYSTEM = "kube-system"
RBAC = "rbac.authorization.k8s.io"
_CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "IngressClass", "Namespace")

Created = tuple[Resource, Object]


def described(
    api_version: str,
    kind: str,
    name: str,
    labels: dict[str, str] | None = None,
    *,
    namespace: str = SYSTEM,
    annotations: dict[str, str] | None = None,
    **content: Any,
) -> Object:
    """An object of the system, with its metadata filled in."""
    metadata: Object = {"name": name, "labels": labels or {}}
    if kind not in _CLUSTER_WIDE:
        metadata["namespace"] = namespace
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def role(
    kind: str, name: str, rules: list[Object], labels: dict[str, str] | None = None, *, namespace: str = SYSTEM
) -> Object:
    """A Role or a ClusterRole."""
    return described(f"{RBAC}/v1", kind, name, labels, namespace=namespace, rules=rules)


def binding(
    kind: str, name: str, role: str, account: str, labels: dict[str, str] | None = None, *, namespace: str = SYSTEM
) -> Object:
    """A RoleBinding or a ClusterRoleBinding that gives a role of the same scope to one ServiceAccount."""
    return described(
        f"{RBAC}/v1",
        kind,
        name,
        labels,
        namespace=namespace,
        roleRef={"apiGroup": RBAC, "kind": kind.removesuffix("Binding"), "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    )


def allow(group: str, resources: str, verbs: str, names: tuple[str, ...] = ()) -> Object:
    """A rule of a role; resources and verbs are separated by spaces."""
    rule: Object = {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
    return rule | {"resourceNames": list(names)} if names else rule
