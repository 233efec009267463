"""Deployment and its kin before apps/v1: the same fields, but other defaults, and selectors that fill themselves in."""

from collections.abc import Mapping
from typing import Any

from sampan.apiserver.conversion.conversion import Convert, stamped
from sampan.machinery.objects import Object

_FOREVER = 2**31 - 1
_GONE_FIELDS = ("rollbackTo", "templateGeneration")


def from_old(api_version: str, *, selects_itself: bool, defaults: Mapping[str, Any]) -> Convert:
    """To the current form. `selects_itself` takes selector and labels from the template's labels."""

    def change(obj: Object) -> Object:
        spec = {name: value for name, value in (obj.get("spec") or {}).items() if name not in _GONE_FIELDS}
        result = {**obj, "spec": spec}
        if selects_itself:
            _select_template(result)
        _merge(spec, defaults)
        return result

    return stamped(api_version, change)


def _select_template(obj: Object) -> None:
    labels = ((obj["spec"].get("template") or {}).get("metadata") or {}).get("labels")
    if not labels:
        return
    if not obj["spec"].get("selector"):
        obj["spec"]["selector"] = {"matchLabels": dict(labels)}
    meta = obj.get("metadata") or {}
    if not meta.get("labels"):
        obj["metadata"] = {**meta, "labels": dict(labels)}


def _merge(spec: Object, defaults: Mapping[str, Any]) -> None:
    """Set what is missing; an update strategy's parameters only where its type has them."""
    for name, value in defaults.items():
        if name not in ("strategy", "updateStrategy"):
            spec.setdefault(name, value)
            continue
        strategy = spec[name] = dict(spec.get(name) or {})
        strategy.setdefault("type", value["type"])
        if strategy["type"] == "RollingUpdate" and "rollingUpdate" in value:
            strategy["rollingUpdate"] = {**value["rollingUpdate"], **(strategy.get("rollingUpdate") or {})}


EXTENSIONS_DEPLOYMENT: Mapping[str, Any] = {
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}},
    "revisionHistoryLimit": _FOREVER,
    "progressDeadlineSeconds": _FOREVER,
}
BETA1_DEPLOYMENT: Mapping[str, Any] = {"revisionHistoryLimit": 2}
BETA1_STATEFUL_SET: Mapping[str, Any] = {"updateStrategy": {"type": "OnDelete"}}
EXTENSIONS_DAEMON_SET: Mapping[str, Any] = {"updateStrategy": {"type": "OnDelete"}}
