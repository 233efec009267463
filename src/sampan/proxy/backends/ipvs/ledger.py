"""What all service ports together need, and what changes in it when some of them change. Pure.

Several service ports may want the same address or member, which stays as long as one does. A virtual server belongs to
one service port (proxy/frontends.py); while a batch of changes moves it, two may want it, and the first by name has it.
plan.py turns a `Delta` into commands.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sampan.kernel.ipvs import Key
from sampan.proxy.backends.ipvs.pieces import Entry, Node, Piece, VirtualServer, piece
from sampan.proxy.state import ServicePortName, State
from sampan.proxy.tracker import Change, Changes

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True)
class Delta:
    """What changed. `servers` maps to what a virtual server should be now; None: it should not be."""

    servers: dict[Key, VirtualServer | None] = field(default_factory=dict)
    new_addresses: set[str] = field(default_factory=set)
    old_addresses: set[str] = field(default_factory=set)
    new_entries: set[Entry] = field(default_factory=set)
    old_entries: set[Entry] = field(default_factory=set)


class Ledger:
    """The whole of what one family should be."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pieces: dict[ServicePortName, Piece] = {}
        self._claims: dict[Key, dict[ServicePortName, VirtualServer]] = {}
        self._addresses = Counter[str]()
        self._entries = Counter[Entry]()

    @classmethod
    def of(cls, state: State, node: Node) -> "Ledger":
        made = cls(node)
        made.update({name: Change(None, port) for name, port in state.ports.items()})
        return made

    def server(self, key: Key) -> VirtualServer | None:
        """The virtual server that should stand at an address."""
        owner = self.owner(key)
        return self._claims[key][owner] if owner else None

    def owner(self, key: Key) -> ServicePortName | None:
        """The service port that a virtual server is for."""
        return min(self._claims[key]) if key in self._claims else None

    @property
    def servers(self) -> dict[Key, VirtualServer]:
        return {key: claims[min(claims)] for key, claims in self._claims.items()}

    @property
    def addresses(self) -> set[str]:
        return set(self._addresses)

    @property
    def entries(self) -> set[Entry]:
        return set(self._entries)

    def update(self, changes: Changes) -> Delta:
        """Take changes in; returns what became different."""
        keys: set[Key] = set()
        addresses, entries = _Tally(self._addresses), _Tally(self._entries)
        for name, (_, after) in changes.items():
            old = self._pieces.pop(name, None)
            new = piece(after, self._node) if after else None
            if new is not None:
                self._pieces[name] = new
            for kept, counts, made in ((old, -1, False), (new, 1, True)):
                if kept is None:
                    continue
                addresses.count(kept.addresses, counts)
                entries.count(kept.entries, counts)
                keys.update(kept.servers)
                self._claim(name, kept.servers, made=made)
        delta = Delta({key: self.server(key) for key in keys})
        delta.new_addresses, delta.old_addresses = addresses.outcome()
        delta.new_entries, delta.old_entries = entries.outcome()
        return delta

    def _claim(self, name: ServicePortName, servers: dict[Key, VirtualServer], *, made: bool) -> None:
        for key, server in servers.items():
            claims = self._claims.setdefault(key, {})
            if made:
                claims[name] = server
            else:
                del claims[name]
                if not claims:
                    del self._claims[key]


class _Tally(Generic[T]):
    """Counts claims to things, and remembers which were claimed at all before."""

    def __init__(self, counts: Counter[T]) -> None:
        self._counts = counts
        self._before: dict[T, bool] = {}

    def count(self, things: Iterable[T], by: int) -> None:
        counts = self._counts
        for thing in things:
            self._before.setdefault(thing, thing in counts)
            counts[thing] += by
            if not counts[thing]:
                del counts[thing]

    def outcome(self) -> tuple[set[T], set[T]]:
        """What is claimed now and was not before, and the reverse."""
        added = {thing for thing, was in self._before.items() if not was and thing in self._counts}
        removed = {thing for thing, was in self._before.items() if was and thing not in self._counts}
        return added, removed
