"""The plugin interface: a plugin is a link of the chain that a query passes, made from its directive in the Corefile.

A plugin answers a request itself, or awaits the next plugin and may change its reply. While no plugin of a chain
blocks, the chain runs in one step without a task (`responder`); a plugin that will block says so with `later()`.
"""

import math
import types
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

from sampan.dns.cluster import Cluster, Key
from sampan.dns.corefile import Directive
from sampan.dns.metrics import Metrics
from sampan.dns.wire import MAX_SIZE, Query, Reply

MOST_HOPS = 8
"""Of a chain of aliases; a longer one leads round in a circle."""

Address = tuple[str, int]
Next = Callable[["Request"], Awaitable[Reply]]
Watcher = Callable[["Request", "Outcome"], None]


class NoAnswer(Exception):
    """Nobody could answer; the client gets SERVFAIL. The text says why."""


class Dropped(Exception):
    """The client is to hear nothing at all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was sent for a request."""

    rcode: int
    flags: int
    size: int
    seconds: float
    empty: bool = False
    """There was no record in the answer section."""


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
    service: Key | None = None
    """The only Service (namespace, name) that a lasting answer depends on; None: it may depend on anything."""
    max_edns_size: int = MAX_SIZE
    """The largest EDNS size that a client may state; a larger one counts as this one."""
    rotating: bool = False
    """Several addresses take turns to be first."""
    personal: bool = False
    """The answer is for this client alone."""
    allowed: bool = False
    """A rule of `acl` lets it pass, whatever other rules would say."""
    guarded: bool = False
    """Who asks decides whether the answer is given; then it is not kept ready."""
    watchers: list[Watcher] = field(default_factory=list)
    """Who wants to hear what was sent; then the answer is not kept ready."""
    settled: bool = False
    """A rule of `rewrite` that stops has changed it."""
    local: Address = ("", 0)
    """Where the server listens that was asked."""
    writer: str | None = None
    """The plugin that has made the answer; empty if the server itself has."""
    options: dict[int, bytes] = field(default_factory=dict)
    """EDNS options that a resolver which is asked is to be told."""
    hops: int = 0
    """How many questions of the server to itself have led here."""
    deadline: float = math.inf
    """On the monotonic clock: after that the client will not wait for an answer."""

    def about(self, query: Query) -> "Request":
        """The same client asking something else."""
        about = Request(query, self.client, self.protocol, self.identity, self.size, local=self.local)
        about.options, about.deadline, about.hops = self.options, self.deadline, self.hops + 1
        return about


class Plugin:
    """A link of the chain."""

    async def serve(self, request: Request, next: Next) -> Reply:
        """Answer, or let the next plugin. Raises NoAnswer."""
        return await next(request)

    def show(self) -> None:
        """Let the gauges tell of this plugin."""

    async def start(self) -> None:
        """Begin what goes on beside the queries. Raises OSError."""

    async def stop(self) -> None:
        """End all of that."""


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What a plugin is given of the server that it runs in."""

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
    followed: bool = False
    """The next plugin of the chain is of the same kind."""

    @property
    def zone(self) -> str:
        """The first zone, as metrics name it."""
        return f"{self.zones[0]}."


class Make(Protocol):
    def __call__(self, options: Any, context: PluginContext, /) -> Plugin: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: a directive's name, how it is read, and what it becomes.

    `parse(directive, zones of the server block)` gives the plugin's options or raises CorefileError. Without `make` it
    is about the server as a whole, which reads the options itself.
    """

    name: str
    parse: Callable[[Directive, tuple[str, ...]], Any]
    make: Make | None = None
    answers: bool = True
    """It may answer itself, and is then named as who did."""
    any_class: bool = False
    """It also sees questions of other classes than IN."""
    changes_class: bool = False
    """A question may leave it in another class than it came."""
    ignored: str = ""
    """Why it changes nothing here; said once where a Corefile has it."""


@types.coroutine
def later() -> Generator[None, None, None]:
    """Let others go first: what follows takes time, and must run in a task."""
    yield


def in_zone(name: str, zone: str) -> bool:
    """Whether a name lies in a zone (`""` is the root)."""
    return not zone or name == zone or name.endswith(f".{zone}")


def in_zones(name: str, zones: tuple[str, ...]) -> bool:
    return any(in_zone(name, zone) for zone in zones)


def nothing(directive: Directive, zones: tuple[str, ...]) -> None:
    """How a directive is read that stands alone. Raises CorefileError."""
    directive.expect(0)
    no_options(directive)


def no_options(directive: Directive) -> None:
    """Raises CorefileError if a directive has any."""
    for option in directive.options:
        raise option.unknown()
