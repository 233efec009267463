"""Which inputs of iptables-restore, in which order, lead from what the kernel has to what it should have. Pure.

iptables-nft takes time by the square of what one input has, and the kernel checks all rules that packets can reach at
every commit. So a start brings the service ports' own chains first, some hundred at a time, while nothing leads there
yet, and then the shared chains. iptables-legacy copies the whole table at every commit, so it is given all at once.
Both are fastest if chains are named in falling order. Chains that stand as they should are left alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sampan.proxy.backends.iptables import names
from sampan.proxy.backends.iptables.render import FIXED, JUMPS, SHARED, Fixed, Lines, Table, fixed_lines, shared_lines
from sampan.proxy.backends.iptables.rules import PortRules

TABLES = ("filter", "nat")

Chains = Mapping[str, Sequence[str]]

LAST_FIRST = ("KUBE-FW-", "KUBE-EXT-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-")
"""The kinds of own chains, those first that nothing of ours but shared chains leads to."""

Input = Mapping[str, Table]
"""One call of iptables-restore, by table."""


class Saved(NamedTuple):
    """What iptables-save printed of one table: every chain's lines, the built-in ones' too."""

    chains: dict[str, list[str]]

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Saved":
        chains: dict[str, list[str]] = {}
        for line in lines:
            if line.startswith(":"):
                chains[line[1:].split(" ", 1)[0]] = []
            else:
                chains[line.split(" ", 2)[1]].append(line)
        return cls(chains)

    def jumps(self, table: str) -> list[str]:
        """The lines that lead from the kernel's chains to ours."""
        chains = {jump.split(" ", 2)[1] for jump in JUMPS[table]}
        present = {line for chain in chains for line in self.chains.get(chain, ())}
        return [jump for jump in JUMPS[table] if jump in present]

    def count(self, table: str) -> int:
        """How many rules there are in our chains, and that lead to them from the kernel's."""
        ours = (*self.own(), *SHARED[table], *FIXED[table])
        return len(self.jumps(table)) + sum(len(self.chains.get(chain, ())) for chain in ours)

    def own(self) -> list[str]:
        """The chains of service ports, in an order in which they can be deleted."""
        found = [chain for chain in self.chains if chain.startswith(LAST_FIRST)]
        return sorted(found, key=_rank)


def _rank(chain: str) -> int:
    return next(rank for rank, kind in enumerate(LAST_FIRST) if chain.startswith(kind))


def repair(ports: Iterable[PortRules], fixed: Fixed, saved: Mapping[str, Saved], limit: int) -> Iterator[Input]:
    """The inputs that make everything right. `ports` come in order; each input has about `limit` chains of theirs."""
    nat = saved["nat"].chains
    pending: dict[str, list[str]] = {}
    wanted: set[str] = set()
    shared: list[PortRules] = []
    yield _refilled(fixed_lines(fixed), saved)
    for port in ports:
        wanted.update(port.chains)
        shared.append(port.shared())
        pending.update((chain, lines) for chain, lines in port.chains.items() if nat.get(chain) != lines)
        if len(pending) >= limit:
            yield {"nat": _filled(pending)}
            pending = {}
    yield {"nat": _filled(pending)}
    yield _with_jumps(_refilled(shared_lines(shared, fixed), saved), saved)
    yield from _deletions([chain for chain in saved["nat"].own() if chain not in wanted], limit)


def partial(
    changed: Iterable[tuple[PortRules | None, PortRules | None]],
    shared_before: Lines,
    shared_after: Lines,
) -> Input:
    """The input that carries out changes of some service ports."""
    tables = {name: Table() for name in TABLES}
    for (name, chain), lines in shared_after.items():
        if shared_before.get((name, chain)) != lines:
            tables[name].fill(chain, lines)
    own: dict[str, list[str]] = {}
    for before, after in changed:
        old, new = before.chains if before else {}, after.chains if after else {}
        own.update((chain, lines) for chain, lines in new.items() if old.get(chain) != lines)
        tables["nat"].deleted += [chain for chain in old if chain not in new]
    return joined([tables, {"nat": _filled(own)}])


def removal(saved: Mapping[str, Saved], limit: int) -> Iterator[Input]:
    """The inputs that remove every chain of ours and what leads there, but leave what the ipvs mode has taken over."""
    taken = _taken_over(saved["nat"])
    ours = {
        name: [chain for chain in (*SHARED[name], *FIXED[name]) if chain in table.chains and chain not in taken[name]]
        for name, table in saved.items()
    }
    jumps = {
        name: [jump.replace("-A ", "-D ", 1) for jump in table.jumps(name) if jump.split()[-1] not in taken[name]]
        for name, table in saved.items()
    }
    yield {name: Table(ours[name], jumps[name]) for name in saved}
    yield from _deletions(saved["nat"].own(), limit)
    yield {name: Table(deleted=chains) for name, chains in ours.items()}


def _taken_over(nat: Saved) -> Mapping[str, Sequence[str]]:
    """The chains that the ipvs mode has under the same names, if it has filled them: its rules ask sets."""
    if any("--match-set" in line for line in nat.chains.get(names.SERVICES, ())):
        return {"nat": (names.SERVICES, names.POSTROUTING, names.MARK_MASQ), "filter": (names.FORWARD, names.FIREWALL)}
    return {"nat": (), "filter": ()}


def joined(inputs: Iterable[Input]) -> Input:
    """Several inputs as one."""
    tables = {name: Table() for name in TABLES}
    for each in inputs:
        for name, table in each.items():
            tables[name].extend(table)
    return tables


def count(given: Input) -> Counter[str]:
    """How many rules an input writes, by table."""
    return Counter({name: len(table.lines) for name, table in given.items()})


def text(given: Input) -> str:
    """What iptables-restore reads; empty if there is nothing to do."""
    return "".join(table.text(name) for name, table in given.items())


def _filled(chains: Chains) -> Table:
    table = Table()
    for chain in sorted(chains, reverse=True):
        table.fill(chain, chains[chain])
    return table


def _refilled(wanted: Lines, saved: Mapping[str, Saved]) -> Input:
    tables = {name: Table() for name in TABLES}
    for (name, chain), lines in wanted.items():
        if saved[name].chains.get(chain) != lines:
            tables[name].fill(chain, lines)
    return tables


def _with_jumps(given: Input, saved: Mapping[str, Saved]) -> Input:
    for name, table in given.items():
        present = saved[name].jumps(name)
        table.lines += [jump.replace("-A ", "-I ", 1) for jump in reversed(JUMPS[name]) if jump not in present]
    return given


def _deletions(chains: Sequence[str], limit: int) -> Iterator[Input]:
    for start in range(0, len(chains), limit):
        yield {"nat": Table(deleted=list(chains[start : start + limit]))}
