"""`health [ADDRESS] { lameduck DURATION }`: /health while the process lives, and how long it answers after SIGTERM."""

from dataclasses import dataclass

from sampan.dns.corefile import Directive
from sampan.dns.plugins.addresses import listening
from sampan.dns.plugins.base import Address, Kind


@dataclass(frozen=True, slots=True)
class Health:
    address: Address
    lameduck: float = 0.0


def parse(directive: Directive, zones: tuple[str, ...]) -> Health:
    lameduck = 0.0
    for option in directive.options:
        if option.name != "lameduck":
            raise option.unknown()
        option.expect(1)
        lameduck = option.seconds()
    return Health(listening(directive, ("", 8080)), lameduck)


KIND = Kind("health", parse)
