"""The loop between the tracker and the kernel: whatever is dirty is applied at once, and what arrives meanwhile next.

There is no minimum delay between syncs: while one is under way, events gather by themselves. A failed sync is retried
as a repair, later and later. After each, the conntrack entries of UDP flows that lost their endpoint are deleted; after
a repair, all such entries of all Services. While nothing happens, a look now and then tells whether others have removed
what was made; then, and once an hour in any case, all of it is made anew.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from sampan.kernel.conntrack import Conntrack
from sampan.machinery import times
from sampan.proxy.backends.interface import Backend, BackendError, Count, Counting, RuleCounting
from sampan.proxy.metrics import Metrics
from sampan.proxy.nolocal import NoLocalEndpoints
from sampan.proxy.options import SYNC_PERIOD_SECONDS
from sampan.proxy.staleflows import stale, udp_addresses
from sampan.proxy.state import FAMILY_NAMES, ServicePort, ServicePortName, State
from sampan.proxy.tracker import Change, Changes, FamilyChanges, Tracker

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 30.0
FULL_SYNC_SECONDS = 3600.0
"""How often everything is made anew although nothing seems to be missing, as kube-proxy's FullSyncPeriod."""
CHECK_SHARE = 20
"""Looking whether the rules still stand may take one part in so many of the time."""

Listener = Callable[[Sequence[State]], None]


class Syncer:
    """Keeps the kernel as the tracker says, with one backend per family."""

    def __init__(
        self,
        tracker: Tracker,
        backends: dict[int, Backend],
        metrics: Metrics,
        check_seconds: float = SYNC_PERIOD_SECONDS,
    ) -> None:
        self._tracker = tracker
        self._backends = backends
        self._metrics = metrics
        self._check_seconds = check_seconds
        self._broken = set(backends)
        self._refusal = ""  # why the kernel last took nothing
        self._full_sync_at = 0.0
        self._unreconciled: dict[int, Changes] = {family: {} for family in backends}
        self._wake = asyncio.Event()
        self._listeners: list[Listener] = []
        self._triggers: list[tuple[float, str]] = []
        self._no_local = NoLocalEndpoints(backends)
        self._conntrack: Conntrack | None = None
        self._syncing = asyncio.Lock()
        self.first_success = asyncio.Event()
        self.last_success = 0.0
        self.queued_since = 0.0
        metrics.services_pending.read(lambda: len(tracker.pending_services))
        metrics.endpoints_pending.read(lambda: len(tracker.pending_slices))

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with all states after every successful sync."""
        self._listeners.append(listener)

    def wake(self) -> None:
        """Say that the tracker is dirty."""
        if not self.queued_since:
            self.queued_since = time.time()
            for family in self._backends:
                self._metrics.last_queued.set(self.queued_since, FAMILY_NAMES[family])
        self._wake.set()

    def note_trigger(self, moment: str, family: str) -> None:
        """Say when something happened that the next sync brings to the kernel (RFC 3339), and in which family."""
        try:
            self._triggers.append((times.epoch(moment), family))
        except ValueError:
            log.debug("not a time: %r", moment)

    async def run(self, synced: Callable[[], None]) -> None:
        """Sync until cancelled; `synced` is called once, after the first success."""
        delay = FIRST_RETRY_SECONDS
        try:
            while True:
                if await self.sync():
                    delay = FIRST_RETRY_SECONDS
                    if not self.first_success.is_set():
                        self.first_success.set()
                        synced()
                    await self._work()
                else:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, LAST_RETRY_SECONDS)
        finally:
            self.close()

    async def _work(self) -> None:
        """Return when there is something to do."""
        pause = self._check_seconds
        while not self._wake.is_set():
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                started = time.perf_counter()
                if not await self._check():
                    return
                pause = max(self._check_seconds, CHECK_SHARE * (time.perf_counter() - started))

    async def _check(self) -> bool:
        """Whether everything stands; what does not is repaired by the next sync."""
        if time.monotonic() - self._full_sync_at > FULL_SYNC_SECONDS:
            self._broken = set(self._backends)
            return False
        async with self._syncing:
            for family, backend in self._backends.items():
                try:
                    if await backend.is_intact():
                        continue
                    log.warning("IPv%d: others have removed rules of mode %s; making them anew", family, backend.mode)
                except BackendError as error:
                    log.error("IPv%d: looking at the rules: %s", family, error)
                except Exception:
                    log.exception("IPv%d: looking at the rules", family)
                self._broken.add(family)
        return not self._broken

    async def sync(self) -> bool:
        """Bring the kernel to the tracker's present state. False if some family failed (it will be repaired)."""
        async with self._syncing:
            return await self._sync()

    async def replace(self, backends: dict[int, Backend]) -> dict[int, Backend]:
        """Let other backends take over at once; the former ones, whose rules still stand, are the caller's then.

        Raises BackendError if the kernel does not take the new rules: then the former backends go on, and the new ones
        are the caller's.
        """
        async with self._syncing:
            former, self._backends = self._backends, backends
            self._broken = set(backends)
            if await self._sync():
                return former
            self._backends, self._broken = former, set(former)
        self.wake()
        raise BackendError(f"the kernel does not take the new mode's rules: {self._refusal}")

    async def _sync(self) -> bool:
        self._wake.clear()
        if len(self._broken) == len(self._backends):
            self._full_sync_at = time.monotonic()
        queued, self.queued_since = self.queued_since, 0.0
        triggers, self._triggers = self._triggers, []
        was_broken = bool(self._broken)
        with _no_garbage_collection() if was_broken else nullcontext():
            taken = self._tracker.take()
            for family, outcome in taken.items():
                await self._apply(family, outcome)
            if was_broken and not self._broken:
                gc.freeze()  # before the collector looks through all that was made, which stays
        self._measure(taken)
        if self._broken:
            self.queued_since = queued or time.time()
            self._triggers = triggers + self._triggers
            return False
        self.last_success = time.time()
        self._measure_programming(triggers)
        for listener in self._listeners:
            listener([outcome.state for outcome in taken.values()])
        return True

    async def counts(self) -> dict[ServicePortName, Count]:
        """What was counted for every service port, in modes that count. Raises OSError, BackendError."""
        found: dict[ServicePortName, Count] = {}
        for backend in [each for each in self._backends.values() if isinstance(each, Counting)]:
            async for name, count in backend.counts():
                found[name] = found[name].plus(count) if name in found else count
        return found

    def close(self) -> None:
        for backend in self._backends.values():
            backend.close()
        if self._conntrack is not None:
            self._conntrack.close()

    async def _apply(self, family: int, outcome: FamilyChanges) -> None:
        changes = None if family in self._broken else outcome.changes
        _merge(self._unreconciled[family], outcome.changes)
        if changes is not None and not changes and not outcome.moved:
            return
        metrics, name, started = self._metrics, FAMILY_NAMES[family], time.perf_counter()
        try:
            await self._backends[family].apply(outcome.state, changes)
            self._broken.discard(family)
            self._forget_flows(family, outcome.state, whole=changes is None)
            metrics.last_sync.set(time.time(), name)
        except Exception as error:
            self._broken.add(family)
            self._count_failure(family, partial=changes is not None)
            self._refusal = str(error).partition("\n")[0]
            unexpected = None if isinstance(error, BackendError) else error
            log.error("syncing IPv%d rules: %s", family, error, exc_info=unexpected)
        seconds = time.perf_counter() - started
        metrics.sync_seconds.observe(seconds, name)
        (metrics.full_sync_seconds if changes is None else metrics.partial_sync_seconds).observe(seconds, name)

    def _count_failure(self, family: int, *, partial: bool) -> None:
        metrics, mode = self._metrics, self._backends[family].mode
        if mode == "nftables":
            metrics.nftables_failures.add(FAMILY_NAMES[family])
        elif mode in ("iptables", "ipvs"):
            (metrics.iptables_partial_failures if partial else metrics.iptables_failures).add(FAMILY_NAMES[family])

    def _forget_flows(self, family: int, state: State, *, whole: bool) -> None:
        """Delete the conntrack entries of UDP flows that lost their endpoint, of changed service ports or of all.

        Changes whose entries could not be deleted, since a sync or the deletion failed, are kept for the next time.
        """
        changes = self._unreconciled[family]
        if whole:
            _merge(changes, {name: Change(None, port) for name, port in state.ports.items() if port.protocol == "UDP"})
        serving = udp_addresses(changes, state.node_ips)
        if serving:
            self._conntrack = self._conntrack or Conntrack()
            started = time.perf_counter()
            try:
                found = stale(self._conntrack.flows_to(family, "UDP", serving.keys()), serving)
                self._conntrack.delete(family, found)
            except (OSError, ValueError) as error:
                log.error("deleting conntrack entries of UDP flows: %s", error)
                return
            self._metrics.stale_flows.add(FAMILY_NAMES[family], by=len(found))
            self._metrics.conntrack_seconds.observe(time.perf_counter() - started, FAMILY_NAMES[family])
        self._unreconciled[family] = {}

    def _measure_programming(self, triggers: Sequence[tuple[float, str]]) -> None:
        for moment, family in triggers:
            self._metrics.programming_seconds.observe(max(0.0, self.last_success - moment), family)

    def _measure(self, taken: dict[int, FamilyChanges]) -> None:
        metrics = self._metrics
        for family, outcome in taken.items():
            name = FAMILY_NAMES[family]
            for before, after in outcome.changes.values():
                metrics.services.value += bool(after) - bool(before)
                metrics.endpoints.value += _count(after) - _count(before)
            for policy, number in self._no_local.follow(family, outcome.changes):
                metrics.no_local_endpoints.set(number, name, policy)
            backend = self._backends[family]
            for table, rules in backend.rule_counts.items() if isinstance(backend, RuleCounting) else ():
                metrics.iptables_rules.set(rules.total, name, table)
                metrics.iptables_written.set(rules.written, name, table)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Make a great many objects that will stay: looking through them again and again would find nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _merge(into: Changes, changes: Changes) -> None:
    """Add later changes: of each service port the state before the first and after the last one counts."""
    for name, (before, after) in changes.items():
        known = into.get(name)
        into[name] = Change(known.before if known else before, after)


def _count(port: ServicePort | None) -> int:
    return len(port.endpoints) if port else 0
