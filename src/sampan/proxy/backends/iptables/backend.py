"""The iptables mode: the rules everyone knows, loaded in part where only a part changed.

The first call, and one after a failure, reads what is there and rewrites what differs; afterwards only the chains of
changed service ports are sent, and the shared chains only when a line in them changes. What was sent is not kept, but
for the lines in shared chains: a change brings with it what it changes.
"""

import asyncio
import contextlib
import logging
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ClassVar

from sampan.kernel import iptables, sysctl
from sampan.kernel.nft import Nft, NftError
from sampan.proxy.backends.accounting import Accounting
from sampan.proxy.backends.interface import BackendError, Count, RuleCount
from sampan.proxy.backends.iptables import names
from sampan.proxy.backends.iptables.plan import TABLES, Input, Saved, count, joined, partial, removal, repair, text
from sampan.proxy.backends.iptables.render import JUMPS, LOOPBACK, Fixed, Lines, fixed_lines, shared_lines, whole
from sampan.proxy.backends.iptables.rules import LocalDetector, PortRules, port_rules
from sampan.proxy.backends.iptables.tally import Tally
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import IPV4, ServicePortName, State, is_family
from sampan.proxy.tracker import Changes

log = logging.getLogger(__name__)

CHAINS_AT_ONCE = 1500
"""Measured: from 1,000 to 2,000 iptables-nft takes the least time in all."""


ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"
"""Lets packets from 127.0.0.1 leave for a pod, which is what a node port there comes to."""


class IptablesBackend:
    """One family's rules."""

    mode: ClassVar[str] = "iptables"

    def __init__(self, options: ProxyOptions, family: int) -> None:
        self._family = family
        self._options = options
        self._shared_parts: dict[ServicePortName, PortRules] = {}
        self._shared: Lines = {}
        self._node_ips: tuple[str, ...] | None = None
        self._accounting = Accounting(family, every_local_address=not options.node_port_addresses)
        self._accounted: bool | None = None  # until it has been tried
        self.rule_counts: dict[str, RuleCount] = {}
        self._own_rules = 0
        self._written: Counter[str] = Counter()
        self._routes_loopback = False
        self._tally = Tally()
        self._reading = asyncio.Lock()
        self._is_legacy: bool | None = None  # until it has been asked
        self._seen_generation = 0
        """Of nftables' ruleset, when all rules were last found there."""

    def is_supported(self) -> str:
        name = iptables.missing(self._family)
        return f"the {name} command is missing (Debian package iptables)" if name else ""

    def render(self, state: State) -> str:
        local_detector = self._local_detector(state)
        ports = {name: port_rules(name, port, local_detector) for name, port in state.ports.items()}
        return whole(ports, self._fixed(state))

    async def apply(self, state: State, changes: Changes | None) -> None:
        whole_again = changes is None or self._node_ips != state.node_ips
        self._node_ips = None  # until the kernel has agreed
        self._written = Counter()
        await self._account(state, None if whole_again else changes)
        try:
            if whole_again:
                await self._repair(state)
            else:
                await self._update(state, changes or {})
        except (OSError, iptables.IptablesError) as error:
            raise BackendError(f"iptables: {error}") from error
        self._node_ips = state.node_ips
        self._count_rules(self._fixed(state))

    async def is_intact(self) -> bool:
        """Whether every table has as many rules of this mode as this process has put there. Raises BackendError.

        With the nft variant only looked at if anybody has committed anything since the last look.
        """
        try:
            generation = await self._generation()
            if generation and generation == self._seen_generation:
                return True
            if not await iptables.stand(self._family, JUMPS):
                return False
            for table in TABLES:
                saved = Saved.of(await iptables.save(self._family, table))
                if saved.count(table) != self.rule_counts[table].total:
                    return False
        except (OSError, iptables.IptablesError) as error:
            raise BackendError(f"iptables: {error}") from error
        self._seen_generation = generation
        return True

    async def _generation(self) -> int:
        """Of nftables' ruleset, where the commands write to that; otherwise 0. Raises OSError, IptablesError."""
        if self._is_legacy is None:
            self._is_legacy = await iptables.is_legacy(self._family)
        if self._is_legacy:
            return 0
        with contextlib.closing(Nft()) as nft:
            return nft.generation()

    async def cleanup(self) -> None:
        self._node_ips = None
        try:
            if shutil.which("nft"):
                await self._accounting.remove()
        except (OSError, NftError) as error:
            log.debug("%s", error)
        try:
            self._stop_routing_loopback()
            saved = await self._saved()
            await self._restore_all(lambda limit: removal(saved, limit))
        except (OSError, iptables.IptablesError) as error:
            raise BackendError(f"iptables: {error}") from error

    def close(self) -> None:
        self._accounting.close()

    async def counts(self) -> AsyncIterator[tuple[ServicePortName, Count]]:
        """What every service port has had: without nftables in the kernel, connections only."""
        if self._accounted:
            for counted in self._accounting.counts():
                yield counted
            return
        chains = {make(name): name for name in self._shared_parts for make in (names.service_chain, names.local_chain)}
        async with self._reading:
            try:
                lines = await iptables.counted(self._family, "nat")
            except iptables.IptablesError as error:
                raise BackendError(f"iptables: {error}") from error
            found = await asyncio.to_thread(self._tally.read, lines, chains)
        for name, connections in found.items():
            yield name, Count(connections, None)

    async def _account(self, state: State, changes: Changes | None) -> None:
        """Let what is about to change be counted. Where that cannot be, it is said once, and nothing else fails."""
        if changes is not None and self._accounted is False:
            return
        try:
            if changes is None or not self._accounting.follow(changes):
                await self._accounting.begin(state)
            self._accounted = True
        except (OSError, NftError) as error:
            if self._accounted is not False:
                why = str(error).partition("\n")[0]
                log.warning("IPv%d: bytes of Services are not counted, only connections: %s", self._family, why)
            self._accounted = False

    async def _repair(self, state: State) -> None:
        if self._serves_loopback:
            self._route_loopback()
        saved = await self._saved()
        self._shared_parts = {}
        self._own_rules = 0
        fixed = self._fixed(state)
        await self._restore_all(lambda limit: repair(self._render_all(state), fixed, saved, limit))
        self._shared = shared_lines(self._shared_parts.values(), fixed)

    def _render_all(self, state: State) -> Iterator[PortRules]:
        """Every service port's rules, in order; what stands in shared chains is kept."""
        local_detector = self._local_detector(state)
        for name in sorted(state.ports):
            made = port_rules(name, state.ports[name], local_detector)
            self._own_rules += _rules_of(made)
            self._shared_parts[name] = made.shared()
            yield made

    async def _update(self, state: State, changes: Changes) -> None:
        local_detector = self._local_detector(state)
        changed = []
        moved = False
        for name, ports in changes.items():
            before, after = (port_rules(name, port, local_detector) if port else None for port in ports)
            changed.append((before, after))
            self._own_rules += _rules_of(after) - _rules_of(before)
            moved |= self._keep(name, after)
        known = self._shared
        if moved:
            ordered = [self._shared_parts[name] for name in sorted(self._shared_parts)]
            self._shared = shared_lines(ordered, self._fixed(state))
        await self._restore(partial(changed, known, self._shared))

    def _keep(self, name: ServicePortName, made: PortRules | None) -> bool:
        """Note what a service port has in shared chains; whether that is different from before."""
        before = self._shared_parts.pop(name, None)
        after = made.shared() if made else None
        if after is not None:
            self._shared_parts[name] = after
        return before != after

    async def _saved(self) -> dict[str, Saved]:
        return {table: Saved.of(await iptables.save(self._family, table)) for table in TABLES}

    async def _restore_all(self, planned: Callable[[int], Iterator[Input]]) -> None:
        """Load many inputs: one after the other, or together where the command's variant prefers that."""
        if await iptables.is_legacy(self._family):
            await self._restore(joined(planned(sys.maxsize)))
        else:
            for each in planned(CHAINS_AT_ONCE):
                await self._restore(each)

    async def _restore(self, given: Input) -> None:
        self._written += count(given)
        if written := text(given):
            await iptables.restore(self._family, written)

    def _count_rules(self, fixed: Fixed) -> None:
        total = Counter({"nat": self._own_rules})
        for (table, _), lines in (self._shared | fixed_lines(fixed)).items():
            total[table] += len(lines)
        for table in TABLES:
            total[table] += len(JUMPS[table])
            self.rule_counts[table] = RuleCount(total[table], self._written[table])

    def _local_detector(self, state: State) -> LocalDetector:
        cidrs = tuple(cidr for cidr in self._options.cluster_cidrs if is_family(cidr, self._family))
        return LocalDetector(cidrs, self._options.pods_interface, self._options.masquerade_all, state.node_ips)

    def _fixed(self, state: State) -> Fixed:
        restricted = bool(self._options.node_port_addresses)
        mark = f"0x{1 << self._options.masquerade_bit:x}"
        loopback = "" if self._serves_loopback else LOOPBACK[self._family]
        ips = state.node_ips if restricted else ()
        return Fixed(mark, ips, drop_invalid=self._options.drops_invalid, loopback=loopback)

    def _route_loopback(self) -> None:
        try:
            if sysctl.read(ROUTE_LOCALNET) == "0":
                sysctl.write(ROUTE_LOCALNET, 1)
                self._routes_loopback = True
        except OSError as error:
            log.warning("node ports do not answer at 127.0.0.1: %s: %s", ROUTE_LOCALNET, error)

    def _stop_routing_loopback(self) -> None:
        """Undo that, if it was this process that did it: without our rules nothing guards what listens there."""
        if self._routes_loopback:
            sysctl.write(ROUTE_LOCALNET, 0)
            self._routes_loopback = False

    @property
    def _serves_loopback(self) -> bool:
        """Whether 127.0.0.1 serves node ports; it cannot be done with ::1."""
        options = self._options
        return self._family == IPV4 and options.localhost_node_ports and not options.node_port_addresses


def _rules_of(made: PortRules | None) -> int:
    """How many rules a service port has in chains of its own."""
    return sum(map(len, made.chains.values())) if made else 0
