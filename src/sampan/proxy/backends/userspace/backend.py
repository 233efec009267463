"""The userspace mode: listeners first, then the rules that lead to them, then away with listeners nobody is led to.

For kernels and cases in which nothing else helps, and to see what a proxy is: each connection is accepted here and made
again to an endpoint, so that endpoints see the node as their client.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

from sampan.kernel.nft import Nft, NftError, load, meaning
from sampan.proxy.backends.interface import BackendError, Count
from sampan.proxy.backends.userspace import flows, rules, text
from sampan.proxy.backends.userspace.claims import Claims
from sampan.proxy.backends.userspace.relay import Relay
from sampan.proxy.backends.userspace.rules import Listener, ListenerName, Place, Slot, entries, listeners
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import ServicePort, ServicePortName, State, is_family
from sampan.proxy.tracker import Changes


class UserspaceBackend:
    """One family's table and listeners."""

    mode: ClassVar[str] = "userspace"

    def __init__(self, options: ProxyOptions, family: int) -> None:
        self._family = family
        self._node_ips = tuple(ip for ip in options.node_ips if is_family(ip, family))
        cidrs = [cidr for cidr in options.cluster_cidrs if is_family(cidr, family)]
        self._fixed = text.fixed(family, cidrs, options.pods_interface)
        self._relay: Relay | None = None
        self._claims: Claims | None = None
        self._served: tuple[str, ...] = ()
        self._listeners: dict[ServicePortName, dict[ListenerName, Listener]] = {}

    def is_supported(self) -> str:
        if not self._node_ips:
            return f"the node has no IPv{self._family} address to listen at"
        return "" if shutil.which("nft") else "the nft command is missing (Debian package nftables)"

    def render(self, state: State) -> str:
        """Ports are numbered from 1 here; real ones are whatever is free."""
        wanted = _all(_listeners(state.ports))
        numbers = {name: number for number, name in enumerate(sorted(wanted), 1)}
        claims = self._claim(state, state.ports, numbers)
        return text.description(wanted, numbers) + self._fixed + text.content(self._family, claims.effective())

    async def apply(self, state: State, changes: Changes | None) -> None:
        claims, self._claims = self._claims, None  # until the kernel has agreed
        try:
            if claims is None or changes is None or self._served != state.node_ips:
                claims = await self._repair(state)
            else:
                await self._update(claims, state, changes)
            if self._relay is not None:
                await self._relay.keep(frozenset(_all(self._listeners)))
        except (OSError, NftError) as error:
            raise BackendError(f"userspace: {await meaning(error, self._family)}") from error
        self._claims = claims

    async def is_intact(self) -> bool:
        try:
            with contextlib.closing(Nft()) as nft:
                return rules.LISTENERS in nft.sets(self._family, text.TABLE)
        except OSError as error:
            raise BackendError(f"userspace: {error}") from error

    async def cleanup(self) -> None:
        self._claims = None
        try:
            led_here = flows.listener_addresses(self._family)
            await load(text.removal(self._family))
            flows.forget(self._family, led_here)
        except (OSError, NftError) as error:
            raise BackendError(f"userspace: {error}") from error
        finally:
            self.close()

    def close(self) -> None:
        self._claims = None
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    async def counts(self) -> AsyncIterator[tuple[ServicePortName, Count]]:
        """What every listener has relayed."""
        for name, tally in self._relay.tallies().items() if self._relay else ():
            yield name.service, Count(tally.connections, tally.bytes)

    async def _repair(self, state: State) -> Claims:
        self._listeners = _listeners(state.ports)
        numbers = await self._open(_all(self._listeners))
        claims = self._claim(state, state.ports, numbers)
        await load(self._fixed + text.content(self._family, claims.effective()))
        self._served = state.node_ips
        return claims

    async def _update(self, claims: Claims, state: State, changes: Changes) -> None:
        present = {name: after for name, (_, after) in changes.items() if after is not None}
        for name in changes:
            self._listeners.pop(name, None)
        wanted = _listeners(present)
        self._listeners |= wanted
        numbers = await self._open(_all(wanted))
        changed: dict[Slot, tuple[str | None, str | None]] = {}
        for name, (_, port) in changes.items():
            made = entries(name, port, numbers, self._place(state)) if port else {}
            for slot, (old, new) in claims.replace(name, made).items():
                changed[slot] = (changed[slot][0] if slot in changed else old, new)
        changed = {slot: (old, new) for slot, (old, new) in changed.items() if old != new}
        if changed:
            await load(text.changes(self._family, changed))

    def _claim(
        self, state: State, ports: Mapping[ServicePortName, ServicePort], numbers: Mapping[ListenerName, int]
    ) -> Claims:
        claims = Claims()
        for name, port in ports.items():
            claims.replace(name, entries(name, port, numbers, self._place(state)))
        return claims

    def _place(self, state: State) -> Place:
        return Place(self._node_ips[0], state.node_ips)

    async def _open(self, wanted: Mapping[ListenerName, Listener]) -> dict[ListenerName, int]:
        if self._relay is None:
            self._relay = Relay(self._node_ips[0])
        return await self._relay.open(wanted)


def _listeners(ports: Mapping[ServicePortName, ServicePort]) -> dict[ServicePortName, dict[ListenerName, Listener]]:
    return {name: listeners(name, port) for name, port in ports.items()}


def _all(by_service: Mapping[ServicePortName, Mapping[ListenerName, Listener]]) -> dict[ListenerName, Listener]:
    return {name: listener for each in by_service.values() for name, listener in each.items()}
