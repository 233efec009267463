"""The server's own numbers under upstream's names."""

from sampan.apiserver.strategy import RequestInfo
from sampan.http.metrics import Counter, Histogram, Registry

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0)
_RESOURCE = ("verb", "group", "version", "resource")
_LONG = frozenset({"log", "exec", "attach", "portforward", "proxy"})


class Metrics:
    """Counts requests. One instance per server."""

    def __init__(self) -> None:
        self.registry = Registry()
        self._requests = self.registry.add(
            Counter(
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, group, version, resource and HTTP code.",
                (*_RESOURCE, "subresource", "code"),
            )
        )
        self._seconds = self.registry.add(
            Histogram(
                "apiserver_request_duration_seconds",
                "Response latency in seconds for each verb, group, version and resource.",
                _RESOURCE,
                _BUCKETS,
            )
        )

    def observe(self, info: RequestInfo, code: int, seconds: float) -> None:
        """A request was answered. Watches and tunnels are counted, but say nothing about latency."""
        resource = (info.verb.upper(), info.group, info.version, info.resource)
        subresource = info.subresource if code != 404 and code != 405 else ""
        self._requests.add(*resource, subresource, str(code))
        if info.verb != "watch" and info.subresource not in _LONG:
            self._seconds.observe(seconds, *resource)
