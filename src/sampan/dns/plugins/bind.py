"""`bind ADDRESS…`: where a server block listens instead of everywhere. The server itself reads it."""

import ipaddress

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, no_options


def parse(directive: Directive, zones: tuple[str, ...]) -> tuple[str, ...]:
    no_options(directive)
    for text in directive.expect(1, 999):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise directive.error(f"{text!r} is not an address") from None
    return directive.arguments


KIND = Kind("bind", parse)
