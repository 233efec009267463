"""Checks of amounts: resource names, quantities, requests that fit their limits."""

from sampan.apiserver.registry.validation.rules import Errors, named
from sampan.machinery import names, quantity
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object
from sampan.machinery.quantity import Quantity, QuantityError

_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_OVERCOMMITTED = _STANDARD


def resource_errors(resources: Object, path: str) -> Errors:
    """A container's requests and limits."""
    errors: Errors = []
    limits = _amounts(resources.get("limits"), f"{path}.limits", errors)
    requests = _amounts(resources.get("requests"), f"{path}.requests", errors)
    for name, request in requests.items():
        limit = limits.get(name)
        if limit is None:
            if name not in _OVERCOMMITTED:
                message = "limit must be set for non overcommitable resources"
                errors.append(FieldError.required(f"{path}.limits", message))
        elif name not in _OVERCOMMITTED and request != limit:
            message = f"must be equal to {name} limit of {limit}"
            errors.append(FieldError.invalid(f"{path}.requests", str(request), message))
        elif request > limit:
            message = f"must be less than or equal to {name} limit of {limit}"
            errors.append(FieldError.invalid(f"{path}.requests", str(request), message))
    return errors


def quantity_errors(amount: object, path: str) -> Errors:
    """A single amount that may not be negative."""
    amounts: Errors = []
    _amount(amount, path, amounts)
    return amounts


def _amounts(held: Object | None, path: str, errors: Errors) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for name, amount in (held or {}).items():
        where = f"{path}[{name}]"
        if name not in _STANDARD:
            errors += _name_errors(name, where)
        parsed = _amount(amount, where, errors)
        if parsed is not None:
            found[name] = parsed
    return found


def _name_errors(name: str, path: str) -> Errors:
    errors = named(names.qualified_name, name, path)
    if errors or "/" in name or name.startswith("hugepages-"):
        return errors
    return [FieldError.invalid(path, name, "must be a standard resource for containers")]


def _amount(amount: object, path: str, errors: Errors) -> Quantity | None:
    try:
        parsed = quantity.parse(amount if isinstance(amount, str | int | float) else str(amount))
    except QuantityError as wrong:
        errors.append(FieldError.invalid(path, amount, str(wrong)))
        return None
    if parsed < quantity.ZERO:
        message = "must be greater than or equal to 0"
        errors.append(FieldError.invalid(path, str(parsed), message))
    return parsed
