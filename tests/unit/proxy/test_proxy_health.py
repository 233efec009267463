"""What the health ports answer: to load balancers about the node, to the agent about the process."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from sampan.http.messages import Response
from sampan.http.server import Request
from sampan.machinery import times
from sampan.proxy.health import OVERDUE_SECONDS, HealthServer, ServiceHealthServers
from sampan.proxy.metrics import Metrics
from sampan.proxy.objects import ProxyNode
from sampan.proxy.state import Endpoint, ServicePort, ServicePortName, State
from sampan.proxy.syncer import Syncer

LONG_AGO, JUST_NOW, LATE = 600.0, 1.0, OVERDUE_SECONDS + 5
"""Seconds before a test asks; None: never."""


def request(path: str) -> Request:
    return cast(Request, SimpleNamespace(path=path))


def server(
    *, last_success: float | None, queued: float | None = None, eligible: bool = True
) -> tuple[HealthServer, Metrics]:
    syncer = cast(Syncer, SimpleNamespace(last_success=_before(last_success), queued_since=_before(queued)))
    metrics = Metrics()
    return HealthServer(lambda: "nftables", syncer, metrics, lambda: eligible), metrics


def _before(seconds: float | None) -> float:
    return 0.0 if seconds is None else time.time() - seconds


@pytest.mark.parametrize(
    ("last_success", "queued", "eligible", "healthz", "livez"),
    [
        (LONG_AGO, None, True, 200, 200),
        (LONG_AGO, JUST_NOW, True, 200, 200),
        (LONG_AGO, LATE, True, 503, 503),
        (LONG_AGO, None, False, 503, 200),
        (None, JUST_NOW, True, 503, 200),
        (None, LATE, True, 503, 503),
    ],
    ids=["in sync", "a sync is due", "a sync is overdue", "the node goes", "starting", "cannot start"],
)
def test_health_and_life(
    last_success: float | None, queued: float | None, eligible: bool, healthz: int, livez: int
) -> None:
    """Only what needs a restart ends a life; a node that goes turns load balancers away before that."""
    asked, metrics = server(last_success=last_success, queued=queued, eligible=eligible)
    for path, status in (("/healthz", healthz), ("/readyz", healthz), ("/livez", livez)):
        answer = asyncio.run(asked.healthz(request(path)))
        assert answer.status == status, path
        assert (answer.content_type, answer.headers["X-Content-Type-Options"]) == ("application/json", "nosniff")
        body = msgspec.json.decode(answer.body)
        assert body.get("nodeEligible") == (None if path == "/livez" else eligible)
        recent = times.epoch(body["currentTime"]) - times.epoch(body["lastUpdated"]) < 60
        assert recent == (status == 200), "a healthy proxy is up to date now, whenever it last had something to do"
    shown = metrics.render().decode()
    assert f'kubeproxy_proxy_healthz_total{{code="{healthz}"}} 2' in shown
    assert f'kubeproxy_proxy_livez_total{{code="{livez}"}} 1' in shown
    assert asyncio.run(asked.healthz(request("/"))).status == 404


@pytest.mark.parametrize(
    ("node", "is_terminating"),
    [
        ({}, False),
        ({"spec": {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}}, False),
        ({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}}, True),
        ({"metadata": {"name": "node-1", "deletionTimestamp": "2026-01-02T03:04:05Z"}}, True),
    ],
)
def test_a_terminating_node_gets_no_new_traffic(node: dict[str, Any], is_terminating: bool) -> None:
    assert msgspec.convert(node, ProxyNode).is_terminating == is_terminating


def answer(local: int, *, alive: bool = True) -> Response:
    name = ServicePortName("default", "web", "http")
    here = tuple(Endpoint(f"10.244.0.{number}", 80, True) for number in range(local))
    port = ServicePort(
        protocol="TCP", port=80, cluster_ip="10.96.0.1", external_local=True, health_check_node_port=32000,
        local_endpoints=here, local_ready=local,
    )  # fmt: skip
    servers = ServiceHealthServers(lambda: alive)
    servers.update([State(family=4, ports={name: port})])
    return servers._answer(32000)


@pytest.mark.parametrize(("local", "alive", "status"), [(2, True, 200), (0, True, 503), (2, False, 503)])
def test_a_health_check_node_port_tells_of_local_endpoints(local: int, alive: bool, status: int) -> None:
    """In words and as a weight, by which load balancers may divide their traffic."""
    said = answer(local, alive=alive)
    assert said.status == status
    assert said.content_type == "application/json"
    assert dict(said.headers) == {
        "X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": str(local),
    }  # fmt: skip
    assert msgspec.json.decode(said.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": local,
        "serviceProxyHealthy": alive,
    }
