"""The metrics of cluster DNS under CoreDNS's names, in Prometheus' text format."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from sampan import __version__
from sampan.dns.wire import RCODE_NAMES

_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096)
DURATION = "coredns_dns_request_duration_seconds"
FORWARD_DURATION = "coredns_proxy_request_duration_seconds"
_HISTOGRAMS = {
    DURATION: "Histogram of the time (in seconds) each request took per zone.",
    FORWARD_DURATION: "Histogram of the time each request to an upstream took.",
}
_COUNTERS = {
    "coredns_dns_requests_total": "Counter of DNS requests made per zone, protocol and family.",
    "coredns_dns_responses_total": "Counter of response status codes.",
    "coredns_panics_total": "Queries that met a mistake in a plugin.",
    "coredns_cache_requests_total": "The count of cache requests.",
    "coredns_cache_hits_total": "The count of cache hits.",
    "coredns_cache_misses_total": "The count of cache misses.",
    "coredns_cache_prefetch_total": "The number of times the cache has prefetched a cached item.",
    "coredns_cache_served_stale_total": "The number of requests served from stale cache entries.",
    "coredns_cache_evictions_total": "The count of cache evictions.",
    "coredns_forward_requests_total": "Counter of requests made per upstream.",
    "coredns_forward_responses_total": "Counter of responses received per upstream.",
    "coredns_forward_healthcheck_failures_total": "Counter of failed health checks per upstream.",
    "coredns_forward_healthcheck_broken_total": "Queries while all upstreams were unhealthy.",
    "coredns_forward_max_concurrent_rejects_total": "Queries rejected because too many were under way.",
    "coredns_template_matches_total": "Counter of template regex matches.",
    "coredns_autopath_success_total": "Counter of requests that did autopath.",
    "coredns_reload_failed_total": "Counter of the number of failed reload attempts.",
    "sampan_dns_dropped_total": "Packets that are no queries.",
}
_GAUGES = {
    "coredns_cache_entries": "The number of elements in the cache.",
    "coredns_hosts_entries": "The combined number of entries in hosts and Corefile.",
    "coredns_plugin_enabled": "A metric that indicates whether a plugin is enabled on per server and zone basis.",
    "coredns_build_info": "A metric with a constant '1' value, labelled by version.",
}
_ALWAYS = ("coredns_panics_total", "coredns_reload_failed_total", "sampan_dns_dropped_total")


class Label(NamedTuple):
    """What requests and responses are told apart by. `zone` is that of the server block, with its last dot."""

    server: str
    protocol: str
    family: int
    type: str
    zone: str
    rcode: int


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int) -> None:
        self.counts[bisect_left(_BUCKETS, seconds / times)] += times
        self.sum += seconds


class Metrics:
    """The figures of one process; they outlive a reload. Hot answers are counted where they are kept, in bulk."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, float]] = {name: {"": 0} for name in _ALWAYS}
        self._histograms: dict[str, dict[str, _Histogram]] = {DURATION: {}, FORWARD_DURATION: {}}
        self.set("coredns_build_info", 1, version=__version__)

    def add(self, name: str, times: float = 1, /, **labels: str) -> None:
        """Count something; `name` is one of the counters above."""
        if name not in _COUNTERS:
            raise KeyError(name)
        values, key = self._values.setdefault(name, {}), _text(labels)
        values[key] = values.get(key, 0) + times

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """Note the present value of one of the gauges above."""
        if name not in _GAUGES:
            raise KeyError(name)
        self._values.setdefault(name, {})[_text(labels)] = value

    def value(self, name: str, /, **labels: str) -> float:
        """The sum over all that have these labels at least."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(value for key, value in self._values.get(name, {}).items() if wanted <= set(key.split(",")))

    def count(self, label: Label, times: int) -> None:
        """So many requests of this kind were answered so."""
        if not times:
            return
        place = {"server": label.server, "view": "", "zone": label.zone}
        family = str(label.family)
        self.add("coredns_dns_requests_total", times, family=family, proto=label.protocol, type=label.type, **place)
        self.add("coredns_dns_responses_total", times, rcode=RCODE_NAMES.get(label.rcode, str(label.rcode)), **place)

    def observe(self, name: str, seconds: float, times: int, /, **labels: str) -> None:
        """So many requests took so long together, each the same share of it."""
        if times:
            self._histograms[name].setdefault(_text(labels), _Histogram()).observe(seconds, times)

    def render(self) -> bytes:
        """The whole answer to /metrics."""
        lines: list[str] = []
        for kind, table in (("counter", _COUNTERS), ("gauge", _GAUGES)):
            for name, help in table.items():
                if name in self._values:
                    lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
                    lines += [f"{_sample(name, key)} {value:.15g}" for key, value in self._values[name].items()]
        for name, help in _HISTOGRAMS.items():
            lines += [f"# HELP {name} {help}", f"# TYPE {name} histogram"]
            for key, histogram in self._histograms[name].items():
                lines += _histogram_lines(name, key, histogram)
        return ("\n".join(lines) + "\n").encode()


def _histogram_lines(name: str, key: str, histogram: _Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*_BUCKETS, "+Inf"), histogram.counts, strict=True):
        total += count
        yield f'{name}_bucket{{{key},le="{bound}"}} {total}'
    yield f"{name}_sum{{{key}}} {histogram.sum:.9g}"
    yield f"{name}_count{{{key}}} {total}"


def _text(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))


def _sample(name: str, labels: str) -> str:
    return f"{name}{{{labels}}}" if labels else name
