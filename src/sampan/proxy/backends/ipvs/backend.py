"""The ipvs mode: addresses on kube-ipvs0, virtual servers, sets, and fixed rules that ask the sets.

The first call, and one after a failure, lists what the kernel has of ours and changes only what differs, so that a
restart disturbs no connection. After that nothing is listed: differences go straight to the kernel. Members of sets
come before the virtual servers that need them and go after them, so that what is ours can be told from what is others',
even after a crash in between. Addresses come last: a flow whose first packet finds the address but no virtual server
there, or the other way round, is lost for as long as conntrack remembers it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import ClassVar, TypeVar

from sampan.kernel import iptables, sysctl
from sampan.kernel.ipvs import SCHEDULERS, Ipvs
from sampan.proxy.backends.interface import BackendError, Count
from sampan.proxy.backends.ipvs.device import DEVICE
from sampan.proxy.backends.ipvs.kernel import Kernel, unsupported
from sampan.proxy.backends.ipvs.ledger import Delta, Ledger
from sampan.proxy.backends.ipvs.pieces import Node
from sampan.proxy.backends.ipvs.plan import GRACE_SECONDS, Servers
from sampan.proxy.backends.ipvs.rules import JUMPS, Fixed, in_force, removal, whole
from sampan.proxy.backends.ipvs.text import script
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import ServicePortName, State, is_family
from sampan.proxy.tracker import Changes

log = logging.getLogger(__name__)

T = TypeVar("T")

MODE = "ipvs"
TABLES = ("filter", "nat")
REAP_SECONDS = 10.0
"""How often draining real servers are looked at."""
IN_FORCE_SECONDS = 5.0
"""How long the kernel may take until it takes packets to a new address."""
BIG = 200
"""From this many changes on, a thread talks to the kernel, so that the event loop goes on."""

SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/vs/conntrack": 1,
    "net/ipv4/vs/conn_reuse_mode": 1,
    "net/ipv4/vs/expire_nodest_conn": 1,
    "net/ipv4/vs/expire_quiescent_template": 1,
}
STRICT_ARP = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}


class IpvsBackend:
    """One family's virtual servers."""

    mode: ClassVar[str] = "ipvs"

    def __init__(self, options: ProxyOptions, family: int) -> None:
        self._options = options
        self._family = family
        cidrs = tuple(cidr for cidr in options.cluster_cidrs if is_family(cidr, family))
        mark = f"0x{1 << options.masquerade_bit:x}"
        self._fixed = Fixed(family, cidrs, options.masquerade_all, mark, options.pods_interface)
        self._kernel: Kernel | None = None
        self._ledger: Ledger | None = None
        self._servers = Servers({})
        self._node_ips: tuple[str, ...] = ()
        self._timer: asyncio.TimerHandle | None = None

    def is_supported(self) -> str:
        if self._options.ipvs_scheduler not in SCHEDULERS:
            return f"there is no IPVS scheduler {self._options.ipvs_scheduler!r}"
        if name := iptables.missing(self._family):
            return f"the {name} command is missing (Debian package iptables)"
        return unsupported(self._options.ipvs_scheduler, load=self._options.mode == MODE)

    def render(self, state: State) -> str:
        return script(Ledger.of(state, self._node(state)), self._fixed)

    async def apply(self, state: State, changes: Changes | None) -> None:
        ledger, self._ledger = self._ledger, None  # until the kernel has agreed
        try:
            if ledger is None or changes is None or self._node_ips != state.node_ips:
                ledger = await self._repair(state)
            else:
                await self._update(ledger, changes)
            self._reap()
        except (OSError, iptables.IptablesError) as error:
            raise BackendError(f"ipvs: {error}") from error
        self._ledger, self._node_ips = ledger, state.node_ips

    async def is_intact(self) -> bool:
        ledger = self._ledger
        if ledger is None:
            return False
        try:
            if not await iptables.stand(self._family, JUMPS) or not self._open().device.exists():
                return False
            with contextlib.closing(Ipvs()) as kernel:  # its own, because draining goes on over the other meanwhile
                present = await asyncio.to_thread(kernel.services, self._family)
        except (OSError, iptables.IptablesError) as error:
            raise BackendError(f"ipvs: {error}") from error
        return ledger.servers.keys() <= present.keys()

    async def cleanup(self) -> None:
        """Remove everything, except that established connections keep their virtual servers until they end."""
        self.close()
        self._ledger = None
        try:
            if not await self._remove():
                finishing = asyncio.create_task(_finish(self._options, self._family))
                _finishing.add(finishing)
                finishing.add_done_callback(_finishing.discard)
        except (OSError, iptables.IptablesError) as error:
            raise BackendError(f"ipvs: {error}") from error

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    async def counts(self) -> AsyncIterator[tuple[ServicePortName, Count]]:
        """What every virtual server of a service port has had."""
        ledger = self._ledger
        if ledger is None:
            return
        with contextlib.closing(Ipvs()) as kernel:
            for key, traffic in kernel.traffic(self._family).items():
                if name := ledger.owner(key):
                    yield name, Count(traffic.connections, traffic.bytes)

    def _node(self, state: State) -> Node:
        return Node(state.node_ips, self._options.ipvs_scheduler)

    def _open(self) -> Kernel:
        if self._kernel is None:
            self._kernel = Kernel(self._family, self._options.node_ips, self._options.ipvs_exclude_cidrs)
        return self._kernel

    # --- whole

    async def _repair(self, state: State) -> Ledger:
        kernel = self._open()
        self._prepare(kernel)
        ledger = Ledger.of(state, self._node(state))
        delta, self._servers = kernel.difference(ledger)
        await self._commit(delta, await self._saved())
        return ledger

    def _prepare(self, kernel: Kernel) -> None:
        sysctl.write_all(SYSCTLS, optional=True)
        if self._options.ipvs_strict_arp:
            sysctl.write_all(STRICT_ARP)
        if any(self._options.ipvs_timeouts):
            kernel.ipvs.set_timeouts(*self._options.ipvs_timeouts)
        kernel.device.ensure()
        kernel.create_sets()

    async def _saved(self) -> dict[str, list[str]]:
        return {table: await iptables.save(self._family, table) for table in TABLES}

    # --- differences

    async def _update(self, ledger: Ledger, changes: Changes) -> None:
        await self._commit(ledger.update(changes))

    async def _commit(self, delta: Delta, saved: dict[str, list[str]] | None = None) -> None:
        kernel = self._open()
        default = self._options.ipvs_scheduler
        wanted = {key: server and kernel.usable(server, default) for key, server in delta.servers.items()}
        commands = self._servers.bring(wanted, time.monotonic())

        def before() -> None:
            kernel.add(delta.new_entries)

        def after() -> None:
            kernel.ipvs.execute(commands)
            kernel.device.add(delta.new_addresses)
            kernel.device.remove(delta.old_addresses)
            kernel.delete(delta.old_entries)

        big = len(commands) + len(delta.new_entries) + len(delta.old_entries) > BIG
        await _run(before, big)
        if saved is not None:
            await iptables.restore(self._family, whole(self._fixed, saved))
        await _run(after, big)
        await _in_force(kernel, delta.new_addresses, big)

    # --- endings

    def _reap(self) -> None:
        """Remove draining real servers whose connections have ended, and look again later if any are left."""
        kernel, now = self._open(), time.monotonic()
        for key in self._servers.draining:
            kernel.ipvs.execute(self._servers.ended(key, kernel.ipvs.reals(key), now))
        if self._timer is not None:
            self._timer.cancel()
        later = asyncio.get_running_loop().call_later
        self._timer = later(REAP_SECONDS, self._reap_later) if self._servers.draining else None

    def _reap_later(self) -> None:
        if self._ledger is None:
            return  # a sync is under way, and will do it
        try:
            self._reap()
        except OSError as error:
            self._ledger = None
            log.error("removing drained real servers: %s", error)

    async def _remove(self, *, force: bool = False) -> bool:
        """Remove what nothing depends on; with `force`, all. True if nothing is left."""
        kernel = self._open()
        if not (kernel.has_sets() or kernel.device.exists()):
            return True
        kept = kernel.retire(force=force)
        text = removal(await self._saved())
        if text:
            await iptables.restore(self._family, text)
        kernel.device.remove(kernel.device.addresses() - {key.ip for key in kept})
        if kept:
            return False
        kernel.device.delete()
        await kernel.destroy_sets()
        return True


_finishing: set[asyncio.Task[None]] = set()
"""Clean-ups that wait for connections to end; referred to here lest they be forgotten."""


async def _finish(options: ProxyOptions, family: int) -> None:
    """Clean up again and again until all connections have ended or have had their time, or this mode is back."""
    backend = IpvsBackend(options, family)
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        done = False
        while not done:
            await asyncio.sleep(REAP_SECONDS)
            if in_force((await backend._saved())["nat"]):
                return
            done = await backend._remove(force=time.monotonic() > deadline)
    except (OSError, iptables.IptablesError) as error:
        log.error("removing virtual servers, IPv%d: %s", family, error)
    finally:
        backend.close()


async def _in_force(kernel: Kernel, addresses: Iterable[str], big: bool) -> None:
    """Wait until packets to new addresses come to IPVS: this makes a sync's end the moment that a Service works."""
    deadline = time.monotonic() + IN_FORCE_SECONDS
    while missing := await _run(partial(kernel.device.not_yet_local, addresses), big):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the kernel does not take packets to {missing[0]}, though {DEVICE} has this address")
        addresses = missing
        await asyncio.sleep(0.001)


async def _run(work: Callable[[], T], big: bool) -> T:
    return await asyncio.to_thread(work) if big else work()
