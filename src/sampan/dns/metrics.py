"""The metrics of cluster DNS, under CoreDNS's names, labels and buckets; `sampan.http.metrics` writes them down.

Answers from the responder's table are counted where they are kept and come here in bulk, before anyone looks.
"""

from typing import NamedTuple

from sampan import __version__
from sampan.dns.wire import RCODE_NAMES
from sampan.http.metrics import Counter, Gauge, Histogram, Metric, Registry

SECONDS = tuple(0.00025 * 2**power for power in range(16))
SLIM_SECONDS = tuple(0.00025 * 10**power for power in range(5))
SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3)
PROGRAMMING_SECONDS = tuple(0.001 * 2**power for power in range(20))
REST_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
TYPES = frozenset(
    "A AAAA MX SOA CNAME PTR TXT NS SRV DS DNSKEY RRSIG NSEC NSEC3 HTTPS IXFR AXFR ANY".split()  # noqa: SIM905
)
"""The types that are counted by name; what is none of them is `other`."""
DROPPED = "dropped"
"""The zone of what enters no chain of plugins."""

_PLACE = ("server", "zone", "view")
_CACHE = ("server", "zones", "view")
_TEMPLATE = ("server", "zone", "view", "class", "type")
_UPSTREAM = ("proxy_name", "to")


class Label(NamedTuple):
    """What requests and responses are told apart by. `zone` is that of the server block, with its last dot."""

    server: str
    protocol: str
    family: int
    type: str
    zone: str
    rcode: int
    plugin: str = ""
    """Who made the answer; nobody did if it is the server's own."""
    dnssec: bool = False
    asked: int = 0
    """The bytes of the query."""
    sent: int = 0
    """The bytes of the answer."""


class Metrics:
    """The figures of one process; they outlive a reload."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._add_server()
        self._add_forward()
        self._add_cache()
        self._add_others()
        for metric in vars(self).values():
            if isinstance(metric, Metric):
                self.registry.add(metric)

    def _add_server(self) -> None:
        self.build = Gauge(
            "coredns_build_info",
            "A metric with a constant '1' value labeled by version, revision, and goversion.",
            ("version", "revision", "goversion"),
        )
        self.build.set(1, __version__, "", "")
        self.requests = Counter(
            "coredns_dns_requests_total",
            "Counter of DNS requests made per zone, protocol and family.",
            (*_PLACE, "proto", "family", "type"),
        )
        self.responses = Counter(
            "coredns_dns_responses_total", "Counter of response status codes.", (*_PLACE, "rcode", "plugin")
        )
        self.seconds = Histogram(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone.",
            _PLACE,
            SECONDS,
        )
        self.asked_bytes = Histogram(
            "coredns_dns_request_size_bytes", "Size of the requests in bytes.", (*_PLACE, "proto"), SIZES
        )
        self.sent_bytes = Histogram(
            "coredns_dns_response_size_bytes", "Size of the returned responses in bytes.", (*_PLACE, "proto"), SIZES
        )
        self.dnssec = Counter(
            "coredns_dns_do_requests_total", "Counter of DNS requests with DO bit set per zone.", _PLACE
        )
        self.panics = Counter("coredns_panics_total", "A metrics that counts the number of panics.")
        self.plugin_enabled = Gauge(
            "coredns_plugin_enabled",
            "A metric that indicates whether a plugin is enabled on per server and zone basis.",
            (*_PLACE, "name"),
        )
        self.reload_failed = Counter("coredns_reload_failed_total", "Counter of the number of failed reload attempts.")
        self.reload_version = Gauge(
            "coredns_reload_version_info",
            "A metric with a constant '1' value labeled by hash, and value which type of hash generated.",
            ("hash", "value"),
        )
        self.health_seconds = Histogram(
            "coredns_health_request_duration_seconds",
            "Histogram of the time (in seconds) each health request took.",
            (),
            SLIM_SECONDS,
        )
        self.health_failures = Counter(
            "coredns_health_request_failures_total", "The number of times the health check failed."
        )
        self.no_queries = Counter("sampan_dns_dropped_total", "Packets that are no queries.")
        self.lost_lines = Gauge(
            "sampan_dns_log_lines_dropped_total", "Lines of the log given up because nobody took them in time."
        )
        self.lost_lines.kind = "counter"
        self.lost_lines.set(0)

    def _add_forward(self) -> None:
        self.forward_requests = Counter(
            "coredns_forward_requests_total", "Counter of requests made per upstream.", ("to",)
        )
        self.forward_responses = Counter(
            "coredns_forward_responses_total", "Counter of responses received per upstream.", ("rcode", "to")
        )
        self.forward_failed_checks = Counter(
            "coredns_forward_healthcheck_failures_total", "Counter of the number of failed healthchecks.", ("to",)
        )
        self.all_broken = Counter(
            "coredns_forward_healthcheck_broken_total",
            "Counter of the number of complete failures of the healthchecks.",
        )
        self.too_many = Counter(
            "coredns_forward_max_concurrent_rejects_total",
            "Counter of the number of queries rejected because the concurrent queries were at maximum.",
        )
        self.proxy_seconds = Histogram(
            "coredns_proxy_request_duration_seconds",
            "Histogram of the time each request took.",
            (*_UPSTREAM, "rcode"),
            SECONDS,
        )
        self.failed_checks = Counter(
            "coredns_proxy_healthcheck_failures_total", "Counter of the number of failed healthchecks.", _UPSTREAM
        )
        self.connections_kept = Counter(
            "coredns_proxy_conn_cache_hits_total",
            "Counter of connection cache hits per upstream and protocol.",
            (*_UPSTREAM, "proto"),
        )
        self.connections_made = Counter(
            "coredns_proxy_conn_cache_misses_total",
            "Counter of connection cache misses per upstream and protocol.",
            (*_UPSTREAM, "proto"),
        )

    def _add_cache(self) -> None:
        typed = ("server", "type", "zones", "view")
        self.cache_entries = Gauge("coredns_cache_entries", "The number of elements in the cache.", typed)
        self.cache_requests = Counter("coredns_cache_requests_total", "The count of cache requests.", _CACHE)
        self.cache_hits = Counter("coredns_cache_hits_total", "The count of cache hits.", typed)
        self.cache_misses = Counter(
            "coredns_cache_misses_total",
            "The count of cache misses. Deprecated, derive misses from cache hits/requests counters.",
            _CACHE,
        )
        self.cache_prefetches = Counter(
            "coredns_cache_prefetch_total", "The number of times the cache has prefetched a cached item.", _CACHE
        )
        self.cache_drops = Counter(
            "coredns_cache_drops_total",
            "The number responses that are not cached, because the reply is malformed.",
            _CACHE,
        )
        self.cache_stale = Counter(
            "coredns_cache_served_stale_total", "The number of requests served from stale cache entries.", _CACHE
        )
        self.cache_evictions = Counter("coredns_cache_evictions_total", "The count of cache evictions.", typed)

    def _add_others(self) -> None:
        self.hosts_entries = Gauge("coredns_hosts_entries", "The combined number of entries in hosts and Corefile.")
        self.hosts_reloaded = Gauge(
            "coredns_hosts_reload_timestamp_seconds", "The timestamp of the last reload of hosts file."
        )
        self.template_matches = Counter(
            "coredns_template_matches_total", "Counter of template regex matches.", _TEMPLATE
        )
        self.template_failures = Counter(
            "coredns_template_template_failures_total",
            "Counter of go template failures.",
            (*_TEMPLATE, "section", "template"),
        )
        self.template_bad_records = Counter(
            "coredns_template_rr_failures_total",
            "Counter of mis-templated RRs.",
            (*_TEMPLATE, "section", "template"),
        )
        self.autopath = Counter("coredns_autopath_success_total", "Counter of requests that did autopath.", ("server",))
        self.localhost = Counter("coredns_local_localhost_requests_total", "Counter of localhost.<domain> requests.")
        self.acl_allowed = Counter(
            "coredns_acl_allowed_requests_total", "Counter of DNS requests being allowed.", ("server", "view")
        )
        self.acl_blocked = Counter(
            "coredns_acl_blocked_requests_total", "Counter of DNS requests being blocked.", _PLACE
        )
        self.acl_filtered = Counter(
            "coredns_acl_filtered_requests_total", "Counter of DNS requests being filtered.", _PLACE
        )
        self.acl_dropped = Counter(
            "coredns_acl_dropped_requests_total", "Counter of DNS requests being dropped.", _PLACE
        )
        self.programming_seconds = Histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "In Cluster DNS Programming Latency in seconds",
            ("service_kind",),
            PROGRAMMING_SECONDS,
        )
        self.rest_seconds = Histogram(
            "coredns_kubernetes_rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb and host.",
            ("verb", "host"),
            REST_SECONDS,
        )
        self.rest_requests = Counter(
            "coredns_kubernetes_rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ("code", "method", "host"),
        )

    def count(self, label: Label, times: int = 1) -> None:
        """So many requests of this kind were answered so."""
        server, proto, zone = label.server, label.protocol, label.zone
        rcode = RCODE_NAMES.get(label.rcode, str(label.rcode))
        self.requests.add(server, zone, "", proto, str(label.family), label.type, by=times)
        self.responses.add(server, zone, "", rcode, label.plugin, by=times)
        self.asked_bytes.observe(label.asked, server, zone, "", proto, times=times)
        self.sent_bytes.observe(label.sent, server, zone, "", proto, times=times)
        if label.dnssec:
            self.dnssec.add(server, zone, "", by=times)

    def show_version(self, digest: str) -> None:
        """Of the Corefile that is served."""
        self.reload_version.clear()
        self.reload_version.set(1, "sha512", digest)

    def value(self, name: str, /, **labels: str) -> float:
        """The sum over all of a family that have these labels at least. Raises KeyError."""
        return self.registry.named(name).total(**labels)

    def render(self) -> bytes:
        """The whole answer to /metrics."""
        return self.registry.render()
