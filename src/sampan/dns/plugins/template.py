r"""`template CLASS TYPE [ZONE…] { match REGEX … answer RR … }`: records made from the question.

What stands between `{{` and `}}` is read by `template_text`. Records are read by dnspython, which is imported where
there is a template, and not otherwise.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.decode import name_text
from sampan.dns.plugins.base import MOST_HOPS, Kind, Next, NoAnswer, Plugin, PluginContext, Request, in_zone, in_zones
from sampan.dns.plugins.rewrite_names import pattern
from sampan.dns.plugins.template_text import BadTemplate, fill
from sampan.dns.wire import Record, Reply, encode_name

_SECTIONS = ("answer", "authority", "additional")
_EXTENDED_ERROR = 15
_MATCH_ALL = re.compile("")


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    zones: tuple[str, ...]
    type: int
    """The type asked for that it is about, or ANY."""
    klass: int = wire.IN
    """The class, or that of any."""
    patterns: tuple[re.Pattern[str], ...] = ()
    records: tuple[tuple[str, str], ...] = ()
    """Each a section and a record."""
    rcode: int = wire.NOERROR
    extended: bytes | None = None
    """A code and a reason after RFC 8914, as they are sent."""
    fallthrough: tuple[str, ...] = ()


class Template(Plugin):
    def __init__(self, options: TemplateOptions, context: PluginContext) -> None:
        self._options = options
        self._context = context
        klass, kind = wire.CLASS_NAMES[options.klass], wire.TYPE_NAMES[options.type]
        self._labels = (context.server, context.zone, "", klass, kind)

    async def serve(self, request: Request, next: Next) -> Reply:
        query, options = request.query, self._options
        if not in_zones(query.name, options.zones) or not self._is_about(query.type, query.klass):
            return await next(request)
        found = next_match(options.patterns or (_MATCH_ALL,), f"{query.name}.")
        if found is None:
            if in_zones(query.name, options.fallthrough):
                return await next(request)
            return Reply(wire.SERVFAIL, authoritative=False)
        self._context.metrics.template_matches.add(*self._labels)
        sections: dict[str, list[Record]] = {name: [] for name in _SECTIONS}
        fields = self._fields(request, found)
        for section, text in options.records:
            sections[section] += self._records(section, text, fields)
        extended = ((_EXTENDED_ERROR, options.extended),) if options.extended is not None else ()
        answers, authority, additional = (tuple(sections[name]) for name in _SECTIONS)
        reply = Reply(options.rcode, answers, authority, additional, options=extended)
        return await self._followed(request, reply)

    def _is_about(self, kind: int, klass: int) -> bool:
        options = self._options
        return options.type in (kind, wire.ANY) and options.klass in (klass, wire.ANY_CLASS)

    async def _followed(self, request: Request, reply: Reply) -> Reply:
        """An alias alone, where something else was asked for, is followed through the whole server."""
        query, last = request.query, reply.answers[-1] if reply.answers else None
        if last is None or last.type != wire.CNAME or query.type in (wire.CNAME, wire.ANY):
            return reply
        if request.hops >= MOST_HOPS:
            return reply
        target = name_text(last.data)
        question = encode_name(target) + query.question[-4:]
        try:
            behind = await self._context.resolve(request.about(replace(query, name=target, question=question)))
        except NoAnswer:
            return reply
        return replace(reply, answers=(*reply.answers, *behind.answers))

    def _fields(self, request: Request, found: re.Match[str]) -> dict[str, Any]:
        query = request.query
        zone = max((zone for zone in self._options.zones if in_zone(query.name, zone)), key=len)
        groups: dict[str, str] = {str(at): value or "" for at, value in enumerate((found[0], *found.groups()))}
        kind = wire.TYPE_NAMES.get(query.type, f"TYPE{query.type}")
        klass = wire.CLASS_NAMES.get(query.klass, f"CLASS{query.klass}")
        return {
            "Name": f"{query.name}.",
            "Type": kind,
            "Class": klass,
            "Zone": f"{zone}.",
            "Remote": request.client[0],
            "Match": list(groups.values()),
            "Group": groups | {name: value or "" for name, value in found.groupdict().items()},
            "Question": {"Name": f"{query.name}.", "Qtype": query.type, "Qclass": query.klass},
        }

    def _records(self, section: str, template: str, fields: dict[str, Any]) -> Iterator[Record]:
        metrics = self._context.metrics
        try:
            text = fill(template, fields)
        except BadTemplate as error:
            metrics.template_failures.add(*self._labels, section, template)
            raise NoAnswer(f"template {template!r}: {error}") from error
        try:
            yield record_of(text)
        except NoAnswer:
            metrics.template_bad_records.add(*self._labels, section, template)
            raise


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

    name, *words = text.split() or [""]
    ttl = int(words.pop(0)) if words and words[0].isdecimal() else 3600
    if words and words[0].upper() in wire.CLASS_NAMES.values():
        words.pop(0)
    try:
        kind = dns.rdatatype.from_text(words[0])
        rest, root = " ".join(words[1:]), dns.name.root
        data = dns.rdata.from_text(dns.rdataclass.IN, kind, rest, origin=root, relativize=False).to_wire()
        owner = wire.lower(name).rstrip(".")
        encode_name(owner)
    except (dns.exception.DNSException, LookupError, ValueError) as error:
        raise NoAnswer(f"not a record: {text!r}: {error}") from error
    return Record(owner, int(kind), data or b"", min(ttl, 0x7FFFFFFF))


def parse(directive: Directive, zones: tuple[str, ...]) -> TemplateOptions:
    given = directive.expect(2, 999)
    types = {name: number for number, name in wire.TYPE_NAMES.items()}
    classes = {name: number for number, name in wire.CLASS_NAMES.items()}
    if given[0].upper() not in classes:
        raise directive.error(f"{given[0]!r} is not a class; there are {', '.join(classes)}")
    if given[1].upper() not in types:
        raise directive.error(f"{given[1]!r} is not a type of records")
    about = (types[given[1].upper()], classes[given[0].upper()])
    options = TemplateOptions(directive.zones(2) or zones, *about)
    for option in directive.options:
        match option.name:
            case "match":
                found = tuple(pattern(option, text) for text in option.expect(1, 999))
                options = replace(options, patterns=options.patterns + found)
            case "answer" | "authority" | "additional":
                record = (option.name, " ".join(option.expect(1, 999)))
                options = replace(options, records=(*options.records, record))
            case "rcode":
                options = replace(options, rcode=_rcode(option))
            case "ederror":
                options = replace(options, extended=_extended(option))
            case "fallthrough":
                options = replace(options, fallthrough=option.zones() or ("",))
            case _:
                raise option.unknown(("match", "rcode", "ederror", "fallthrough", *_SECTIONS))
    return options


def _extended(option: Directive) -> bytes:
    _, *reason = option.expect(1, 2)
    return option.number(0, 0, 65535).to_bytes(2, "big") + "".join(reason).encode()


def _rcode(option: Directive) -> int:
    (name,) = option.expect(1)
    codes = {text: code for code, text in wire.RCODE_NAMES.items()}
    if name.upper() not in codes:
        raise option.error(f"{name!r} is not a response code")
    return codes[name.upper()]


def make(options: TemplateOptions, context: PluginContext) -> Plugin:
    if options.records:
        record_of("localhost. 0 IN A 127.0.0.1")  # imports dnspython now: no query is to wait for that
    return Template(options, context)


KIND = Kind("template", parse, make, any_class=True)
