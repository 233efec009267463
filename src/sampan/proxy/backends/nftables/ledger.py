"""What the maps must hold, kept up to date change by change: from changed service ports to changed map entries. Pure.

Two Services may claim one external address and port; the first in the order of names has it, so that the outcome
depends on the state alone and not on the order of events. encode.py writes a `Delta` for the kernel, text.py prints a
`Ledger`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sampan.proxy.backends.nftables.targets import Target, targets
from sampan.proxy.state import ServicePort, ServicePortName, State
from sampan.proxy.tracker import Change, Changes


class Membership(NamedTuple):
    """Members that a set gains and loses."""

    added: list[str]
    removed: list[str]


class Delta(NamedTuple):
    """Changes of the kernel's content; a target is None where there is no entry. `chains` are those newly gone to."""

    targets: list[tuple[bytes, Target | None, Target | None]]
    cluster_ips: Membership
    hairpins: Membership
    chains: list[str]

    def __bool__(self) -> bool:
        return bool(self.targets) or any(any(each) for each in (self.cluster_ips, self.hairpins))


class Tally:
    """A set whose members are held by several holders: a member is there as long as anyone holds it."""

    def __init__(self) -> None:
        self._holders: Counter[str] = Counter()
        self._before: dict[str, bool] = {}

    def hold(self, member: str, count: int = 1) -> None:
        self._before.setdefault(member, member in self._holders)
        self._holders[member] += count
        if not self._holders[member]:
            del self._holders[member]

    def release(self, member: str) -> None:
        self.hold(member, -1)

    def take(self) -> Membership:
        """What changed since the last call, in order."""
        before, self._before = self._before, {}
        changed = sorted(member for member, was in before.items() if was != (member in self._holders))
        added = [member for member in changed if member in self._holders]
        return Membership(added, [member for member in changed if member not in self._holders])

    def members(self) -> list[str]:
        return sorted(self._holders)


class Ledger:
    """The content of one family's table, as it should be after the changes seen so far."""

    def __init__(self, node_ips: Sequence[str] = ()) -> None:
        self.node_ips = tuple(node_ips)
        self.targets: dict[bytes, Target] = {}
        self._claims: dict[bytes, dict[ServicePortName, Target]] = {}
        self._cluster_ips = Tally()
        self._hairpins = Tally()
        self._chains = Tally()

    @classmethod
    def of(cls, state: State) -> "Ledger":
        """The ledger of a whole state."""
        ledger = cls(state.node_ips)
        ledger.update_all(state)
        return ledger

    @property
    def cluster_ips(self) -> list[str]:
        return self._cluster_ips.members()

    @property
    def hairpins(self) -> list[str]:
        return self._hairpins.members()

    @property
    def chains(self) -> list[str]:
        return self._chains.members()

    def name_of(self, key: bytes) -> ServicePortName | None:
        """Whose target stands under a key."""
        return min(self._claims.get(key, ()), default=None)

    def update_all(self, state: State) -> Delta:
        """Take a whole state into an empty ledger."""
        return self.update({name: Change(None, port) for name, port in state.ports.items()})

    def update(self, changes: Changes) -> Delta:
        """Take changes in and say what they change in the kernel."""
        touched: dict[bytes, Target | None] = {}
        for name, (before, after) in changes.items():
            self._reclaim(name, self._targets(before), self._targets(after), touched)
            self._recount(before, after)
        changed = []
        for key, old in touched.items():
            new = self._holder(key)
            if old != new:
                self._put(key, old, new)
                changed.append((key, old, new))
        return Delta(changed, self._cluster_ips.take(), self._hairpins.take(), self._chains.take().added)

    def _targets(self, port: ServicePort | None) -> Mapping[bytes, Target]:
        return targets(port, self.node_ips) if port else {}

    def _reclaim(
        self,
        name: ServicePortName,
        before: Mapping[bytes, Target],
        after: Mapping[bytes, Target],
        touched: dict[bytes, Target | None],
    ) -> None:
        for key in before.keys() - after.keys():
            touched.setdefault(key, self.targets.get(key))
            claims = self._claims[key]
            del claims[name]
            if not claims:
                del self._claims[key]
        for key, target in after.items():
            touched.setdefault(key, self.targets.get(key))
            self._claims.setdefault(key, {})[name] = target

    def _holder(self, key: bytes) -> Target | None:
        claims = self._claims.get(key)
        return claims[min(claims)] if claims else None

    def _put(self, key: bytes, old: Target | None, new: Target | None) -> None:
        for chain in old.chains if old else ():
            self._chains.release(chain)
        for chain in new.chains if new else ():
            self._chains.hold(chain)
        if new is None:
            del self.targets[key]
        else:
            self.targets[key] = new

    def _recount(self, before: ServicePort | None, after: ServicePort | None) -> None:
        if after is not None:
            self._cluster_ips.hold(after.cluster_ip)
            for ip in _may_call_themselves(after):
                self._hairpins.hold(ip)
        if before is not None:
            self._cluster_ips.release(before.cluster_ip)
            for ip in _may_call_themselves(before):
                self._hairpins.release(ip)


def _may_call_themselves(port: ServicePort) -> list[str]:
    """Endpoints that may be reached from their own address through this node: all that may live here."""
    return [each.ip for each in port.all_endpoints() if each.local is not False]
