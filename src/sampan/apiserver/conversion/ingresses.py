"""Ingress before networking.k8s.io/v1: backends were flat, and paths had no type."""

from sampan.apiserver.conversion.conversion import Convert, stamped
from sampan.machinery.objects import Object

STORED = "networking.k8s.io/v1"


def _to_storage(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    if (backend := spec.pop("backend", None)) is not None:
        spec["defaultBackend"] = _new_backend(backend)
    if "rules" in spec:
        spec["rules"] = [_rule(rule, _new_path) for rule in spec["rules"] or ()]
    return {**obj, "spec": spec}


def _from_storage(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    if (backend := spec.pop("defaultBackend", None)) is not None:
        spec["backend"] = _old_backend(backend)
    if "rules" in spec:
        spec["rules"] = [_rule(rule, _old_path) for rule in spec["rules"] or ()]
    return {**obj, "spec": spec}


def _rule(rule: Object, convert: Convert) -> Object:
    http = rule.get("http")
    if not isinstance(http, dict):
        return rule
    return {**rule, "http": {**http, "paths": [convert(one) for one in http.get("paths") or ()]}}


def _new_path(one: Object) -> Object:
    return {"pathType": "ImplementationSpecific", **one, "backend": _new_backend(one.get("backend") or {})}


def _old_path(one: Object) -> Object:
    return {**one, "backend": _old_backend(one.get("backend") or {})}


def _new_backend(backend: Object) -> Object:
    new = {name: value for name, value in backend.items() if name not in ("serviceName", "servicePort")}
    if "serviceName" in backend or "servicePort" in backend:
        port = backend.get("servicePort")
        new["service"] = {"name": backend.get("serviceName") or "", "port": _new_port(port)}
    return new


def _new_port(port: int | str | None) -> Object:
    if isinstance(port, str):
        return {"name": port} if port else {}
    return {"number": port} if port else {}


def _old_backend(backend: Object) -> Object:
    old = {name: value for name, value in backend.items() if name != "service"}
    if service := backend.get("service"):
        port = service.get("port") or {}
        old |= {"serviceName": service.get("name", ""), "servicePort": port.get("name") or port.get("number") or 0}
    return old


to_storage = stamped(STORED, _to_storage)


def from_storage(api_version: str) -> Convert:
    return stamped(api_version, _from_storage)
