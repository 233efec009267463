"""What a plugin is: a link of the chain that a query passes, and how it is made from its directive.

A plugin answers a request itself, or awaits the next one and may change what that said. As long as nobody in a chain
really waits, the whole of it runs in one step, without a task (`responder`); who will wait says so with `later()`.
"""

import types
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.dns.cluster import Cluster
from sampan.dns.corefile import Directive
from sampan.dns.metrics import Metrics
from sampan.dns.wire import Query, Reply

Address = tuple[str, int]
Next = Callable[["Request"], Awaitable[Reply]]
Watcher = Callable[["Request", "Outcome"], None]


class NoAnswer(Exception):
    """Nobody could answer; the client gets SERVFAIL. The text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was sent for a request."""

    rcode: int
    flags: int
    size: int
    seconds: float


@dataclass(slots=True)
class Request:
    """A query on its way through the chain, and what the plugins note on it."""

    query: Query
    client: Address = ("", 0)
    protocol: str = "udp"
    identity: int = 0
    size: int = 0
    lasting: bool = False
    """The answer depends on nothing but the question and the cluster's objects."""
    turning: bool = False
    """Several addresses take turns to be first."""
    watchers: list[Watcher] = field(default_factory=list)
    """Who wants to hear what was sent; then the answer is not kept ready."""

    def about(self, query: Query) -> "Request":
        """The same client asking something else."""
        return Request(query, self.client, self.protocol, self.identity, self.size)


class Plugin:
    """A link of the chain."""

    async def serve(self, request: Request, next: Next) -> Reply:
        """Answer, or let the next plugin. Raises NoAnswer."""
        return await next(request)

    async def start(self) -> None:
        """Begin what goes on beside the queries. Raises OSError."""

    async def stop(self) -> None:
        """End all of that."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What plugins may know of the server they are in."""

    cluster: Cluster
    metrics: Metrics
    server: str
    """CoreDNS's name for a listener, `dns://:53`."""
    zones: tuple[str, ...]
    domain: str
    """The cluster's domain, for a `kubernetes` that names none."""
    resolve: Next
    """Asks the whole chain, from its beginning."""
    forget: Callable[[], None]
    """Drops the answers that are kept ready."""


class Make(Protocol):
    def __call__(self, options: Any, around: Surroundings, /) -> Plugin: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: a directive's name, how it is read, and what it becomes.

    `parse(directive, zones of the server block)` gives the plugin's options or raises CorefileError. Without `make` it
    is about the server as a whole, which reads the options itself.
    """

    name: str
    parse: Callable[[Directive, tuple[str, ...]], Any]
    make: Make | None = None


@types.coroutine
def later() -> Generator[None, None, None]:
    """Let others go first: what follows takes time, and must run in a task."""
    yield


def in_zone(name: str, zone: str) -> bool:
    """Whether a name lies in a zone (`""` is the root)."""
    return not zone or name == zone or name.endswith(f".{zone}")


def in_zones(name: str, zones: tuple[str, ...]) -> bool:
    return any(in_zone(name, zone) for zone in zones)


def no_options(directive: Directive) -> None:
    """Raises CorefileError if a directive has any."""
    for option in directive.options:
        raise option.unknown()
