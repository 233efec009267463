"""The proxy's metrics under upstream's names; `sampan.http.metrics` puts them into Prometheus' text format."""

from collections.abc import Mapping

from sampan.http.metrics import Histogram, Metric, Registry, Value
from sampan.proxy.backends.interface import Count
from sampan.proxy.state import ServicePortName

SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS = (0.25, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 120, 180, 240, 300)


class Metrics:
    """All metrics of one proxy process."""

    def __init__(self) -> None:
        self.sync_seconds = Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", buckets=SYNC_BUCKETS
        )
        self.full_sync_seconds = Histogram(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "SyncProxyRules latency of full syncs",
            buckets=SYNC_BUCKETS,
        )
        self.programming_seconds = Histogram(
            "kubeproxy_network_programming_duration_seconds",
            "In Cluster Network Programming Latency in seconds",
            buckets=PROGRAMMING_BUCKETS,
        )
        self.last_sync = Value(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", "The last time proxy rules were synced"
        )
        self.last_queued = Value(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "gauge",
            "The last time a sync of proxy rules was queued",
        )
        self.sync_failures = Value(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "counter", "Proxy rule sync failures"
        )
        self.service_changes = Value(
            "kubeproxy_sync_proxy_rules_service_changes_total", "counter", "Cumulative proxy rules Service changes"
        )
        self.endpoint_changes = Value(
            "kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", "Cumulative proxy rules Endpoint changes"
        )
        self.services = Value("kubeproxy_proxied_services", "gauge", "Service ports that have rules")
        self.endpoints = Value("kubeproxy_proxied_endpoints", "gauge", "Endpoints that service ports are sent to")
        self.stale_flows = Value(
            "kubeproxy_conntrack_reconciler_deleted_entries_total", "counter", "Stale conntrack entries deleted"
        )
        self._registry = Registry()
        for metric in vars(self).values():
            if isinstance(metric, Metric):
                self._registry.add(metric)

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
