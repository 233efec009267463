"""Eviction: a deletion that asks the pod's disruption budgets first.

A budget that allows one more disruption is charged by compare-and-swap before the pod goes, as upstream does, so that
two evictions never spend the same allowance; the disruption controller later recounts.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from sampan.apiserver import bodies, deletion, shape
from sampan.apiserver.handlers.call import Call, json_response, read_write_options
from sampan.apiserver.subresources.binding import set_condition
from sampan.http.messages import Response
from sampan.machinery import times
from sampan.machinery.errors import InternalError, TooManyRequests
from sampan.machinery.objects import Object, labels
from sampan.machinery.selectors import from_label_selector

if TYPE_CHECKING:
    from sampan.apiserver.served import Served

_KIND = ("policy", "v1", "Eviction")
_BUDGETS = "poddisruptionbudgets.policy"
_FINISHED = ("Succeeded", "Failed")


async def evict(call: Call) -> Response:
    """Raises NotFound, TooManyRequests (a budget says no), InternalError (several budgets)."""
    read_write_options(call)
    eviction = shape.typed(call.context.schemas, _KIND, await bodies.read_object(call.request, "Eviction"))
    options = deletion.parse_options(eviction.get("deleteOptions") or {})
    request = replace(call.info, subresource="", dry_run=call.info.dry_run or options.dry_run)
    pods = call.home
    pod = await call.context.get("pods", request.namespace, request.name)
    if pod is None:
        raise pods.not_found(request.name)
    if not _goes_freely(pod):
        await _charge(call, pod, dry_run=request.dry_run)
    if not request.dry_run:
        await _announce(call, pods)
    await deletion.delete(call.context.store, pods, request, options)
    return json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)


def _goes_freely(pod: Object) -> bool:
    """Pods that have ended, were never started or are going already need no budget."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in (*_FINISHED, "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


async def _charge(call: Call, pod: Object, *, dry_run: bool) -> None:
    budgets = [budget for budget in await call.context.list(_BUDGETS, call.info.namespace) if _covers(budget, pod)]
    if not budgets:
        return
    if len(budgets) > 1:
        raise InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    budget = budgets[0]
    if _unhealthy_goes(budget, pod):
        return
    served = call.context.catalog.named(_BUDGETS)
    name = budget["metadata"]["name"]
    request = replace(call.info, group="policy", resource="poddisruptionbudgets", name=name, subresource="status")
    request.dry_run = dry_run
    pod_name = pod["metadata"]["name"]
    await call.context.engine.update(served, request, lambda found: _spend(found, pod_name), own=True)


def _covers(budget: Object, pod: Object) -> bool:
    return from_label_selector((budget.get("spec") or {}).get("selector")).matches(labels(pod))


def _unhealthy_goes(budget: Object, pod: Object) -> bool:
    """A pod that is not ready protects nobody: it may go when its budget says so, or is satisfied without it."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
        return False
    spec, status = budget.get("spec") or {}, budget.get("status") or {}
    if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    return bool(0 < status.get("desiredHealthy", 0) <= status.get("currentHealthy", 0))


def _spend(budget: Object, pod: str) -> Object:
    """Take one disruption off the budget. Raises TooManyRequests."""
    status = budget.setdefault("status", {})
    meta = budget["metadata"]
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        raise _refusal(f"The disruption budget {meta['name']} is still being processed by the server.", 10)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed <= 0:
        healthy, wanted = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        raise _refusal(
            f"The disruption budget {meta['name']} needs {wanted} healthy pods and has {healthy} currently", 0
        )
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: times.now()}
    return budget


def _refusal(why: str, seconds: int) -> TooManyRequests:
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", details=details)


async def _announce(call: Call, pods: "Served") -> None:
    """Write the condition that says why the pod will go."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }

    def transform(pod: Object) -> Object:
        set_condition(pod, condition)
        return pod

    await call.context.engine.update(pods, replace(call.info, subresource="status"), transform, own=True)
