"""`prometheus [ADDRESS]`: /metrics for Prometheus. The server itself answers."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.addresses import listening
from sampan.dns.plugins.base import Address, Kind, no_options


def parse(directive: Directive, zones: tuple[str, ...]) -> Address:
    no_options(directive)
    return listening(directive, ("localhost", 9153))


KIND = Kind("prometheus", parse)
