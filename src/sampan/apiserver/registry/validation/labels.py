"""Checks of labels and label selectors inside specifications."""

from collections.abc import Mapping

from sampan.apiserver.registry.validation.rules import Errors
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_WITH_VALUES = ("In", "NotIn")
_WITHOUT_VALUES = ("Exists", "DoesNotExist")


def label_errors(labels: Mapping[str, str] | None, path: str) -> Errors:
    """Keys are qualified names, values label values."""
    errors: Errors = []
    for key, value in (labels or {}).items():
        errors += [FieldError.invalid(path, key, message) for message in names.qualified_name(key)]
        errors += [FieldError.invalid(path, value, message) for message in names.label_value(value)]
    return errors


def selector_errors(selector: Object | None, path: str) -> Errors:
    """A `metav1.LabelSelector`."""
    if selector is None:
        return []
    errors = label_errors(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        errors += _expression_errors(expression, f"{path}.matchExpressions[{index}]")
    return errors


def is_empty(selector: Object | None) -> bool:
    """Whether a selector that is there selects everything."""
    return selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")


def _expression_errors(expression: Object, path: str) -> Errors:
    errors: Errors = []
    operator, values = expression.get("operator"), expression.get("values") or ()
    if operator in _WITH_VALUES:
        if not values:
            message = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(FieldError.required(f"{path}.values", message))
    elif operator in _WITHOUT_VALUES:
        if values:
            message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(FieldError.forbidden(f"{path}.values", message))
    else:
        errors.append(FieldError.invalid(f"{path}.operator", operator or "", "not a valid selector operator"))
    key = expression.get("key", "")
    errors += [FieldError.invalid(f"{path}.key", key, message) for message in names.qualified_name(key)]
    for index, value in enumerate(values):
        errors += [
            FieldError.invalid(f"{path}.values[{index}]", value, message) for message in names.label_value(value)
        ]
    return errors
