"""What every way of telling the kernel offers; backends/registry.py lists them.

A backend serves one address family of one node. It is given frozen state (state.py) and owns everything it makes in the
kernel: `cleanup` removes all of that, also what an earlier process of the same mode left.
"""

from collections.abc import AsyncIterator
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import ServicePortName, State
from sampan.proxy.tracker import Changes


class BackendError(Exception):
    """The kernel or its tool refused what was asked; the message says what and why."""


class Count(NamedTuple):
    """What went to a service port at one of its addresses."""

    connections: int
    bytes: int | None
    """None where the kernel does not count them."""

    def plus(self, other: "Count") -> "Count":
        uncounted = self.bytes is None or other.bytes is None
        return Count(
            self.connections + other.connections, None if uncounted else (self.bytes or 0) + (other.bytes or 0)
        )


@runtime_checkable
class Counting(Protocol):
    """A backend whose kernel objects count."""

    def counts(self) -> AsyncIterator[tuple[ServicePortName, Count]]:
        """What was counted so far; a name may come several times, once for each address.

        Raises OSError, BackendError.
        """


class RuleCount(NamedTuple):
    """How many rules of a table are ours, and how many were written by the last `apply`."""

    total: int
    written: int


@runtime_checkable
class RuleCounting(Protocol):
    """A backend of iptables rules, which upstream's metrics tell the number of."""

    rule_counts: dict[str, RuleCount]
    """By table."""


class Backend(Protocol):
    """One mode, one family."""

    mode: ClassVar[str]
    """Its name in registry.py."""

    def __init__(self, options: ProxyOptions, family: int) -> None: ...

    def is_supported(self) -> str:
        """Why this machine cannot run this mode; empty if it can."""

    def render(self, state: State) -> str:
        """Everything that `apply` would make of `state`, in the words of the mode's own tool. Touches nothing."""

    async def apply(self, state: State, changes: Changes | None) -> None:
        """Bring the kernel to `state`. `changes` is what differs from the last call; None: assume nothing, repair all.

        Raises BackendError; the kernel then is as before, and the next call must be a repair.
        """

    async def is_intact(self) -> bool:
        """Whether others have left alone what `apply` made, as a look at a few things tells. Raises BackendError."""

    async def cleanup(self) -> None:
        """Remove everything of this mode from the kernel."""

    def close(self) -> None:
        """Give up this process's handles; what is in the kernel stays."""
