"""The command line of ingress-nginx, by which its manifests and charts start the controller.

`TABLE` has every flag that any of its releases took. Those that mean nothing here are accepted, and `parse` says of
each given one why; others are an error, as there. Values are written as Go's programs take them: `--flag=value`,
`--flag value`, and for switches `--flag` or `--flag=false`; with one dash or two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sampan.machinery.durations import seconds

_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class FlagError(ValueError):
    """A flag that does not exist, or a value that it cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the flags say; each field is a flag with dashes for underscores. Times are seconds."""

    annotations_prefix: str = "nginx.ingress.kubernetes.io"
    apiserver_host: str = ""
    bind_addresses: str = ""
    certificate_authority: str = ""
    configmap: str = ""
    controller_class: str = "k8s.io/ingress-nginx"
    default_backend_service: str = ""
    default_ssl_certificate: str = ""
    disable_catch_all: bool = False
    disable_leader_election: bool = False
    disable_svc_external_name: bool = False
    disable_sync_events: bool = False
    election_id: str = "ingress-controller-leader"
    election_ttl: float = 30.0
    enable_metrics: bool = True
    enable_ssl_passthrough: bool = False
    enable_topology_aware_routing: bool = False
    healthz_host: str = ""
    healthz_port: int = 10254
    http_port: int = 80
    https_port: int = 443
    ingress_class: str = "nginx"
    ingress_class_by_name: bool = False
    kubeconfig: str = ""
    publish_service: str = ""
    publish_status_address: str = ""
    report_node_internal_ip_address: bool = False
    shutdown_grace_period: float = 0.0
    status_port: int = 10246
    tcp_services_configmap: str = ""
    udp_services_configmap: str = ""
    update_status: bool = True
    update_status_on_shutdown: bool = True
    version: bool = False
    watch_ingress_without_class: bool = False
    watch_namespace: str = ""
    watch_namespace_selector: str = ""


_IN_LUA = "what it is for is not needed here"
_LOG = "the log goes to standard error"
_BUCKETS = "histograms have the buckets of ingress-nginx's defaults"
_HOSTS = "metrics have the label host, for hosts that an Ingress has"
_WEBHOOK = "the API server is told of a faulty Ingress by an event on it, not by refusing it"
_NO_EFFECT: dict[str, tuple[str, str]] = {
    "add_dir_header": ("bool", _LOG),
    "alsologtostderr": ("bool", _LOG),
    "bucket-factor": ("text", _BUCKETS),
    "deep-inspect": ("bool", "values are always checked, and quoted"),
    "default-server-port": ("int", "the default server has no port of its own"),
    "disable-full-test": ("bool", "the whole configuration is always checked"),
    "dynamic-configuration-retries": ("int", "what nginx did not take is offered until it does"),
    "enable-annotation-validation": ("bool", "values are always checked, and quoted"),
    "enable-dynamic-certificates": ("bool", "they are always dynamic"),
    "enable-dynamic-configuration": ("bool", "it is always dynamic"),
    "enable-ssl-chain-completion": ("bool", "chains are sent as the Secret has them"),
    "exclude-socket-metrics": ("text", "all metrics are there"),
    "force-namespace-isolation": ("bool", "Secrets and ConfigMaps of other namespaces are never read by default"),
    "health-check-path": ("text", "it is always /healthz"),
    "health-check-timeout": ("text", _IN_LUA),
    "internal-logger-address": ("text", _LOG),
    "length-buckets": ("text", _BUCKETS),
    "log_backtrace_at": ("text", _LOG),
    "log_dir": ("text", _LOG),
    "log_file": ("text", _LOG),
    "log_file_max_size": ("text", _LOG),
    "logtostderr": ("bool", _LOG),
    "max-buckets": ("text", _BUCKETS),
    "maxmind-edition-ids": ("text", "there is no GeoIP"),
    "maxmind-license-key": ("text", "there is no GeoIP"),
    "maxmind-mirror": ("text", "there is no GeoIP"),
    "maxmind-retries-count": ("text", "there is no GeoIP"),
    "maxmind-retries-timeout": ("text", "there is no GeoIP"),
    "metrics-per-host": ("bool", _HOSTS),
    "metrics-per-undefined-host": ("bool", _HOSTS),
    "monitor-max-batch-size": ("int", _IN_LUA),
    "one_output": ("bool", _LOG),
    "post-shutdown-grace-period": ("text", "the controller ends when nginx has ended"),
    "profiler-address": ("text", "there is no profiler"),
    "profiler-port": ("int", "there is no profiler"),
    "profiling": ("bool", "there is no profiler"),
    "report-status-classes": ("bool", "metrics have the status itself"),
    "size-buckets": ("text", _BUCKETS),
    "skip_headers": ("bool", _LOG),
    "skip_log_headers": ("bool", _LOG),
    "sort-backends": ("bool", "endpoints are always sorted"),
    "ssl-passthrough-proxy-port": ("int", "it goes through a socket of nginx's own"),
    "status-update-interval": ("text", "the status is written when it changes"),
    "stderrthreshold": ("text", _LOG),
    "stream-port": ("int", _IN_LUA),
    "sync-period": ("text", "watches tell of every change"),
    "sync-rate-limit": ("text", "changes take effect at once; reloads are at least 100 ms apart"),
    "time-buckets": ("text", _BUCKETS),
    "v": ("int", "the log has one level of detail"),
    "validating-webhook": ("text", _WEBHOOK),
    "validating-webhook-certificate": ("text", _WEBHOOK),
    "validating-webhook-key": ("text", _WEBHOOK),
    "vmodule": ("text", _LOG),
}
"""Flags that change nothing: how their values are written, and why."""


def parse(words: Sequence[str]) -> tuple[Flags, list[str]]:
    """The flags, and a sentence for each given one that does nothing. Raises FlagError."""
    kinds = {field.name.replace("_", "-"): str(field.type) for field in fields(Flags)}
    given: dict[str, Any] = {}
    idle: list[str] = []
    rest = list(words)
    while rest:
        name, value = _next(rest, kinds)
        if name in _NO_EFFECT:
            idle.append(f"--{name} has no effect: {_NO_EFFECT[name][1]}")
        else:
            given[name.replace("-", "_")] = _value(name, kinds[name], value)
    flags = Flags(**given)
    for name in ("configmap", "default_backend_service", "default_ssl_certificate", "publish_service"):
        _check_reference(name, getattr(flags, name))
    for name in ("tcp_services_configmap", "udp_services_configmap"):
        _check_reference(name, getattr(flags, name))
    if flags.publish_service and flags.publish_status_address:
        raise FlagError("--publish-service and --publish-status-address: give one of them")
    return flags, idle


def _next(rest: list[str], kinds: dict[str, str]) -> tuple[str, str]:
    """Take a flag and its value from the words."""
    word = rest.pop(0)
    name, equals, value = word.lstrip("-").partition("=")
    if not word.startswith("-") or not name:
        raise FlagError(f"{word!r} is not a flag")
    kind = kinds.get(name) or _NO_EFFECT.get(name, ("", ""))[0]
    if not kind:
        raise FlagError(f"unknown flag: --{name}")
    if equals:
        return name, value
    if kind == "bool":
        return name, "true"
    if not rest:
        raise FlagError(f"flag needs an argument: --{name}")
    return name, rest.pop(0)


def _value(name: str, kind: str, text: str) -> Any:
    converters: dict[str, Callable[[str], Any]] = {"bool": _boolean, "int": int, "float": duration}
    try:
        return converters.get(kind, str)(text)
    except (ValueError, KeyError) as error:
        raise FlagError(f"invalid argument {text!r} for --{name}") from error


def _boolean(text: str) -> bool:
    return _BOOLEANS[text]


def duration(text: str) -> float:
    """Seconds of a time as Go writes it (`1m30s`), or of a bare number. Raises ValueError."""
    if text.isdigit():
        return float(text)
    if text.startswith("-"):
        raise ValueError(f"{text!r} is negative")
    return seconds(text)


def _check_reference(name: str, text: str) -> None:
    namespace, slash, rest = text.partition("/")
    if text and not (slash and _NAME.fullmatch(namespace) and _NAME.fullmatch(rest)):
        raise FlagError(f"invalid argument {text!r} for --{name.replace('_', '-')}: expected NAMESPACE/NAME")
