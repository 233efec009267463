"""Where something listens, as Corefiles write it: `:8080`, `localhost:9153`, `[::1]:53`."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Address


def listening(directive: Directive, default: Address) -> Address:
    """The directive's only argument, or the default. A host of "" is every address of the machine."""
    if not directive.expect(0, 1):
        return default
    text = directive.arguments[0]
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise directive.error(f"{text!r} is not an address to listen at, such as :{default[1]}")
    return host.strip("[]"), int(port)
