"""`local`: names that mean the asking machine itself are answered here and never leave."""

from dataclasses import replace

from sampan.dns import wire
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, in_zone, nothing
from sampan.dns.wire import Record, Reply, encode_name

ZONES = ("localhost", "0.in-addr.arpa", "127.in-addr.arpa", "255.in-addr.arpa")
_REVERSE = "1.0.0.127.in-addr.arpa"
_TTL = 604800
_LOOPBACK = {wire.A: bytes((127, 0, 0, 1)), wire.AAAA: bytes(15) + b"\1"}
_SERVER = encode_name("localhost")
_TIMES = b"".join(number.to_bytes(4, "big") for number in (1, 0, 0, 0, _TTL))
_SOA = _SERVER + encode_name("root.localhost") + _TIMES


class Local(Plugin):
    def __init__(self, context: PluginContext) -> None:
        self._metrics = context.metrics

    async def serve(self, request: Request, next: Next) -> Reply:
        name, kind = request.query.name, request.query.type
        if name.startswith("localhost.") or name.endswith(".localhost"):
            self._metrics.localhost.add()
            return _reply(name, kind, _LOOPBACK.get(kind), name)
        zone = next_zone(name)
        if not zone:
            return await next(request)
        request.lasting = True
        if name != zone and name != _REVERSE:
            return replace(_reply(name, kind, None, zone), rcode=wire.NXDOMAIN)
        own = {wire.SOA: _SOA, wire.NS: _SERVER} if name == zone else {wire.PTR: _SERVER}
        return _reply(name, kind, (own | _LOOPBACK if name == "localhost" else own).get(kind), zone)


def _reply(name: str, kind: int, data: bytes | None, zone: str) -> Reply:
    """One record, or the word of the zone that there is none."""
    if data is None:
        return Reply(authority=(Record(zone, wire.SOA, _SOA, _TTL),))
    return Reply(answers=(Record(name, kind, data, _TTL),))


def next_zone(name: str) -> str:
    """Which of the zones a name lies in; empty if in none."""
    return next((zone for zone in ZONES if in_zone(name, zone)), "")


def make(options: None, context: PluginContext) -> Plugin:
    return Local(context)


KIND = Kind("local", nothing, make)
