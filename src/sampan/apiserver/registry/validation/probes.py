"""Checks of probes and lifecycle hooks: exactly one handler, sensible numbers."""

from sampan.apiserver.registry.validation.rules import Errors, named, non_negative, one_of, port
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_SCHEMES = ("HTTP", "HTTPS")


def probe_errors(container: Object, path: str) -> Errors:
    """All three probes of a container."""
    errors: Errors = []
    for name in _PROBES:
        if probe := container.get(name):
            errors += _probe_errors(probe, name, f"{path}.{name}")
    return errors


def lifecycle_errors(lifecycle: Object, path: str) -> Errors:
    errors: Errors = []
    for name in ("postStart", "preStop"):
        if (handler := lifecycle.get(name)) is not None:
            errors += _handler_errors(handler, _HOOK_HANDLERS, f"{path}.{name}")
    return errors


def _probe_errors(probe: Object, name: str, path: str) -> Errors:
    errors = _handler_errors(probe, _PROBE_HANDLERS, path)
    for field in _NUMBERS:
        errors += non_negative(probe.get(field), f"{path}.{field}")
    if name != "readinessProbe" and probe.get("successThreshold") not in (None, 1):
        errors.append(FieldError.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and name == "readinessProbe":
        message = "must not be set for readinessProbes"
        errors.append(FieldError.invalid(f"{path}.terminationGracePeriodSeconds", grace, message))
    elif grace is not None and grace <= 0:
        message = "must be greater than 0"
        errors.append(FieldError.invalid(f"{path}.terminationGracePeriodSeconds", grace, message))
    return errors


def _handler_errors(holder: Object, handlers: tuple[str, ...], path: str) -> Errors:
    present = [name for name in handlers if holder.get(name) is not None]
    if not present:
        return [FieldError.required(path, "must specify a handler type")]
    errors: Errors = [
        FieldError.forbidden(f"{path}.{name}", "may not specify more than 1 handler type") for name in present[1:]
    ]
    first = present[0]
    return errors + _CHECKS[first](holder[first], f"{path}.{first}")


def _exec_errors(handler: Object, path: str) -> Errors:
    return [] if handler.get("command") else [FieldError.required(f"{path}.command")]


def _http_errors(handler: Object, path: str) -> Errors:
    errors = [] if handler.get("path") else [FieldError.required(f"{path}.path")]
    errors += _target_errors(handler, path)
    errors += one_of(handler.get("scheme"), _SCHEMES, f"{path}.scheme")
    for header in handler.get("httpHeaders") or ():
        if not header.get("name"):
            errors.append(FieldError.required(f"{path}.httpHeaders"))
    return errors


def _target_errors(handler: Object, path: str) -> Errors:
    value = handler.get("port")
    if isinstance(value, str):
        return named(names.port_name, value, f"{path}.port")
    return port(value, f"{path}.port")


def _sleep_errors(handler: Object, path: str) -> Errors:
    seconds = handler.get("seconds") or 0
    return non_negative(seconds, f"{path}.seconds")


_CHECKS = {
    "exec": _exec_errors,
    "httpGet": _http_errors,
    "tcpSocket": _target_errors,
    "grpc": _target_errors,
    "sleep": _sleep_errors,
}
