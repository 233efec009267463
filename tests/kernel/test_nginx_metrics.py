"""Requests are counted under the names of ingress-nginx, none lost when controllers change."""

from __future__ import annotations

import pytest

from sampan.http.metrics import Registry
from sampan.ingress.model import Host
from sampan.ingress.nginx.metrics import RequestMetrics
from support.nginxworld import NginxWorld, backend

pytestmark = pytest.mark.kernel
OWN = ("k8s.io/ingress-nginx", "ingress-nginx", "pod-1")


def counted(metrics: RequestMetrics, **labels: str) -> float:
    while metrics.read():
        pass
    return metrics.requests.total(**labels)


def test_requests_are_counted_by_what_they_met() -> None:
    """Labels say host, path, Ingress and Service; a strange method makes no series of its own."""
    with NginxWorld() as world:
        web = backend("web", world.echo())
        hosts = [Host("a.example", (world.route("/app", web),)), Host("*.wild.example", (world.route("/", web),))]
        registry = Registry()
        metrics = world.nginx.observe(registry, OWN)
        world.apply(world.configuration(hosts, [web]))
        for _ in range(3):
            world.ask("/app/x")
        world.ask("/app", method="POST", body=b"x" * 50)
        world.ask("/", "b.wild.example")
        world.ask("/app", method="ODD")
        world.eventually(lambda: counted(metrics) == 6)
        found = {"host": "a.example", "path": "/app", "namespace": "default", "ingress": "web", "service": "web"}
        assert metrics.requests.total(**found, method="GET", status="200", canary="") == 3
        assert metrics.requests.total(**found, method="POST") == 1
        assert metrics.requests.total(method="OTHER") == 1
        assert metrics.requests.total(host="*.wild.example") == 1
        world.run(metrics._read_status())
        text = registry.render().decode()
        names = (
            "requests", "request_duration_seconds_bucket", "response_duration_seconds_sum", "bytes_sent_bucket",
            "connect_duration_seconds_count", "header_duration_seconds_count", "request_size_bucket", "success",
            "response_size_sum", "nginx_process_connections", "config_last_reload_successful", "config_hash",
            "nginx_process_resident_memory_bytes",
        )  # fmt: skip
        for name in names:
            assert f"\nnginx_ingress_controller_{name}{{" in text
        assert 'controller_class="k8s.io/ingress-nginx"' in text


def test_a_new_controller_counts_what_came_meanwhile() -> None:
    """What the last one has counted is gone from the file; what it has not is there."""
    with NginxWorld() as world:
        web = backend("web", world.echo())
        world.apply(world.configuration([Host("a.example", (world.route("/", web),))], [web]))
        first = world.nginx.observe(Registry(), OWN)
        for _ in range(150):
            world.ask("/first")
        world.eventually(lambda: counted(first) == 150)
        world.run(world.nginx.detach())
        world.ask("/second")
        world.nginx = world.new_controller()
        second = world.nginx.observe(Registry(), OWN)
        world.eventually(lambda: counted(second) >= 1)
        assert counted(second) == 1
