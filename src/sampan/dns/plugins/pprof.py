"""`pprof [ADDRESS]`: profiles of a Go program, which this is not. Read, so that a Corefile that has it is served."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind


def parse(directive: Directive, zones: tuple[str, ...]) -> None:
    directive.expect(0, 1)
    for option in directive.options:
        if option.name != "block":
            raise option.unknown(("block",))


KIND = Kind("pprof", parse, ignored="there are no Go profiles of this server; py-spy shows what it does")
