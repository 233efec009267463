"""`ready [ADDRESS]`: /ready says whether everything is synced. The server itself answers."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.addresses import listening
from sampan.dns.plugins.base import Address, Kind, no_options


def parse(directive: Directive, zones: tuple[str, ...]) -> Address:
    no_options(directive)
    return listening(directive, ("", 8181))


KIND = Kind("ready", parse)
