r"""`template CLASS TYPE [ZONE…] { match REGEX … answer RR … }`: records made from the question.

Of Go's templates it knows what such records need: `{{ .Name }}`, `{{ .Type }}`, `{{ .Class }}`, `{{ .Zone }}`,
`{{ .Group.name }}`, `{{ index .Match 1 }}`, `{{ .Remote }}`. Records are read by dnspython, which is imported for the
first of them and not before.
"""

import re
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.metrics import Metrics
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, Request, Surroundings, in_zone, in_zones
from sampan.dns.wire import Record, Reply

_PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_INDEX = re.compile(r'index \.(Match|Group) "?(\w+)"?')
_SECTIONS = ("answer", "authority", "additional")


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    zones: tuple[str, ...]
    type: int
    """The type asked for that it is about, or ANY."""
    patterns: tuple[re.Pattern[str], ...] = ()
    records: tuple[tuple[str, str], ...] = ()
    """Each a section and a record."""
    rcode: int = wire.NOERROR
    fallthrough: tuple[str, ...] = ()


class Template(Plugin):
    def __init__(self, options: TemplateOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics

    async def serve(self, request: Request, next: Next) -> Reply:
        query, options = request.query, self._options
        if not in_zones(query.name, options.zones) or options.type not in (query.type, wire.ANY):
            return await next(request)
        patterns = options.patterns or (re.compile(".*"),)
        found = next_match(patterns, f"{query.name}.")
        if found is None:
            if in_zones(query.name, options.fallthrough):
                return await next(request)
            return Reply(wire.NXDOMAIN if options.rcode == wire.NXDOMAIN else wire.SERVFAIL, authoritative=False)
        self._metrics.add("coredns_template_matches_total")
        sections: dict[str, list[Record]] = {name: [] for name in _SECTIONS}
        for section, text in options.records:
            sections[section].append(record_of(self._fill(text, request, found)))
        answers, authority, additional = (tuple(sections[name]) for name in _SECTIONS)
        return Reply(options.rcode, answers, authority, additional)

    def _fill(self, template: str, request: Request, found: re.Match[str]) -> str:
        query = request.query
        zone = max((zone for zone in self._options.zones if in_zone(query.name, zone)), key=len)
        fields = {
            ".Name": f"{query.name}.",
            ".Type": wire.TYPE_NAMES.get(query.type, f"TYPE{query.type}"),
            ".Class": "IN",
            ".Zone": f"{zone}.",
            ".Remote": request.client[0],
            **{f".Group.{name}": value or "" for name, value in found.groupdict().items()},
        }

        def value(place: re.Match[str]) -> str:
            if (index := _INDEX.fullmatch(place[1])) is not None:
                key = index[2]
                return (found[int(key)] if key.isdecimal() else found[key]) or ""
            return fields[place[1]]

        try:
            return _PLACE.sub(value, template)
        except (LookupError, ValueError) as error:
            raise NoAnswer(f"template {template!r}: {error}") from error


def next_match(patterns: tuple[re.Pattern[str], ...], name: str) -> re.Match[str] | None:
    """The first match of any pattern."""
    return next((found for pattern in patterns if (found := pattern.search(name)) is not None), None)


def record_of(text: str) -> Record:
    """A record as zone files write it: `name [ttl] [class] type data`; every name is whole. Raises NoAnswer."""
    import dns.exception
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    name, *words = text.split()
    ttl = int(words.pop(0)) if words and words[0].isdecimal() else 3600
    if words and words[0].upper() == "IN":
        words.pop(0)
    try:
        kind = dns.rdatatype.from_text(words[0])
        rest, root = " ".join(words[1:]), dns.name.root
        data = dns.rdata.from_text(dns.rdataclass.IN, kind, rest, origin=root, relativize=False).to_wire()
    except (dns.exception.DNSException, LookupError, ValueError) as error:
        raise NoAnswer(f"not a record: {text!r}: {error}") from error
    return Record(name.rstrip(".").lower(), int(kind), data or b"", ttl)


def parse(directive: Directive, zones: tuple[str, ...]) -> TemplateOptions:
    given = directive.expect(2, 999)
    types = {name: number for number, name in wire.TYPE_NAMES.items()}
    if given[0].upper() not in ("IN", "ANY"):
        raise directive.error(f"{given[0]!r} is not a class that is answered")
    if given[1].upper() not in types:
        raise directive.error(f"{given[1]!r} is not a type of records")
    patterns: list[re.Pattern[str]] = []
    records: list[tuple[str, str]] = []
    rcode = wire.NOERROR
    fallthrough: tuple[str, ...] = ()
    for option in directive.options:
        match option.name:
            case "match":
                patterns += [_pattern(option, text) for text in option.expect(1, 999)]
            case "answer" | "authority" | "additional":
                records.append((option.name, " ".join(option.expect(1, 999))))
            case "rcode":
                rcode = _rcode(option)
            case "fallthrough":
                fallthrough = option.zones() or ("",)
            case _:
                raise option.unknown()
    zones = directive.zones(2) or zones
    return TemplateOptions(zones, types[given[1].upper()], tuple(patterns), tuple(records), rcode, fallthrough)


def _pattern(option: Directive, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text.replace("(?<", "(?P<"), re.IGNORECASE)
    except re.error as error:
        raise option.error(f"{text!r} is not a regular expression: {error}") from error


def _rcode(option: Directive) -> int:
    (name,) = option.expect(1)
    codes = {text: code for code, text in wire.RCODE_NAMES.items()}
    if name.upper() not in codes:
        raise option.error(f"{name!r} is not a response code")
    return codes[name.upper()]


def make(options: TemplateOptions, around: Surroundings) -> Plugin:
    return Template(options, around.metrics)


KIND = Kind("template", parse, make)
