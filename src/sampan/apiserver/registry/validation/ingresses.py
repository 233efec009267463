"""Checks of Ingresses (hosts, paths, backends, the addresses in their status) and of their classes."""

import re

from sampan.apiserver.registry.validation.addresses import is_address
from sampan.apiserver.registry.validation.rules import Errors, Rules, immutable, named, one_of, port
from sampan.machinery import names
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_PATH_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_PATH_ENDINGS = ("/..", "/.")
_MAX_CONTROLLER = 250
_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_PATH_CHARACTERS = re.compile(_PATH)


def _ingress(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    errors: Errors = []
    backend = spec.get("defaultBackend")
    if not spec.get("rules") and backend is None:
        message = "either `defaultBackend` or `rules` must be specified"
        errors.append(FieldError.invalid("spec", None, message))
    if backend is not None:
        errors += _backend_errors(backend, "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules") or ()):
        errors += _rule_errors(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or ()):
        for position, host in enumerate(tls.get("hosts") or ()):
            errors += _host_errors(host, f"spec.tls[{index}].hosts[{position}]")
        if name := tls.get("secretName"):
            errors += named(names.dns1123_subdomain, name, f"spec.tls[{index}].secretName")
    if name := spec.get("ingressClassName"):
        errors += named(names.dns1123_subdomain, name, "spec.ingressClassName")
    return errors


def _ingress_create(obj: Object) -> Errors:
    errors = _ingress(obj)
    annotation = ((obj.get("metadata") or {}).get("annotations") or {}).get("kubernetes.io/ingress.class")
    chosen = (obj.get("spec") or {}).get("ingressClassName")
    if annotation and chosen and annotation != chosen:
        message = "must match `ingressClassName` when both are specified"
        path = "metadata.annotations[kubernetes.io/ingress.class]"
        errors.append(FieldError.invalid(path, annotation, message))
    return errors


def _rule_errors(rule: Object, path: str) -> Errors:
    errors: Errors = []
    if host := rule.get("host"):
        if is_address(host):
            message = "must be a DNS name, not an IP address"
            errors.append(FieldError.invalid(f"{path}.host", host, message))
        errors += _host_errors(host, f"{path}.host")
    http = rule.get("http")
    if http is None:
        return errors
    if not http.get("paths"):
        errors.append(FieldError.required(f"{path}.http.paths"))
    for index, one in enumerate(http.get("paths") or ()):
        errors += _path_errors(one, f"{path}.http.paths[{index}]")
    return errors


def _host_errors(host: str, path: str) -> Errors:
    return named(names.wildcard_subdomain if "*" in host else names.dns1123_subdomain, host, path)


def _path_errors(one: Object, path: str) -> Errors:
    kind, value = one.get("pathType"), one.get("path") or ""
    errors: Errors = []
    if kind is None:
        errors.append(FieldError.required(f"{path}.pathType", "pathType must be specified"))
    elif kind not in _PATH_TYPES:
        errors.append(FieldError.not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif kind != "ImplementationSpecific":
        errors += _exact_path_errors(value, f"{path}.path")
    elif value and not value.startswith("/"):
        errors.append(FieldError.invalid(f"{path}.path", value, "must be an absolute path"))
    return errors + _backend_errors(one.get("backend") or {}, f"{path}.backend")


def _exact_path_errors(value: str, path: str) -> Errors:
    if not value.startswith("/"):
        return [FieldError.invalid(path, value, "must be an absolute path")]
    errors: Errors = [
        FieldError.invalid(path, value, f"must not contain '{sequence}'")
        for sequence in _PATH_SEQUENCES
        if sequence in value
    ]
    return errors + [
        FieldError.invalid(path, value, f"cannot end with '{ending}'")
        for ending in _PATH_ENDINGS
        if value.endswith(ending)
    ]


def _backend_errors(backend: Object, path: str) -> Errors:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [FieldError.invalid(path, "", "cannot set both resource and service backends")]
    if service is None and resource is None:
        return [FieldError.required(path, "resource or service backend is required")]
    if service is None:
        return []
    return _service_backend_errors(service, f"{path}.service")


def _service_backend_errors(service: Object, path: str) -> Errors:
    name, number = service.get("name"), service.get("port") or {}
    errors = named(names.dns1035_label, name, f"{path}.name") if name else [FieldError.required(f"{path}.name")]
    if number.get("name") and number.get("number"):
        errors.append(FieldError.invalid(path, "", "cannot set both port name & port number"))
    elif number.get("name"):
        errors += named(names.port_name, number["name"], f"{path}.port.name")
    elif number.get("number"):
        errors += port(number["number"], f"{path}.port.number")
    else:
        errors.append(FieldError.required(path, "port name or number is required"))
    return errors


def status_errors(obj: Object) -> Errors:
    """What is wrong with the addresses in an Ingress's status."""
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    errors: Errors = []
    for index, one in enumerate(balancer.get("ingress") or ()):
        path = f"status.loadBalancer.ingress[{index}]"
        if (ip := one.get("ip")) and not is_address(ip):
            errors.append(
                FieldError.invalid(f"{path}.ip", ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
            )
        if host := one.get("hostname"):
            errors += named(names.dns1123_subdomain, host, f"{path}.hostname")
            if is_address(host):
                errors.append(FieldError.invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return errors


def _ingress_class(obj: Object) -> Errors:
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller") or "", spec.get("parameters")
    errors: Errors = []
    if len(controller) > _MAX_CONTROLLER:
        errors.append(FieldError.too_long("spec.controller", _MAX_CONTROLLER))
    errors += _domain_prefixed_path_errors(controller, "spec.controller")
    return errors + (_parameters_errors(parameters, "spec.parameters") if parameters is not None else [])


def _domain_prefixed_path_errors(value: str, path: str) -> Errors:
    if not value:
        return [FieldError.required(path)]
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        return [FieldError.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = named(names.dns1123_subdomain, domain, path)
    if not _PATH_CHARACTERS.fullmatch(rest):
        errors.append(FieldError.invalid(path, value, f"Invalid path (regex used for validation is '{_PATH}')"))
    return errors


def _parameters_errors(parameters: Object, path: str) -> Errors:
    errors: Errors = []
    if group := parameters.get("apiGroup"):
        errors += named(names.dns1123_subdomain, group, f"{path}.apiGroup")
    for field in ("kind", "name"):
        if not parameters.get(field):
            errors.append(FieldError.required(f"{path}.{field}"))
        else:
            errors += named(names.path_segment, parameters[field], f"{path}.{field}")
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    errors += one_of(scope, ("Cluster", "Namespace"), f"{path}.scope")
    if scope == "Namespace" and not namespace:
        message = "`parameters.namespace` is required when scope is set to 'Namespace'"
        errors.append(FieldError.required(f"{path}.namespace", message))
    elif scope == "Namespace":
        errors += named(names.dns1123_label, namespace or "", f"{path}.namespace")
    elif scope == "Cluster" and namespace is not None:
        errors.append(FieldError.forbidden(f"{path}.namespace", "should not be set when scope is set to 'Cluster'"))
    return errors


def _ingress_class_update(new: Object, old: Object) -> Errors:
    changed, original = (one.get("spec") or {} for one in (new, old))
    return _ingress_class(new) + immutable(changed.get("controller"), original.get("controller"), "spec.controller")


INGRESSES = Rules(_ingress_create, lambda new, old: _ingress(new))
INGRESS_CLASSES = Rules(_ingress_class, _ingress_class_update)
