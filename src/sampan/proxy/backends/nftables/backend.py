"""The nftables mode: keeps a ledger of what the kernel holds and sends it differences, one transaction per sync.

The first call, and one after any failure, loads the fixed rules and refills every set in one transaction, so that a
restart repairs whatever it finds while packets keep flowing. After that the ruleset is never listed.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar

from sampan.kernel.nft import Nft, NftError, Transaction, load, meaning
from sampan.proxy.backends.interface import BackendError, Count
from sampan.proxy.backends.nftables import chains, layout
from sampan.proxy.backends.nftables.base import BaseOptions, removal, ruleset
from sampan.proxy.backends.nftables.encode import Found, refill, transaction
from sampan.proxy.backends.nftables.ledger import Ledger
from sampan.proxy.backends.nftables.text import script
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import ServicePortName, State, is_family
from sampan.proxy.tracker import Changes

BIG = 200
"""From this many messages on, a transaction is sent by a thread, so that the event loop goes on."""


class NftablesBackend:
    """One family's table."""

    mode: ClassVar[str] = "nftables"

    def __init__(self, options: ProxyOptions, family: int) -> None:
        self._family = family
        self._base = BaseOptions(
            family,
            tuple(cidr for cidr in options.cluster_cidrs if is_family(cidr, family)),
            options.masquerade_all,
            options.masquerade_bit,
            pods_interface=options.pods_interface,
            drop_invalid=options.drops_invalid,
        )
        self._nft: Nft | None = None
        self._ledger: Ledger | None = None
        self._service_cidrs: tuple[str, ...] = ()
        self._fixed_rules: dict[str, list[bytes]] = {}
        self._seen_generation = 0
        """Of the ruleset, when it was last found whole."""

    def is_supported(self) -> str:
        return "" if shutil.which("nft") else "the nft command is missing (Debian package nftables)"

    def render(self, state: State) -> str:
        return ruleset(self._base_of(state)) + script(Ledger.of(state), self._family)

    async def apply(self, state: State, changes: Changes | None) -> None:
        ledger = self._ledger
        self._ledger = None  # until the kernel has agreed
        try:
            if ledger is None or changes is None or ledger.node_ips != state.node_ips:
                ledger = await self._repair(state)
            else:
                await self._load_base(state)
                await self._update(ledger, changes)
            if not self._fixed_rules:
                self._note_fixed_rules(ledger)
        except (OSError, NftError) as error:
            raise BackendError(f"nftables: {await meaning(error, self._family)}") from error
        self._ledger = ledger

    async def is_intact(self) -> bool:
        """Whether the table has the rules, and every set as many elements, as this process has put there.

        Only looked at if anybody has committed anything since the last look. Raises BackendError.
        """
        ledger = self._ledger
        if ledger is None:
            return False
        try:
            with contextlib.closing(Nft()) as nft:
                generation = nft.generation()
                if generation != self._seen_generation:
                    if not self._has_all(nft, ledger):
                        return False
                    self._seen_generation = generation
        except OSError as error:
            raise BackendError(f"nftables: {error}") from error
        return True

    def _has_all(self, nft: Nft, ledger: Ledger) -> bool:
        rules = nft.rules(self._family, layout.TABLE)
        for chain in ledger.chains:
            if len(rules.pop(chain, ())) != len(chains.rules(chain, self._family)):
                return False
        if rules != self._fixed_rules:
            return False
        present = nft.sets(self._family, layout.TABLE)
        wanted = ledger.element_counts()
        return wanted.keys() <= set(present) and all(
            nft.count_elements(self._family, layout.TABLE, name) == count for name, count in wanted.items()
        )

    async def cleanup(self) -> None:
        self._ledger = None
        try:
            await load(removal(self._family))
        except (OSError, NftError) as error:
            raise BackendError(f"nftables: {error}") from error

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    async def counts(self) -> AsyncIterator[tuple[ServicePortName, Count]]:
        """What every address of a service port has had: connections, and bytes in both directions."""
        ledger = self._ledger
        if ledger is None:
            return
        nft = Nft()
        with contextlib.closing(nft):
            traffic = {each.key: each.bytes for each in nft.counters(self._family, layout.TABLE, layout.TRAFFIC)}
            for each in nft.counters(self._family, layout.TABLE, layout.CONNECTIONS):
                if name := ledger.name_of(each.key):
                    yield name, Count(each.packets, traffic.get(each.key, 0))

    # --- whole

    def _base_of(self, state: State) -> BaseOptions:
        return replace(self._base, service_cidrs=state.service_cidrs)

    async def _load_base(self, state: State, *, again: bool = False) -> None:
        if again or state.service_cidrs != self._service_cidrs:
            await load(ruleset(self._base_of(state)))
            self._service_cidrs = state.service_cidrs
            self._fixed_rules = {}

    async def _repair(self, state: State) -> Ledger:
        await self._load_base(state, again=True)
        ledger = Ledger(state.node_ips)
        delta = ledger.update_all(state)
        nft = self._open()
        found = Found(
            nft.sets(self._family, layout.TABLE),
            nft.chains(self._family, layout.TABLE),
            [key for key, _ in nft.elements(self._family, layout.TABLE, layout.CONNECTIONS)],
        )
        await self._commit(refill(delta, self._family, found))
        return ledger

    def _note_fixed_rules(self, ledger: Ledger) -> None:
        """Remember how the kernel shows the rules that `load` has made."""
        found = self._open().rules(self._family, layout.TABLE)
        self._fixed_rules = {name: rules for name, rules in found.items() if name not in ledger.chains}

    # --- differences

    async def _update(self, ledger: Ledger, changes: Changes) -> None:
        delta = ledger.update(changes)
        if not delta:
            return
        freed = {
            spread.endpoints for spread in map(chains.parse, delta.chains.removed) if spread and not spread.service
        }
        unused = [count for count in sorted(freed) if not ledger.uses_endpoint_map(count)]
        await self._commit(transaction(delta, self._family, unused))

    # --- the kernel

    def _open(self) -> Nft:
        if self._nft is None:
            self._nft = Nft()
        return self._nft

    async def _commit(self, changes: Transaction) -> None:
        nft = self._open()
        if len(changes.messages) < BIG:
            nft.commit(changes)
        else:
            await asyncio.to_thread(nft.commit, changes)
