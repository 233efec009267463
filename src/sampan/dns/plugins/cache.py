"""`cache [TTL] [ZONE…]`: keep the answers of others for as long as they may be kept.

It stands behind `kubernetes` (`table`), so that the cluster's own names never come in here: they are kept by the
`responder`, until they change. Answers age: what is given from the cache has the time left. An entry asked for often is
renewed before it ends (`prefetch`); one that has ended may still be given while nobody answers (`serve_stale`).
"""

import asyncio
import functools
import time
from dataclasses import dataclass, replace

from sampan.dns import wire
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, PluginContext, Request, in_zones
from sampan.dns.plugins.cache_options import CacheOptions, parse
from sampan.dns.wire import Query, Record, Reply

Key = tuple[str, int, bool, int]


@dataclass(slots=True)
class Entry:
    """A reply and its times; `hits` and `last_hit` are since it was fetched or since it was last forgotten about."""

    reply: Reply
    stored: float
    ttl: float
    hits: int = 0
    last_hit: float = 0.0
    renewing: bool = False

    def left(self, now: float) -> float:
        return self.stored + self.ttl - now


class Cache(Plugin):
    def __init__(self, options: CacheOptions, metrics: Metrics, server: str) -> None:
        self._options = options
        self._metrics = metrics
        self._server, self._zones = server, ",".join(f"{zone}." for zone in options.zones)
        self._entries: dict[str, dict[Key, Entry]] = {"success": {}, "denial": {}}
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def serve(self, request: Request, next: Next) -> Reply:
        query = request.query
        if request.personal or not in_zones(query.name, self._options.zones):
            return await next(request)
        key, now = _key(query), time.monotonic()
        kind, entry = self._find(key)
        if entry is not None and entry.left(now) > 0:
            self._hit(kind, entry, now)
            if self._worth_renewing(entry, now):
                self._metrics.cache_prefetches.add(self._server, self._zones, "")
                self._renew(request, next, entry)
            return replace(entry.reply, authoritative=False) if self._options.keep_ttl else _aged(entry, now)
        if entry is not None and entry.left(now) + self._options.stale > 0:
            return await self._serve_stale(request, next, kind, entry, now)
        return await self._miss(request, next)

    async def _miss(self, request: Request, next: Next) -> Reply:
        """What others say."""
        self._metrics.cache_requests.add(self._server, self._zones, "")
        try:
            return await self._fetch(request, next)
        finally:
            self._metrics.cache_misses.add(self._server, self._zones, "")

    def _find(self, key: Key) -> tuple[str, Entry | None]:
        for kind, entries in self._entries.items():
            entry = entries.pop(key, None)
            if entry is not None:
                entries[key] = entry
                return kind, entry
        return "", None

    def _hit(self, kind: str, entry: Entry, now: float) -> None:
        self._metrics.cache_requests.add(self._server, self._zones, "")
        self._metrics.cache_hits.add(self._server, kind, self._zones, "")
        if now - entry.last_hit > self._options.prefetch_gap:
            entry.hits = 0
        entry.hits += 1
        entry.last_hit = now

    def _worth_renewing(self, entry: Entry, now: float) -> bool:
        options = self._options
        often = options.prefetch and entry.hits >= options.prefetch
        return bool(often) and not entry.renewing and entry.left(now) < entry.ttl * options.prefetch_share

    async def _serve_stale(self, request: Request, next: Next, kind: str, entry: Entry, now: float) -> Reply:
        """The old answer; if so chosen, only after the resolvers have had their chance."""
        self._hit(kind, entry, now)
        if self._options.verify:
            try:
                reply = await self._fetch(request, next)
                if reply.rcode != wire.SERVFAIL:
                    return reply
            except NoAnswer:
                pass
        elif not entry.renewing:
            self._renew(request, next, entry)
        self._metrics.cache_stale.add(self._server, self._zones, "")
        return _aged(entry, now)

    def _renew(self, request: Request, next: Next, entry: Entry) -> None:
        """Fetch again beside the answer that is given meanwhile."""
        entry.renewing = True
        task = asyncio.get_running_loop().create_task(self._fetch_beside(request.about(request.query), next, entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch_beside(self, request: Request, next: Next, entry: Entry) -> None:
        try:
            await self._fetch(request, next)
        except NoAnswer:
            pass
        finally:
            entry.renewing = False

    async def _fetch(self, request: Request, next: Next) -> Reply:
        query = request.query
        reply = await next(request)
        if not request.personal:
            self._keep(_key(query), reply)
        return reply

    def _keep(self, key: Key, reply: Reply) -> None:
        kind, ttl = self._lifetime(reply)
        if ttl <= 0 or in_zones(key[0], self._options.share(kind).disabled):
            return
        if reply.rcode == wire.SERVFAIL and self._find(key)[1] is not None:
            return
        for entries in self._entries.values():
            entries.pop(key, None)
        entries = self._entries[kind]
        entries[key] = Entry(reply, time.monotonic(), ttl)
        if len(entries) > self._options.share(kind).capacity:
            del entries[next(iter(entries))]
            self._metrics.cache_evictions.add(self._server, kind, self._zones, "")

    def show(self) -> None:
        for kind, entries in self._entries.items():
            size = functools.partial(len, entries)
            self._metrics.cache_entries.read(size, self._server, kind, self._zones, "")

    def _lifetime(self, reply: Reply) -> tuple[str, float]:
        """Whether it is a success or a denial, and for how long it may be kept: 0, not at all (RFC 2308)."""
        options = self._options
        if reply.rcode == wire.SERVFAIL:
            return "denial", options.servfail
        soa = next((record for record in reply.authority if record.type == wire.SOA), None)
        if reply.rcode == wire.NXDOMAIN or (reply.rcode == wire.NOERROR and soa is not None):
            if soa is None:
                return "denial", 0
            least = min(soa.ttl, int.from_bytes(soa.data[-4:], "big"))
            return "denial", options.denial.limit(least)
        if reply.rcode != wire.NOERROR or not reply.answers:
            return "success", 0
        return "success", options.success.limit(min(record.ttl for record in (*reply.answers, *reply.authority)))


def _key(query: Query) -> Key:
    return query.name, query.type, query.dnssec, query.flags & wire.CHECKING_DISABLED


def _aged(entry: Entry, now: float) -> Reply:
    """The reply with the time that its records have left; none, if they are stale."""
    left = max(0, int(entry.left(now) + 0.999))

    def aged(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(Record(record.name, record.type, record.data, left) for record in records)

    reply = entry.reply
    sections = (aged(reply.answers), aged(reply.authority), aged(reply.additional))
    return replace(reply, answers=sections[0], authority=sections[1], additional=sections[2], authoritative=False)


def make(options: CacheOptions, context: PluginContext) -> Plugin:
    return Cache(options, context.metrics, context.server)


KIND = Kind("cache", parse, make)
