"""`log [ZONE…] [FORMAT] { class … }`: a line for each query, in CoreDNS's formats."""

import logging
import math
import re
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive, zones_of
from sampan.dns.plugins.base import Kind, Next, Outcome, Plugin, PluginContext, Request, in_zones
from sampan.dns.wire import Query, Reply

log = logging.getLogger(__name__)

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
COMBINED = f'{COMMON} "{{>opcode}}"'
_CLASSES = ("success", "denial", "error", "all")
_FLAGS = ((wire.QR, "qr"), (wire.AUTHORITATIVE, "aa"), (wire.TRUNCATED, "tc"), (wire.RECURSION_DESIRED, "rd"),
          (wire.RECURSION_AVAILABLE, "ra"), (wire.AUTHENTIC_DATA, "ad"), (wire.CHECKING_DISABLED, "cd"))  # fmt: skip
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class LogOptions:
    zones: tuple[str, ...]
    format: str = COMMON
    classes: tuple[str, ...] = ("all",)
    slow: float = math.inf
    """Answers that took longer are logged whatever their class."""


class Log(Plugin):
    def __init__(self, options: LogOptions) -> None:
        self._options = options

    async def serve(self, request: Request, next: Next) -> Reply:
        if in_zones(request.query.name, self._options.zones):
            asked = request.query
            request.watchers.append(lambda request, outcome: self._write(request, asked, outcome))
        return await next(request)

    def _write(self, request: Request, query: Query, outcome: Outcome) -> None:
        classes = self._options.classes
        if "all" in classes or class_of(outcome) in classes or outcome.seconds > self._options.slow:
            log.info("%s", line(self._options.format, request, query, outcome))


def class_of(outcome: Outcome) -> str:
    """Which of the classes of answers one belongs to. An empty answer is a denial too."""
    if outcome.rcode == wire.NOERROR:
        return "denial" if outcome.empty else "success"
    return "denial" if outcome.rcode == wire.NXDOMAIN else "error"


def line(format: str, request: Request, query: Query, outcome: Outcome) -> str:
    """One line of the log; fields that it does not know are shown as `-`."""
    fields = {
        "remote": _shown(request.client[0]),
        "local": _shown(request.local[0]),
        "port": str(request.client[1]),
        ">id": str(request.identity),
        "type": wire.TYPE_NAMES.get(query.type, f"TYPE{query.type}"),
        "class": wire.CLASS_NAMES.get(query.klass, f"CLASS{query.klass}"),
        "name": wire.presentation(query.name),
        "proto": request.protocol,
        "size": str(request.size),
        ">do": str(query.dnssec).lower(),
        ">bufsize": str(query.udp_size if request.protocol == "udp" else wire.MAX_SIZE),
        ">opcode": "0",
        "rcode": wire.RCODE_NAMES.get(outcome.rcode, str(outcome.rcode)),
        ">rflags": ",".join(name for bit, name in _FLAGS if outcome.flags & bit),
        "rsize": str(outcome.size),
        "duration": f"{outcome.seconds:.9f}s",
    }
    return _FIELD.sub(lambda found: fields.get(found[1], "-"), format)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse(directive: Directive, zones: tuple[str, ...]) -> LogOptions:
    names, format = list(directive.arguments), COMMON
    if names and ("{" in names[-1] or not zones_of(names[-1])):
        format = names.pop().replace("{combined}", COMBINED).replace("{common}", COMMON)
    found = tuple(zone for name in names for zone in zones_of(name))
    classes: tuple[str, ...] = ()
    slow = math.inf
    for option in directive.options:
        match option.name:
            case "class":
                classes += _classes(option)
            case "minDuration":
                option.expect(1)
                slow = option.seconds()
            case _:
                raise option.unknown(("class", "minDuration"))
    return LogOptions(found or zones, format, classes or ("all",), slow)


def _classes(option: Directive) -> tuple[str, ...]:
    for name in option.expect(1, 999):
        if name not in _CLASSES:
            raise option.error(f"unknown class {name!r}; there are {', '.join(_CLASSES)}")
    return option.arguments


def make(options: LogOptions, context: PluginContext) -> Plugin:
    return Log(options)


KIND = Kind("log", parse, make, answers=False, any_class=True)
