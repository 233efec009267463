"""The HTTP ports that kubelet and Prometheus ask: /health, /ready and /metrics, wherever a Corefile puts them."""

from collections.abc import Callable, Mapping

from sampan.dns.config import Config
from sampan.dns.plugins.base import Address
from sampan.http.messages import Response
from sampan.http.server import Request, Server, serve

Answer = Callable[[], Response]


class Doors:
    """Open ports, each with what is behind its paths; `open` brings them in line with a Corefile."""

    def __init__(self, is_ready: Callable[[], bool], numbers: Callable[[], bytes]) -> None:
        self._is_ready, self._numbers = is_ready, numbers
        self._servers: dict[Address, Server] = {}
        self._paths: dict[Address, dict[str, Answer]] = {}

    async def open(self, config: Config) -> None:
        """Open what is new, close what is not wanted any more. Raises OSError."""
        wanted = self._wanted(config)
        for address in wanted.keys() - self._servers.keys():
            self._servers[address] = await self._listen(address)
        self._paths = wanted
        for address in self._servers.keys() - wanted.keys():
            await self._servers.pop(address).close()

    async def close(self) -> None:
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
        return Response(200, self._numbers(), "text/plain; version=0.0.4; charset=utf-8")


def _well() -> Response:
    return _text(200, b"OK")


def _text(status: int, body: bytes) -> Response:
    return Response(status, body, "text/plain; charset=utf-8")
