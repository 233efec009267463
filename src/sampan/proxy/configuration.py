"""KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1): the file that kube-proxy reads, understood here too.

Every field of upstream's is known by type, so that a wrong one is refused with its path, and so is one that nobody
knows; those that are deprecated or without an effect here are told of. configchecks.py looks at values, cli/proxy.py
turns the result into ProxyOptions.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from sampan.machinery.durations import seconds
from sampan.proxy.configchecks import problems
from sampan.proxy.options import SYNC_PERIOD_SECONDS

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"


class ConfigurationError(ValueError):
    """A file that cannot be used; the message names the field."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Durations are strings such as 1h30m; None means that the default holds."""


class ClientConnection(_Section, frozen=True):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 0
    burst: int = 0


class DetectLocal(_Section, frozen=True):
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class IptablesSection(_Section, frozen=True):
    masquerade_bit: int | None = None
    masquerade_all: bool = False
    localhost_node_ports: bool | None = None
    sync_period: str = ""
    min_sync_period: str = ""


class NftablesSection(_Section, frozen=True):
    masquerade_bit: int | None = None
    masquerade_all: bool = False
    sync_period: str = ""
    min_sync_period: str = ""


class IpvsSection(_Section, frozen=True):
    sync_period: str = ""
    min_sync_period: str = ""
    scheduler: str = ""
    exclude_cidrs: list[str] | None = msgspec.field(default=None, name="excludeCIDRs")
    strict_arp: bool = msgspec.field(default=False, name="strictARP")
    tcp_timeout: str = ""
    tcp_fin_timeout: str = ""
    udp_timeout: str = ""


class ConntrackSection(_Section, frozen=True):
    max_per_core: int | None = None
    min: int | None = None
    tcp_established_timeout: str | None = None
    tcp_close_wait_timeout: str | None = None
    tcp_be_liberal: bool = False
    udp_timeout: str = ""
    udp_stream_timeout: str = ""


class Configuration(_Section, frozen=True):
    """A whole file. Its defaults are the zero values that mean upstream's defaults."""

    api_version: str = ""
    kind: str = ""
    feature_gates: dict[str, bool] | None = None
    client_connection: ClientConnection = ClientConnection()
    logging: dict[str, Any] | None = None
    hostname_override: str = ""
    bind_address: str = ""
    healthz_bind_address: str | None = None
    metrics_bind_address: str | None = None
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: str = ""
    iptables: IptablesSection = IptablesSection()
    ipvs: IpvsSection = IpvsSection()
    nftables: NftablesSection = NftablesSection()
    winkernel: dict[str, Any] | None = None
    detect_local_mode: str = ""
    detect_local: DetectLocal = DetectLocal()
    cluster_cidr: str = msgspec.field(default="", name="clusterCIDR")
    node_port_addresses: list[str] | None = None
    oom_score_adj: int | None = None
    conntrack: ConntrackSection = ConntrackSection()
    config_sync_period: str = ""
    port_range: str = ""
    windows_run_as_service: bool = False

    def sync_period(self, mode: str) -> float:
        """After how many seconds without a sync to look whether the rules of that mode still stand."""
        periods = {
            "nftables": self.nftables.sync_period,
            "iptables": self.iptables.sync_period,
            "ipvs": self.ipvs.sync_period,
        }
        return seconds(periods.get(mode) or "0") or SYNC_PERIOD_SECONDS

    def masquerade(self, mode: str) -> tuple[bool, int]:
        """Whether everything is masqueraded, and the mark's bit, in that mode."""
        section = self.nftables if mode == "nftables" else self.iptables
        return section.masquerade_all, 14 if section.masquerade_bit is None else section.masquerade_bit


WITHOUT_EFFECT = {
    "clientConnection.acceptContentTypes": "JSON is what this proxy speaks",
    "clientConnection.contentType": "JSON is what this proxy speaks",
    "clientConnection.qps": "it lists and watches, and writes nothing",
    "clientConnection.burst": "it lists and watches, and writes nothing",
    "featureGates": "what is implemented is on",
    "iptables.minSyncPeriod": "events gather while a sync is under way",
    "ipvs.minSyncPeriod": "events gather while a sync is under way",
    "nftables.minSyncPeriod": "events gather while a sync is under way",
    "configSyncPeriod": "changes are followed as they happen, and nothing is read again",
    "enableProfiling": "there is no profiler",
    "showHiddenMetricsForVersion": "no metric is hidden",
    "winkernel": "this is Linux",
    "windowsRunAsService": "this is Linux",
    "portRange": "listeners take free ports",
}
"""Known fields that change nothing, and why."""

DEPRECATED_MODES = {
    "ipvs": "upstream has deprecated it in 1.35; nftables does what it does",
    "userspace": "upstream has removed it in 1.26",
}
FORMER = ("udpIdleTimeout", "resourceContainer", "conntrack.max")
"""Fields that upstream once had: old files have them still."""


def parse(text: str) -> tuple[Configuration, list[str]]:
    """A file's content, and warnings about it. Raises ConfigurationError."""
    import yaml

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"expected a {KIND}, got {type(document).__name__}")
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(field) != expected:
            raise ConfigurationError(f"{field}: expected {expected!r}, got {document.get(field)!r}")
    document = _without_nulls(document)
    unknown = list(_unknown(document, Configuration, ""))
    if strange := [path for path in unknown if path not in FORMER]:
        raise ConfigurationError("; ".join(f"{path}: unknown field" for path in strange))
    try:
        configuration = msgspec.convert(document, Configuration)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_with_path_first(str(error))) from error
    _check_durations(configuration)
    if wrong := list(problems(configuration)):
        raise ConfigurationError("; ".join(wrong))
    return configuration, [*_deprecations(configuration, unknown), *_warnings(document)]


def _without_nulls(value: Any) -> Any:
    """An absent field and a null are the same."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return value


def _with_path_first(message: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.iptables.masqueradeBit`" with the path in front."""
    said, _, path = message.partition(" - at ")
    return f"{path.strip('`').removeprefix('$.')}: {said.replace('`', '')}" if path else said


def _check_durations(section: msgspec.Struct, path: str = "") -> None:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        here = f"{path}{field.encode_name}"
        if isinstance(value, msgspec.Struct):
            _check_durations(value, f"{here}.")
        elif isinstance(value, str) and value and here.endswith(("Timeout", "Period")):
            try:
                length = seconds(value)
            except ValueError as error:
                raise ConfigurationError(f"{here}: {error}") from error
            if length < 0:
                raise ConfigurationError(f"{here}: Invalid value: {value!r}: must be greater than or equal to 0")


def _deprecations(configuration: Configuration, unknown: list[str]) -> Iterator[str]:
    for path in unknown:
        yield f"{path} is ignored: upstream has it no more"
    if why := DEPRECATED_MODES.get(configuration.mode):
        yield f"mode: {configuration.mode} is deprecated: {why}"


def _warnings(document: dict[str, Any]) -> Iterator[str]:
    for path, why in WITHOUT_EFFECT.items():
        value: Any = document
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if any(value.values()) if isinstance(value, dict) else value and value != "0s":
            yield f"{path} has no effect: {why}"


def _unknown(document: dict[str, Any], kind: type[msgspec.Struct], path: str) -> Iterator[str]:
    known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for name, value in document.items():
        if name not in known:
            yield f"{path}{name}"
        elif isinstance(value, dict) and isinstance(known[name], type) and issubclass(known[name], msgspec.Struct):
            yield from _unknown(value, known[name], f"{path}{name}.")
