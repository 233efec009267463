"""Checks of containers: names, images, ports, resources, mounts; environment and probes have files of their own."""

from collections.abc import Collection, Mapping, Set

from sampan.apiserver.registry.validation.environment import environment_errors
from sampan.apiserver.registry.validation.probes import lifecycle_errors, probe_errors
from sampan.apiserver.registry.validation.resources import resource_errors
from sampan.apiserver.registry.validation.rules import Errors, named, one_of, optional_one_of
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_NOT_IN_INIT = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")


def containers_errors(spec: Object, volumes: Set[str], path: str) -> Errors:
    """All containers of a pod's specification."""
    errors: Errors = []
    seen: set[str] = set()
    on_host = bool(spec.get("hostNetwork"))
    init, regular = spec.get("initContainers") or (), spec.get("containers") or ()
    for index, container in enumerate(init):
        where = f"{path}.initContainers[{index}]"
        errors += _container_errors(container, volumes, seen, on_host, where)
        errors += _init_errors(container, where)
    if not regular:
        errors.append(FieldError.required(f"{path}.containers"))
    for index, container in enumerate(regular):
        errors += _container_errors(container, volumes, seen, on_host, f"{path}.containers[{index}]")
    return errors + _host_port_errors(regular, f"{path}.containers")


def _container_errors(container: Object, volumes: Set[str], seen: set[str], on_host: bool, path: str) -> Errors:
    errors = _name_errors(container.get("name"), seen, f"{path}.name")
    image = container.get("image") or ""
    if not image:
        errors.append(FieldError.required(f"{path}.image"))
    elif image != image.strip():
        message = "must not have leading or trailing whitespace"
        errors.append(FieldError.invalid(f"{path}.image", image, message))
    errors += one_of(container.get("imagePullPolicy"), _PULL_POLICIES, f"{path}.imagePullPolicy")
    errors += one_of(container.get("terminationMessagePolicy"), _MESSAGE_POLICIES, f"{path}.terminationMessagePolicy")
    if "ports" in container:
        errors += _port_errors(container["ports"], on_host, f"{path}.ports")
    if "env" in container or "envFrom" in container:
        errors += environment_errors(container, path)
    if "volumeMounts" in container:
        errors += _mount_errors(container["volumeMounts"], volumes, f"{path}.volumeMounts")
    if container.get("resources"):
        errors += resource_errors(container["resources"], f"{path}.resources")
    errors += probe_errors(container, path)
    if "lifecycle" in container:
        errors += lifecycle_errors(container["lifecycle"], f"{path}.lifecycle")
    if context := container.get("securityContext"):
        errors += _security_errors(context, f"{path}.securityContext")
    return errors


def _name_errors(name: str | None, seen: set[str], path: str) -> Errors:
    if not name:
        return [FieldError.required(path)]
    errors = named(names.dns1123_label, name, path)
    if name in seen:
        errors.append(FieldError.duplicate(path, name))
    seen.add(name)
    return errors


def _init_errors(container: Object, path: str) -> Errors:
    """An init container that is not a sidecar ends, so nothing may watch it live."""
    policy = container.get("restartPolicy")
    if policy == "Always":
        return []
    message = "may not be set for init containers without restartPolicy=Always"
    return [FieldError.forbidden(f"{path}.{field}", message) for field in _NOT_IN_INIT if container.get(field)]


def _port_errors(ports: Collection[Object], on_host: bool, path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            errors += named(names.port_name, name, f"{where}.name")
            if name in seen:
                errors.append(FieldError.duplicate(f"{where}.name", name))
            seen.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            errors.append(FieldError.required(f"{where}.containerPort"))
        else:
            errors += _number_errors(number, f"{where}.containerPort")
        if host:
            errors += _number_errors(host, f"{where}.hostPort")
        errors += one_of(port.get("protocol"), _PROTOCOLS, f"{where}.protocol")
        if on_host and host and host != number:
            message = "must match `hostPort` when `hostNetwork` is true"
            errors.append(FieldError.invalid(f"{where}.containerPort", number, message))
    return errors


def _number_errors(number: int, path: str) -> Errors:
    return [FieldError.invalid(path, number, message) for message in names.port_number(number)]


def _host_port_errors(containers: Collection[Object], path: str) -> Errors:
    """Within a pod, nothing takes a host port twice."""
    errors: Errors = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        for position, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in seen:
                errors.append(FieldError.duplicate(f"{path}[{index}].ports[{position}].hostPort", key))
            seen.add(key)
    return errors


def _mount_errors(mounts: Collection[Object], volumes: Set[str], path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name, target = mount.get("name"), mount.get("mountPath")
        if not name:
            errors.append(FieldError.required(f"{where}.name"))
        elif name not in volumes:
            errors.append(FieldError.not_found(f"{where}.name", name))
        if not target:
            errors.append(FieldError.required(f"{where}.mountPath"))
        elif target in seen:
            errors.append(FieldError.invalid(f"{where}.mountPath", target, "must be unique"))
        seen.add(target or "")
        errors += _sub_path_errors(mount, where)
        errors += optional_one_of(mount.get("mountPropagation"), _PROPAGATIONS, f"{where}.mountPropagation")
    return errors


def _sub_path_errors(mount: Object, path: str) -> Errors:
    errors: Errors = []
    for field in ("subPath", "subPathExpr"):
        if value := mount.get(field):
            errors += relative_path_errors(value, f"{path}.{field}")
    if mount.get("subPath") and mount.get("subPathExpr"):
        message = "subPathExpr and subPath are mutually exclusive"
        errors.append(FieldError.invalid(f"{path}.subPathExpr", mount["subPathExpr"], message))
    return errors


def relative_path_errors(value: str, path: str) -> Errors:
    """A path below something, which may not climb out of it."""
    if value.startswith("/"):
        return [FieldError.invalid(path, value, "must be a relative path")]
    if ".." in value.split("/"):
        return [FieldError.invalid(path, value, "must not contain '..'")]
    return []


def _security_errors(context: Mapping[str, object], path: str) -> Errors:
    errors: Errors = []
    for field in ("runAsUser", "runAsGroup"):
        value = context.get(field)
        if isinstance(value, int) and not 0 <= value <= 2**31 - 1:
            message = "must be between 0 and 2147483647, inclusive"
            errors.append(FieldError.invalid(f"{path}.{field}", value, message))
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(FieldError.invalid(path, context, message))
    return errors
