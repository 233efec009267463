"""The desired content of the nftables sets and maps, updated incrementally from changed service ports. Pure.

No two service ports of a state have the same address and port (frontends.py), but within one update an address may
move from one to another, and be added before it is removed. encode.py writes a `Delta` for the kernel, text.py prints a
`Ledger`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sampan.proxy.backends.nftables import layout
from sampan.proxy.backends.nftables.chains import Spread, parse, service_id
from sampan.proxy.backends.nftables.targets import Affinity, Target, affinity, targets
from sampan.proxy.state import ServicePort, ServicePortName, State
from sampan.proxy.tracker import Change, Changes


class Membership(NamedTuple):
    """Members that a set gains and loses."""

    added: list[str]
    removed: list[str]


class Delta(NamedTuple):
    """Changes of the kernel's content: before and after, None where there is or was no entry.

    `chains` are those made on demand, `affinities` belong to ids of service ports.
    """

    targets: list[tuple[bytes, Target | None, Target | None]]
    cluster_ips: Membership
    hairpins: Membership
    chains: Membership
    affinities: list[tuple[str, Affinity | None, Affinity | None]]

    def __bool__(self) -> bool:
        return bool(self.targets or self.affinities) or any(any(each) for each in (self.cluster_ips, self.hairpins))


class Tally:
    """A reference-counted set: a member is in it while its count is above zero."""

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

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, member: str) -> bool:
        return member in self._holders


class Ledger:
    """The content of one family's table, as it should be after the changes seen so far."""

    def __init__(self, node_ips: Sequence[str] = ()) -> None:
        self.node_ips = tuple(node_ips)
        self.targets: dict[bytes, Target] = {}
        self._claims: dict[bytes, dict[ServicePortName, Target]] = {}
        self._cluster_ips = Tally()
        self._hairpins = Tally()
        self._chains = Tally()
        self.affinities: dict[str, Affinity] = {}

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
        """The service port that has the target of a key."""
        return min(self._claims.get(key, ()), default=None)

    def update_all(self, state: State) -> Delta:
        """Apply a whole state to an empty ledger."""
        return self.update({name: Change(None, port) for name, port in state.ports.items()})

    def update(self, changes: Changes) -> Delta:
        """Apply changes and return the resulting changes of the kernel's content."""
        touched: dict[bytes, Target | None] = {}
        affinities: list[tuple[str, Affinity | None, Affinity | None]] = []
        for name, (before, after) in changes.items():
            service = service_id(name) if _is_sticky(before) or _is_sticky(after) else ""
            old, new = (targets(service, port, self.node_ips) if port else {} for port in (before, after))
            self._update_claims(name, old, new, touched)
            self._count_members(before, after)
            if service:
                affinities += self._change_affinity(service, affinity(after) if after else None)
        changed = []
        for key, was in touched.items():
            now = self._holder(key)
            if was != now:
                self._put(key, was, now)
                changed.append((key, was, now))
        return Delta(changed, self._cluster_ips.take(), self._hairpins.take(), self._chains.take(), affinities)

    def uses_endpoint_map(self, count: int) -> bool:
        """Whether some service port has this number of endpoints, so that the map for that number is in use."""
        return any(Spread(count, local=local).chain in self._chains for local in (False, True))

    def element_counts(self) -> dict[str, int]:
        """How many elements each set and map has whose content follows from the state, by name."""
        found = Counter[str](dict.fromkeys(layout.FILLED, 0))
        for target in self.targets.values():
            found[layout.SERVICES] += bool(target.verdict)
            found[layout.EXTERNAL_SERVICES] += bool(target.external)
            found[layout.LOCAL_SERVICES] += bool(target.local_verdict)
            found[layout.STICKY_SERVICES] += bool(target.remember)
            found[layout.ALLOWED_SOURCES] += len(target.sources)
            for verdict in (target.verdict, target.local_verdict):
                if spread := parse(verdict):
                    found[layout.endpoint_map(spread.endpoints)] += spread.endpoints
        found[layout.CLUSTER_IPS] = len(self._cluster_ips)
        found[layout.HAIRPINS] = len(self._hairpins)
        for name in layout.COUNTED:
            found[name] = len(self.targets)
        for service, known in self.affinities.items():
            found[layout.NUMBERS + service] = len(known.numbers)
            found[layout.SLOTS + service] = len(known.slots)
            found[layout.LOCAL_SLOTS + service] = len(known.local_slots)
        return dict(found)

    def _change_affinity(
        self, service: str, new: Affinity | None
    ) -> Iterator[tuple[str, Affinity | None, Affinity | None]]:
        old = self.affinities.pop(service, None)
        if new is not None:
            self.affinities[service] = new
        if old != new:
            yield service, old, new

    def _update_claims(
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

    def _count_members(self, before: ServicePort | None, after: ServicePort | None) -> None:
        if after is not None:
            self._cluster_ips.hold(after.cluster_ip)
            for ip in _hairpin_ips(after):
                self._hairpins.hold(ip)
        if before is not None:
            self._cluster_ips.release(before.cluster_ip)
            for ip in _hairpin_ips(before):
                self._hairpins.release(ip)


def _is_sticky(port: ServicePort | None) -> bool:
    return port is not None and port.affinity_seconds > 0


def _hairpin_ips(port: ServicePort) -> list[str]:
    """Endpoints that may connect to themselves through this node (hairpin): all that may be local."""
    return [each.ip for each in port.all_endpoints() if each.local is not False]
