"""The proxy's HTTP: its own health and metrics, and the healthCheckNodePorts by which load balancers find local
endpoints.

/healthz answers 503 before the first sync, while one is overdue, or if the Node is being deleted, so that a cloud's
load balancer turns away; /livez looks only for an overdue sync, so that a slow start is not taken for a failure. A
healthCheckNodePort answers 200 only while this node has endpoints of its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from sampan.http.messages import Response
from sampan.http.server import Request, Server, serve
from sampan.machinery import times
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.metrics import Metrics, service_metrics
from sampan.proxy.state import State
from sampan.proxy.syncer import Syncer

log = logging.getLogger(__name__)

OVERDUE_SECONDS = 60.0
"""A sync that has been wanted for this long without success makes the proxy unhealthy (twice upstream's period)."""


class HealthServer:
    """Answers on the healthz and the metrics port."""

    def __init__(
        self, mode: Callable[[], str], syncer: Syncer, metrics: Metrics, node_eligible: Callable[[], bool]
    ) -> None:
        self._mode = mode
        self._syncer = syncer
        self._metrics = metrics
        self._node_eligible = node_eligible

    @property
    def alive(self) -> bool:
        """Whether the rules stand, and no sync is overdue."""
        return self._syncer.last_success > 0 and not self._overdue

    @property
    def _overdue(self) -> bool:
        queued = self._syncer.queued_since
        return bool(queued) and time.time() - queued >= OVERDUE_SECONDS

    async def healthz(self, request: Request) -> Response:
        """The handler of the healthz port."""
        if request.path not in ("/healthz", "/livez", "/readyz"):
            return not_found()
        live, eligible = request.path == "/livez", self._node_eligible()
        healthy = not self._overdue if live else self.alive and eligible
        now = times.now()
        updated = now if healthy else times.from_epoch(self._syncer.last_success)
        body: dict[str, object] = {"lastUpdated": updated, "currentTime": now}
        if not live:
            body["nodeEligible"] = eligible
        status = 200 if healthy else 503
        (self._metrics.livez if live else self._metrics.healthz).add(str(status))
        return Response(status, msgspec.json.encode(body), headers={"X-Content-Type-Options": "nosniff"})

    async def metrics(self, request: Request) -> Response:
        """The handler of the metrics port."""
        if request.path == "/metrics":
            body = self._metrics.render() + await self._service_metrics()
            return Response(200, body, "text/plain; version=0.0.4; charset=utf-8")
        if request.path == "/proxyMode":
            return Response(200, self._mode().encode(), "text/plain; charset=utf-8")
        if request.path == "/healthz":
            return Response(200, b"ok", "text/plain; charset=utf-8")
        return not_found()

    async def _service_metrics(self) -> bytes:
        try:
            return service_metrics(await self._syncer.counts())
        except (OSError, ValueError, BackendError) as error:
            log.error("reading what was counted for Services: %s", error)
            return b""


def not_found() -> Response:
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")


class ServiceHealthServers:
    """One listener per healthCheckNodePort."""

    def __init__(self, alive: Callable[[], bool], hosts: Sequence[str] = ("0.0.0.0",)) -> None:
        self._alive = alive
        self._hosts = tuple(hosts)
        self._counts: dict[int, tuple[str, str, int]] = {}
        self._servers: dict[tuple[str, int], Server] = {}
        self._changed = asyncio.Event()

    def update(self, states: Sequence[State]) -> None:
        """Take over the ports and counts of new states."""
        counts: dict[int, tuple[str, str, int]] = {}
        for state in states:
            for name, port in state.ports.items():
                if port.health_check_node_port:
                    known = counts.get(port.health_check_node_port, ("", "", 0))[2]
                    counts[port.health_check_node_port] = (name.namespace, name.name, max(known, port.local_ready))
        if counts != self._counts:
            self._counts = counts
            self._changed.set()

    def move(self, hosts: Sequence[str]) -> None:
        """Listen at these addresses from now on."""
        self._hosts = tuple(hosts)
        self._changed.set()

    async def run(self) -> None:
        """Open and close listeners as ports and addresses come and go, until cancelled."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                wanted = {(host, port) for host in self._hosts for port in self._counts}
                for at in self._servers.keys() - wanted:
                    await self._servers.pop(at).close()
                for host, port in wanted - self._servers.keys():
                    await self._open(host, port)
        finally:
            for server in self._servers.values():
                await server.close()

    async def _open(self, host: str, port: int) -> None:
        async def answer(request: Request) -> Response:
            return self._answer(port)

        try:
            self._servers[host, port] = await serve(answer, host=host, port=port)
        except OSError as error:
            log.error("health check node port %d at %s: %s", port, host, error)

    def _answer(self, port: int) -> Response:
        namespace, name, local = self._counts.get(port, ("", "", 0))
        alive = self._alive()
        body = {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": local,
            "serviceProxyHealthy": alive,
        }
        headers = {"X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": str(local)}
        return Response(200 if local and alive else 503, msgspec.json.encode(body), headers=headers)
