"""`reload [INTERVAL] [JITTER]`: read the Corefile again when its content changes. The server itself does it."""

from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, no_options

INTERVAL, JITTER = 30.0, 15.0
_LEAST_INTERVAL, _LEAST_JITTER = 2.0, 1.0


def parse(directive: Directive, zones: tuple[str, ...]) -> tuple[float, float]:
    """The interval and the most that is added to it by chance, in seconds."""
    no_options(directive)
    given = directive.expect(0, 2)
    interval = max(directive.seconds(0), _LEAST_INTERVAL) if given else INTERVAL
    jitter = max(directive.seconds(1), _LEAST_JITTER) if len(given) > 1 else min(JITTER, interval / 2)
    return interval, min(jitter, interval / 2)


KIND = Kind("reload", parse)
