"""API objects for tests, written as briefly as a test's reader needs them."""

from typing import Any, TypeVar

import msgspec

from sampan.api.apps_v1 import Deployment, ReplicaSet
from sampan.api.core_v1 import Node, Pod, Service
from sampan.machinery import times

T = TypeVar("T")

START = times.epoch("2026-01-01T00:00:00Z")


def made(kind: type[T], **fields: Any) -> T:
    """Decode an object of a kind from its JSON form."""
    return msgspec.convert(fields, kind)


def at(seconds: float) -> str:
    """A moment so many seconds after the tests' start of time."""
    return times.from_epoch(START + seconds)


def owner(kind: str, name: str, uid: str = "") -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": uid or f"uid-{name}",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "default", "uid": f"uid-{name}", "creationTimestamp": at(0), **more}


def pod(
    name: str,
    *,
    ready: bool | None = True,
    since: float = 0,
    phase: str = "Running",
    ip: str = "",
    node: str = "",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    owned_by: dict[str, Any] | None = None,
    deleted: bool = False,
    created: float = 0,
    restarts: int = 0,
    ips: tuple[str, ...] = (),
    **spec: Any,
) -> Pod:
    """A pod; `ready` None leaves it without a Ready condition."""
    meta = metadata(name, labels=labels or {}, annotations=annotations or {}, creationTimestamp=at(created))
    if owned_by:
        meta["ownerReferences"] = [owned_by]
    if deleted:
        meta["deletionTimestamp"] = at(created + 1)
    status: dict[str, Any] = {"phase": phase}
    if ready is not None:
        word = "True" if ready else "False"
        status["conditions"] = [{"type": "Ready", "status": word, "lastTransitionTime": at(since)}]
    addresses = ips or ((ip,) if ip else ())
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]}
    if restarts:
        status["containerStatuses"] = [{"name": "main", "restartCount": restarts}]
    spec.setdefault("containers", [{"name": "main"}])
    if node:
        spec["nodeName"] = node
    return made(Pod, metadata=meta, spec=spec, status=status)


def node(
    name: str,
    *,
    ready: str | None = "True",
    labels: dict[str, str] | None = None,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: int = 110,
    allocatable: dict[str, str] | None = None,
    **spec: Any,
) -> Node:
    meta = metadata(name, labels={"kubernetes.io/hostname": name, **(labels or {})})
    del meta["namespace"]
    status: dict[str, Any] = {"allocatable": {"cpu": cpu, "memory": memory, "pods": str(pods), **(allocatable or {})}}
    if ready is not None:
        status["conditions"] = [{"type": "Ready", "status": ready, "lastHeartbeatTime": at(0)}]
    return made(Node, metadata=meta, spec=spec, status=status)


def service(name: str = "web", *, labels: dict[str, str] | None = None, **spec: Any) -> Service:
    spec.setdefault("selector", {"app": name})
    spec.setdefault("ports", [{"port": 80, "targetPort": 8080}])
    spec.setdefault("ipFamilies", ["IPv4"])
    return made(Service, metadata=metadata(name, labels=labels or {}), spec=spec)


def template(version: str = "1") -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": f"web:{version}"}]},
    }


def replica_set(
    name: str,
    replicas: int,
    available: int | None = None,
    *,
    version: str = "1",
    created: float = 0,
    revision: int = 1,
    annotations: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
    generation: int = 1,
) -> ReplicaSet:
    """A ReplicaSet of Deployment `web`; what its status says is there is what was asked for unless told."""
    count = replicas if available is None else available
    notes = {"deployment.kubernetes.io/revision": str(revision), **(annotations or {})}
    meta = metadata(name, annotations=notes, creationTimestamp=at(created), generation=generation)
    meta["ownerReferences"] = [owner("Deployment", "web")]
    observed = {"replicas": replicas, "readyReplicas": count, "availableReplicas": count, "observedGeneration": 1}
    spec = {"replicas": replicas, "template": template(version)}
    return made(ReplicaSet, metadata=meta, spec=spec, status={**observed, **(status or {})})


def deployment(
    replicas: int = 3,
    *,
    version: str = "1",
    surge: int | str = "25%",
    unavailable: int | str = "25%",
    strategy: str = "RollingUpdate",
    annotations: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> Deployment:
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}} if strategy != "Recreate" else {}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(version),
        "strategy": {"type": strategy, **rolling},
        **spec,
    }
    meta = metadata("web", generation=1, annotations=annotations or {})
    return made(Deployment, metadata=meta, spec=spec, status=status or {})
