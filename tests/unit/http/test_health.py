"""Health and metrics of components: upstream's answers, Prometheus' text."""

import asyncio

import pytest

from sampan.http.client import HTTPClient
from sampan.http.health import Health
from sampan.http.metrics import Counter, Gauge, Histogram, Registry


def asked(health, *paths):
    async def ask():
        server = await health.serve("127.0.0.1", 0)
        client = HTTPClient(f"http://127.0.0.1:{server.port}")
        try:
            answers = [await client.request("GET", path, timeout=5) for path in paths]
            return [(answer.status, answer.body.decode()) for answer in answers]
        finally:
            await client.close()
            await server.close()

    return asyncio.run(asyncio.wait_for(ask(), 20))


HEALTH = Health(live={"queue": lambda: True}, ready={"informer-sync": lambda: False})


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/healthz", 200, "ok"),
        ("/livez", 200, "ok"),
        ("/healthz?verbose", 200, "[+]ping ok\n[+]queue ok\nhealthz check passed\n"),
        ("/healthz/queue", 200, "ok"),
        ("/healthz/other", 404, "404 page not found\n"),
        ("/readyz/informer-sync", 500, "[-]informer-sync failed: reason withheld\nreadyz check failed\n"),
        ("/", 404, "404 page not found\n"),
    ],
)
def test_health_is_answered_as_upstream_does(path, status, body):
    assert asked(HEALTH, path) == [(status, body)]


def test_a_component_that_is_not_ready_is_still_healthy():
    (ready, _), (healthy, _) = asked(HEALTH, "/readyz", "/healthz")
    assert (ready, healthy) == (500, 200)


def test_metrics_are_shown_in_the_text_format():
    registry = Registry()
    adds = registry.add(Counter("adds_total", "Adds.", ("name",)))
    depth = registry.add(Gauge("depth", "Depth.", ("name",)))
    seconds = registry.add(Histogram("seconds", "Time.", ("name",), buckets=(0.1, 1)))
    adds.add('a"b\\c')
    adds.add("other", by=2)
    depth.read(lambda: 7, "q")
    for value in (0.05, 0.1, 0.5, 3):
        seconds.observe(value, "q")
    ((status, text),) = asked(Health(registry), "/metrics")
    assert status == 200
    lines = text.splitlines()
    for line in (
        "# HELP adds_total Adds.",
        "# TYPE adds_total counter",
        'adds_total{name="a\\"b\\\\c"} 1',
        'adds_total{name="other"} 2',
        'depth{name="q"} 7',
        "# TYPE seconds histogram",
        'seconds_bucket{name="q",le="0.1"} 2',
        'seconds_bucket{name="q",le="1"} 3',
        'seconds_bucket{name="q",le="+Inf"} 4',
        'seconds_sum{name="q"} 3.65',
        'seconds_count{name="q"} 4',
        "# TYPE process_cpu_seconds_total counter",
    ):
        assert line in lines


def test_a_counter_without_labels_is_shown_before_it_counts():
    registry = Registry()
    registry.add(Counter("failures_total", "Failures."))
    assert b"\nfailures_total 0\n" in registry.render()
