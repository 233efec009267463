"""`whoami`: the client's own address, port and protocol, as additional records of an empty answer."""

import ipaddress

from sampan.dns import wire
from sampan.dns.plugins.base import Kind, Next, Plugin, PluginContext, Request, nothing
from sampan.dns.wire import Record, Reply


class WhoAmI(Plugin):
    async def serve(self, request: Request, next: Next) -> Reply:
        name, (host, port) = request.query.name, request.client
        address = ipaddress.ip_address(host.partition("%")[0])
        own = Record(name, wire.A if address.version == 4 else wire.AAAA, address.packed, 0)
        place = bytes(4) + port.to_bytes(2, "big") + b"\0"
        service = Record(f"_{request.protocol}.{name}" if name else f"_{request.protocol}", wire.SRV, place, 0)
        request.personal = True
        return Reply(additional=(own, service))


def make(options: None, context: PluginContext) -> Plugin:
    return WhoAmI()


KIND = Kind("whoami", nothing, make)
