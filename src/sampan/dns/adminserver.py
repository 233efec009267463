"""The admin HTTP server: /health, /ready and /metrics, on the addresses that a Corefile names for each of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from sampan.dns.config import Config
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Address
from sampan.http.client import HTTPClient
from sampan.http.messages import Response
from sampan.http.metrics import CONTENT_TYPE
from sampan.http.server import Request, Server, serve

log = logging.getLogger(__name__)

Answer = Callable[[], Response]
CHECK_SECONDS = 1.0
CHECK_TIMEOUT = 3.0


class AdminServer:
    """Listeners, each with the handlers of its paths; `open` brings them in line with a Corefile."""

    def __init__(self, is_ready: Callable[[], bool], numbers: Callable[[], bytes], metrics: Metrics) -> None:
        self._is_ready, self._numbers, self._counts = is_ready, numbers, metrics
        self._checking: asyncio.Task[None] | None = None
        self._servers: dict[Address, Server] = {}
        self._paths: dict[Address, dict[str, Answer]] = {}

    async def open(self, config: Config) -> None:
        """Open listeners that a Corefile adds, and close those that it no longer has. Raises OSError."""
        wanted = self._wanted(config)
        for address in wanted.keys() - self._servers.keys():
            self._servers[address] = await self._listen(address)
        self._paths = wanted
        for address in self._servers.keys() - wanted.keys():
            await self._servers.pop(address).close()
        self._check([health.address for health in config.options("health")])

    def _check(self, addresses: Sequence[Address]) -> None:
        """Check the health of this process at the first of these addresses from now on."""
        if self._checking is not None:
            self._checking.cancel()
            self._checking = None
        if addresses:
            self._checking = asyncio.get_running_loop().create_task(self._check_on(addresses[0]))

    async def _check_on(self, address: Address) -> None:
        """Ask once a second, as kubelet would: how long that takes says whether the process keeps up."""
        host, port = address
        client = HTTPClient(f"http://{f'[{host}]' if ':' in host else host or '127.0.0.1'}:{port}")
        try:
            while True:
                await asyncio.sleep(CHECK_SECONDS)
                begun = time.perf_counter()
                try:
                    await client.request("GET", "/health", timeout=CHECK_TIMEOUT)
                except (OSError, TimeoutError) as error:
                    self._counts.health_failures.add()
                    log.warning("Local health request failed: %s", error)
                self._counts.health_seconds.observe(time.perf_counter() - begun)
        finally:
            await client.close()

    async def close(self) -> None:
        self._check(())
        for server in self._servers.values():
            await server.close()

    def _wanted(self, config: Config) -> dict[Address, dict[str, Answer]]:
        wanted: dict[Address, dict[str, Answer]] = {}
        for health in config.options("health"):
            wanted.setdefault(health.address, {}).update(dict.fromkeys(("/health", "/healthz", "/livez"), _well))
        for address in config.options("ready"):
            wanted.setdefault(address, {}).update(dict.fromkeys(("/ready", "/readyz"), self._readiness))
        for address in config.options("prometheus"):
            wanted.setdefault(address, {})["/metrics"] = self._metrics
        return wanted

    async def _listen(self, address: Address) -> Server:
        async def handle(request: Request) -> Response:
            paths: Mapping[str, Answer] = self._paths.get(address, {})
            answer = paths.get(request.path)
            return answer() if answer is not None else _text(404, b"404 page not found\n")

        host, port = address
        return await serve(handle, host=host or "0.0.0.0", port=port)

    def _readiness(self) -> Response:
        return _text(200, b"OK") if self._is_ready() else _text(503, b"kubernetes")

    def _metrics(self) -> Response:
        return Response(200, self._numbers(), CONTENT_TYPE)


def _well() -> Response:
    return _text(200, b"OK")


def _text(status: int, body: bytes) -> Response:
    return Response(status, body, "text/plain; charset=utf-8")
