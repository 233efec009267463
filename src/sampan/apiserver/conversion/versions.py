"""Which forms of a kind are served beside the stored one, and what clients of the old ones are warned of.

The handlers convert on the way in and out; everything between sees the stored form only (`strategy.py`).
"""

from collections.abc import Iterator, Mapping

from sampan.apiserver.conversion import autoscalers, budgets, endpointslices, events, ingresses, workloads
from sampan.apiserver.conversion.conversion import Conversion, Convert, deprecated, stamped

Key = tuple[str, str, str]


def _old(
    group: str, version: str, kind: str, since: str, gone: str, new: str, way_in: Convert
) -> tuple[Key, Conversion]:
    """A deprecated form that differs from the stored one, if at all, only on the way in."""
    old = f"{group}/{version}"
    return (group, version, kind), Conversion(way_in, stamped(old), deprecated(old, kind, since, gone, new))


def _workloads() -> Iterator[tuple[Key, Conversion]]:
    extensions = {
        "DaemonSet": workloads.EXTENSIONS_DAEMON_SET,
        "Deployment": workloads.EXTENSIONS_DEPLOYMENT,
        "ReplicaSet": {},
    }
    for kind, defaults in extensions.items():
        way_in = workloads.from_old("apps/v1", selects_itself=True, defaults=defaults)
        yield _old("extensions", "v1beta1", kind, "1.8", "1.16", "apps/v1", way_in)
    beta1 = {"Deployment": workloads.BETA1_DEPLOYMENT, "StatefulSet": workloads.BETA1_STATEFUL_SET}
    for kind, defaults in beta1.items():
        way_in = workloads.from_old("apps/v1", selects_itself=True, defaults=defaults)
        yield _old("apps", "v1beta1", kind, "1.8", "1.16", "apps/v1", way_in)
    for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"):
        way_in = workloads.from_old("apps/v1", selects_itself=False, defaults={})
        yield _old("apps", "v1beta2", kind, "1.9", "1.16", "apps/v1", way_in)


def _ingress(group: str, since: str) -> tuple[Key, Conversion]:
    old = f"{group}/v1beta1"
    warning = deprecated(old, "Ingress", since, "1.22", ingresses.STORED)
    return (group, "v1beta1", "Ingress"), Conversion(ingresses.to_storage, ingresses.from_storage(old), warning)


def _renamed(group: str, kind: str, since: str, gone: str) -> tuple[Key, Conversion]:
    """A `v1beta1` that became `v1` without any other change."""
    new = f"{group}/v1"
    return _old(group, "v1beta1", kind, since, gone, new, stamped(new))


_NETWORKING = "networking.k8s.io"
_RBAC_KINDS = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
_SLICES = deprecated("discovery.k8s.io/v1beta1", "EndpointSlice", "1.21", "1.25", "discovery.k8s.io/v1")
_BUDGETS = deprecated("policy/v1beta1", "PodDisruptionBudget", "1.21", "1.25", "policy/v1")

OLD_VERSIONS: Mapping[Key, Conversion] = dict(
    [
        *_workloads(),
        _ingress("extensions", "1.14"),
        _ingress(_NETWORKING, "1.19"),
        _old(
            "extensions", "v1beta1", "NetworkPolicy", "1.9", "1.16", f"{_NETWORKING}/v1", stamped(f"{_NETWORKING}/v1")
        ),
        _renamed(_NETWORKING, "IngressClass", "1.19", "1.22"),
        _renamed("batch", "CronJob", "1.21", "1.25"),
        *(_renamed("rbac.authorization.k8s.io", kind, "1.17", "1.22") for kind in _RBAC_KINDS),
        _renamed("scheduling.k8s.io", "PriorityClass", "1.14", "1.22"),
        _renamed("storage.k8s.io", "StorageClass", "1.19", "1.22"),
        (
            ("discovery.k8s.io", "v1beta1", "EndpointSlice"),
            Conversion(endpointslices.to_storage, endpointslices.from_storage, _SLICES),
        ),
        (("policy", "v1beta1", "PodDisruptionBudget"), Conversion(budgets.to_storage, budgets.from_storage, _BUDGETS)),
        (
            ("autoscaling", "v1", "HorizontalPodAutoscaler"),
            Conversion(autoscalers.to_storage, autoscalers.from_storage),
        ),
        (("events.k8s.io", "v1", "Event"), Conversion(events.to_storage, events.from_storage)),
    ]
)
"""By group, version and kind."""
