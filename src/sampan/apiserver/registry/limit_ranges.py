"""LimitRange admission: containers get the namespace's default amounts, and must keep within its bounds.

Upstream's LimitRanger plugin, for the limits of type Container and Pod. Changes the pod in place; raises Forbidden.
"""

from collections.abc import Iterable, Sequence

from sampan.machinery import quantity
from sampan.machinery.errors import Forbidden
from sampan.machinery.objects import Object, metadata
from sampan.machinery.quantity import ZERO, Quantity

_ANNOTATION = "kubernetes.io/limit-ranger"
_LISTS = (("containers", "container"), ("initContainers", "init container"))
_FIELDS = (("default", "limits", "limit"), ("defaultRequest", "requests", "request"))
Amounts = dict[str, Quantity]


def apply_limit_ranges(pod: Object, ranges: Sequence[Object]) -> None:
    """All LimitRanges of the pod's namespace."""
    limits = [limit for one in ranges for limit in (one.get("spec") or {}).get("limits") or ()]
    notes = [note for limit in limits if limit.get("type") == "Container" for note in _set_defaults(pod, limit)]
    if notes:
        annotations = metadata(pod).setdefault("annotations", {})
        annotations[_ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
    errors = [error for limit in limits for error in _limit_errors(pod, limit)]
    if errors:
        name = metadata(pod).get("name", "")
        why = errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]"
        raise Forbidden(f'pods "{name}" is forbidden: {why}', details={"name": name, "kind": "pods"})


def _set_defaults(pod: Object, limit: Object) -> Iterable[str]:
    """What was set, in words, for each container."""
    for field, word in _LISTS:
        for container in pod["spec"].get(field) or ():
            for source, target, what in _FIELDS:
                missing = _fill(container.setdefault("resources", {}), limit.get(source) or {}, target)
                if missing:
                    yield f"{', '.join(sorted(missing))} {what} for {word} {container['name']}"


def _fill(resources: Object, defaults: Object, target: str) -> list[str]:
    held = resources.get(target) or {}
    missing = [name for name in defaults if name not in held]
    if missing:
        resources[target] = {**held, **{name: defaults[name] for name in missing}}
    return missing


def _limit_errors(pod: Object, limit: Object) -> list[str]:
    kind, spec = limit.get("type"), pod["spec"]
    if kind == "Container":
        containers = [one for field, _ in _LISTS for one in spec.get(field) or ()]
        return [
            error
            for one in containers
            for error in _bound_errors(limit, _amounts(one, "requests"), _amounts(one, "limits"))
        ]
    if kind == "Pod":
        return _bound_errors(limit, _sum(spec, "requests"), _sum(spec, "limits"))
    return []


def _bound_errors(limit: Object, requests: Amounts, limits: Amounts) -> list[str]:
    errors: list[str] = []
    for name, text in (limit.get("min") or {}).items():
        least = quantity.parse(text)
        head = f"minimum {name} usage per {limit['type']} is {least}"
        errors += _compare(head, "request", requests.get(name), requests.get(name, ZERO) < least)
        if name in limits and limits[name] < least:
            errors.append(f"{head}, but limit is {limits[name]}")
    for name, text in (limit.get("max") or {}).items():
        most = quantity.parse(text)
        head = f"maximum {name} usage per {limit['type']} is {most}"
        errors += _compare(head, "limit", limits.get(name), name in limits and limits[name] > most)
        if name in requests and requests[name] > most:
            errors.append(f"{head}, but request is {requests[name]}")
    return errors


def _compare(head: str, what: str, amount: Quantity | None, is_outside: bool) -> list[str]:
    if amount is None:
        return [f"{head}.  No {what} is specified"]
    return [f"{head}, but {what} is {amount}"] if is_outside else []


def _amounts(container: Object, field: str) -> Amounts:
    held = (container.get("resources") or {}).get(field) or {}
    return {name: quantity.parse(amount) for name, amount in held.items()}


def _sum(spec: Object, field: str) -> Amounts:
    total: Amounts = {}
    for container in spec.get("containers") or ():
        for name, amount in _amounts(container, field).items():
            total[name] = total.get(name, ZERO) + amount
    return total
