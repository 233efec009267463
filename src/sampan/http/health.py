"""The port on which a component without an API of its own says how it is: /healthz, /livez, /readyz and /metrics.

The answers are upstream's: `ok`, or the failed checks and 500; `?verbose` and `/healthz/NAME` name each check. The API
server asks here for `kubectl get componentstatuses`. The figures come from `sampan.http.metrics`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sampan.http.messages import Response
from sampan.http.metrics import CONTENT_TYPE, Registry
from sampan.http.server import Request, Server, serve

_TEXT = "text/plain; charset=utf-8"

Check = Callable[[], bool]


@dataclass(frozen=True)
class Health:
    """`live` are checks whose failure asks for a restart; `ready` are those that pass once the component does its
    work. /healthz asks the first only, because a candidate that waits to lead is healthy.
    """

    registry: Registry = field(default_factory=Registry)
    live: Mapping[str, Check] = field(default_factory=dict)
    ready: Mapping[str, Check] = field(default_factory=dict)

    async def serve(self, host: str, port: int) -> Server:
        """Answer until closed. Raises OSError when the port is taken."""
        return await serve(self.answer, host=host, port=port)

    async def answer(self, request: Request) -> Response:
        _, _, rest = request.path.partition("/")
        endpoint, _, name = rest.partition("/")
        if endpoint == "metrics" and not name:
            return Response(200, self.registry.render(), CONTENT_TYPE)
        if endpoint not in ("healthz", "livez", "readyz"):
            return _not_found()
        checks: dict[str, Check] = {"ping": lambda: True, **self.live}
        if endpoint == "readyz":
            checks |= self.ready
        if name:
            if name not in checks:
                return _not_found()
            return _report(endpoint, {name: checks[name]()}, verbose=False)
        results = {one: check() for one, check in checks.items()}
        return _report(endpoint, results, verbose=request.query.has("verbose"))


def _report(endpoint: str, results: Mapping[str, bool], *, verbose: bool) -> Response:
    passed = all(results.values())
    if passed and not verbose:
        return Response(200, b"ok", _TEXT)
    lines = [f"[+]{name} ok" if good else f"[-]{name} failed: reason withheld" for name, good in results.items()]
    lines.append(f"{endpoint} check {'passed' if passed else 'failed'}")
    return Response(200 if passed else 500, ("\n".join(lines) + "\n").encode(), _TEXT)


def _not_found() -> Response:
    return Response(404, b"404 page not found\n", _TEXT)
