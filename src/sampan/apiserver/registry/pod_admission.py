"""What the server adds to a new pod: its service account's token, its priority, tolerations for lost nodes, amounts.

These are upstream's admission plugins ServiceAccount, Priority, DefaultTolerationSeconds and LimitRanger. Each function
changes the pod in place and raises Forbidden where the plugin refuses. Quotas come last: `quota_admission.py`.
"""

import asyncio

from sampan.apiserver.registry.limit_ranges import apply_limit_ranges
from sampan.apiserver.strategy import Services
from sampan.machinery import names
from sampan.machinery.errors import Forbidden
from sampan.machinery.objects import Object, annotations, metadata

TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR = "kubernetes.io/config.mirror"
_DEFAULT_ACCOUNT = "default"
_ACCOUNT_ATTEMPTS, _ACCOUNT_PAUSE = 10, 0.1
_LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_LOST_NODE_SECONDS = 300
_CONTAINER_LISTS = ("initContainers", "containers")


async def admit(pod: Object, services: Services) -> None:
    """All of it. Static pods' mirrors are left as their node made them."""
    if MIRROR not in annotations(pod):
        await _add_account(pod, services)
    await _add_priority(pod, services)
    _add_tolerations(pod["spec"])
    namespace = metadata(pod)["namespace"]
    if ranges := await services.list("limitranges", namespace):
        apply_limit_ranges(pod, ranges)


async def _add_account(pod: Object, services: Services) -> None:
    spec = pod["spec"]
    name = spec.get("serviceAccountName") or _DEFAULT_ACCOUNT
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = await _find_account(pod, name, services)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    if wanted is not False:
        _mount_token(spec)


async def _find_account(pod: Object, name: str, services: Services) -> Object:
    """The service account; a namespace's first one may be a moment late."""
    namespace = metadata(pod)["namespace"]
    attempts = _ACCOUNT_ATTEMPTS if name == _DEFAULT_ACCOUNT else 1
    for attempt in range(attempts):
        if attempt:
            await asyncio.sleep(_ACCOUNT_PAUSE)
        account = await services.get("serviceaccounts", namespace, name)
        if account is not None:
            return account
    why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
    raise _forbidden(pod, why)


def _mount_token(spec: Object) -> None:
    """Add the volume with token, CA and namespace to every container that has nothing at its place."""
    volume = f"kube-api-access-{names.generate_suffix()}"
    mounted = False
    for field in _CONTAINER_LISTS:
        for container in spec.get(field) or ():
            mounts = container.setdefault("volumeMounts", [])
            if all(mount.get("mountPath") != TOKEN_DIRECTORY for mount in mounts):
                mounts.append({"name": volume, "readOnly": True, "mountPath": TOKEN_DIRECTORY})
                mounted = True
    if mounted:
        spec.setdefault("volumes", []).append({"name": volume, "projected": _token_volume()})


def _token_volume() -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": authority},
            {"downwardAPI": {"items": [namespace]}},
        ],
        "defaultMode": 420,
    }


async def _add_priority(pod: Object, services: Services) -> None:
    spec = pod["spec"]
    chosen = await _priority_class(pod, services)
    value = int(chosen.get("value") or 0)
    if spec.get("priority") not in (None, value):
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {value} from the given PriorityClass name"
        )
        raise _forbidden(pod, why)
    spec["priority"] = value
    spec["preemptionPolicy"] = chosen.get("preemptionPolicy") or "PreemptLowerPriority"
    if "metadata" in chosen:
        spec["priorityClassName"] = metadata(chosen)["name"]


async def _priority_class(pod: Object, services: Services) -> Object:
    """The class that the pod names, or else the cluster's default one, or else an empty one."""
    name = pod["spec"].get("priorityClassName")
    if name:
        found = await services.get("priorityclasses.scheduling.k8s.io", "", name)
        if found is None:
            raise _forbidden(pod, f"no PriorityClass with name {name} was found")
        return found
    classes = await services.list("priorityclasses.scheduling.k8s.io")
    defaults = [one for one in classes if one.get("globalDefault")]
    return min(defaults, key=lambda one: int(one.get("value") or 0), default={})


def _add_tolerations(spec: Object) -> None:
    """Pods stay five minutes on a node that is lost, unless they say otherwise."""
    tolerations = spec.get("tolerations") or []
    added = [
        {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _LOST_NODE_SECONDS}
        for taint in _LOST_NODE_TAINTS
        if not any(_tolerates(one, taint) for one in tolerations)
    ]
    if added:
        spec["tolerations"] = [*tolerations, *added]


def _tolerates(toleration: Object, taint: str) -> bool:
    return toleration.get("key") in (None, "", taint) and toleration.get("effect") in (None, "", "NoExecute")


def _forbidden(pod: Object, why: str) -> Forbidden:
    name = metadata(pod).get("name", "")
    return Forbidden(f'pods "{name}" is forbidden: {why}', details={"name": name, "kind": "pods"})
