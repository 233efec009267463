"""The proxy's metrics under upstream's names; `sampan.http.metrics` puts them into Prometheus' text format."""

from collections.abc import Mapping, Sequence

from sampan.http.metrics import Counter, Gauge, Histogram, Level, Registry, Value
from sampan.proxy.backends.interface import Count
from sampan.proxy.state import ServicePortName

SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS = (0, 0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))

FAMILY = ("ip_family",)


class Metrics:
    """All metrics of one proxy process: upstream's, under its names and labels, and what sampan adds."""

    def __init__(self) -> None:
        registry = Registry()
        self._registry = registry

        def seconds(name: str, text: str) -> Histogram:
            return registry.add(Histogram(f"kubeproxy_{name}_duration_seconds", text, FAMILY, SYNC_BUCKETS))

        def counter(name: str, text: str, labels: Sequence[str] = FAMILY) -> Counter:
            return registry.add(Counter(f"kubeproxy_{name}_total", text, labels))

        def gauge(name: str, text: str, labels: Sequence[str] = FAMILY) -> Level:
            return registry.add(Level(f"kubeproxy_{name}", text, labels))

        self.sync_seconds = seconds("sync_proxy_rules", "SyncProxyRules latency in seconds")
        self.full_sync_seconds = seconds("sync_full_proxy_rules", "SyncProxyRules latency in seconds for full resyncs")
        self.partial_sync_seconds = seconds(
            "sync_partial_proxy_rules", "SyncProxyRules latency in seconds for partial resyncs"
        )
        self.conntrack_seconds = seconds(
            "conntrack_reconciler_sync", "ReconcileConntrackFlowsLatency latency in seconds"
        )
        self.programming_seconds = registry.add(
            Histogram(
                "kubeproxy_network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                FAMILY,
                PROGRAMMING_BUCKETS,
            )
        )
        rules = "sync_proxy_rules_"
        self.last_sync = gauge(f"{rules}last_timestamp_seconds", "The last time proxy rules were successfully synced")
        self.last_queued = gauge(
            f"{rules}last_queued_timestamp_seconds", "The last time a sync of proxy rules was queued"
        )
        self.service_changes = counter(f"{rules}service_changes", "Cumulative proxy rules Service changes", ())
        self.endpoint_changes = counter(f"{rules}endpoint_changes", "Cumulative proxy rules Endpoint changes", ())
        self.services_pending = registry.add(
            Gauge(f"kubeproxy_{rules}service_changes_pending", "Pending proxy rules Service changes")
        )
        self.endpoints_pending = registry.add(
            Gauge(f"kubeproxy_{rules}endpoint_changes_pending", "Pending proxy rules Endpoint changes")
        )
        self.no_local_endpoints = gauge(
            f"{rules}no_local_endpoints_total",
            "Number of services with a Local traffic policy and no endpoints",
            (*FAMILY, "traffic_policy"),
        )
        self.nftables_failures = counter(f"{rules}nftables_sync_failures", "Cumulative proxy nftables sync failures")
        self.iptables_failures = counter(
            f"{rules}iptables_restore_failures", "Cumulative proxy iptables restore failures"
        )
        self.iptables_partial_failures = counter(
            f"{rules}iptables_partial_restore_failures", "Cumulative proxy iptables partial restore failures"
        )
        self.iptables_rules = gauge(
            f"{rules}iptables_total", "Total number of iptables rules owned by kube-proxy", (*FAMILY, "table")
        )
        self.iptables_written = gauge(
            f"{rules}iptables_last", "Number of iptables rules written by kube-proxy in last sync", (*FAMILY, "table")
        )
        self.stale_flows = counter(
            "conntrack_reconciler_deleted_entries", "Cumulative conntrack flows deleted by conntrack reconciler"
        )
        self.healthz = counter("proxy_healthz", "Cumulative proxy healthz HTTP status", ("code",))
        self.livez = counter("proxy_livez", "Cumulative proxy livez HTTP status", ("code",))
        self.services = registry.add(Value("sampan_proxy_service_ports", "gauge", "Service ports that have rules"))
        self.endpoints = registry.add(Value("sampan_proxy_endpoints", "gauge", "Endpoints that they are sent to"))

    def render(self) -> bytes:
        """The whole answer to /metrics."""
        return self._registry.render()


def service_metrics(counts: Mapping[ServicePortName, Count]) -> bytes:
    """What every service port has had; what has no connection yet, or is not counted, is left out."""
    lines = []
    for metric, text, index in (
        ("sampan_proxy_service_connections_total", "Connections begun to a service port through this node", 0),
        ("sampan_proxy_service_bytes_total", "Bytes to and from a service port through this node", 1),
    ):
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} counter"]
        for name, count in sorted(counts.items()):
            if count.connections and count[index] is not None:
                labels = {
                    "namespace": name.namespace,
                    "service": name.name,
                    "port": name.port,
                    "protocol": name.protocol,
                }
                described = ",".join(f'{label}="{value}"' for label, value in labels.items())
                lines.append(f"{metric}{{{described}}} {count[index]}")
    return ("\n".join(lines) + "\n").encode()
