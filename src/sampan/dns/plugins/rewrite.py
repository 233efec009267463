"""`rewrite [continue|stop] FIELD …`: ask for something else than the client did, and answer under the name it used.

Each line is a rule of its own, in the order of the Corefile. A rule that stops, as those do that do not say `continue`,
is the last that changes a query. What comes back passes the rules in the opposite order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from sampan.dns import decode, wire
from sampan.dns.corefile import Directive, zones_of
from sampan.dns.plugins import rewrite_edns
from sampan.dns.plugins.base import MOST_HOPS, Kind, Next, NoAnswer, Plugin, PluginContext, Request
from sampan.dns.plugins.rewrite_names import Matcher, Rename, matcher, pattern, renamed, type_of
from sampan.dns.wire import Query, Record, Reply, encode_name

FIELDS = ("name", "type", "class", "edns0", "ttl", "cname", "rcode")
_MOST_TTL = 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Name:
    """Another name is asked for; `owners` and `values` rewrite names in the answer, besides the name asked for."""

    rename: Matcher
    owners: tuple[Rename, ...] = ()
    values: tuple[Rename, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """Another type or class is asked for."""

    field: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class TTL:
    match: Matcher
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Alias:
    """A CNAME that leads somewhere leads somewhere else."""

    match: Matcher


@dataclass(frozen=True, slots=True)
class RCode:
    match: Matcher
    before: int
    after: int


Change = Name | Number | TTL | Alias | RCode | rewrite_edns.Option


@dataclass(frozen=True, slots=True)
class Rule:
    """One line."""

    change: Change
    goes_on: bool = False


class Rewrite(Plugin):
    def __init__(self, rule: Rule, context: PluginContext) -> None:
        self._rule = rule
        self._resolve = context.resolve

    async def serve(self, request: Request, next: Next) -> Reply:
        if request.settled:
            return await next(request)
        change, query = self._rule.change, request.query
        if isinstance(change, TTL | Alias | RCode):
            return await self._change_reply(request, change, next)
        if isinstance(change, rewrite_edns.Option):
            request.settled = change.apply(request) and not self._rule.goes_on
            return await next(request)
        changed = _changed(query, change)
        if changed is None:
            return await next(request)
        request.settled = not self._rule.goes_on
        request.query = changed
        try:
            reply = await next(request)
        finally:
            request.query = query
        return _restored(reply, change, changed.name, query.name) if isinstance(change, Name) else reply

    async def _change_reply(self, request: Request, change: TTL | Alias | RCode, next: Next) -> Reply:
        if isinstance(change, Alias):
            return await self._follow(request, change, await next(request))
        if change.match(request.query.name) is None:
            return await next(request)
        request.settled = not self._rule.goes_on
        reply = await next(request)
        if isinstance(change, RCode):
            return replace(reply, rcode=change.after) if reply.rcode == change.before else reply
        answers = (replace(each, ttl=min(max(each.ttl, change.least), change.most)) for each in reply.answers)
        return replace(reply, answers=tuple(answers))

    async def _follow(self, request: Request, change: Alias, reply: Reply) -> Reply:
        """Where the alias is changed, what was behind it is replaced by what is behind the new one."""
        query = request.query
        for at, record in enumerate(reply.answers):
            target = change.match(decode.name_text(record.data)) if record.type == wire.CNAME else None
            if target is None:
                continue
            alias = replace(record, data=encode_name(target))
            if query.type == wire.CNAME or request.hops >= MOST_HOPS:
                return replace(reply, answers=(*reply.answers[:at], alias, *reply.answers[at + 1 :]))
            about = request.about(replace(query, name=target, question=_question(target, query.type, query.klass)))
            behind = await self._resolve(about)
            request.lasting = False
            return replace(behind, answers=(*reply.answers[:at], alias, *behind.answers))
        return reply


def _changed(query: Query, change: Name | Number) -> Query | None:
    """What is asked instead; None if the rule does not apply. Raises NoAnswer."""
    name, kind, klass = query.name, query.type, query.klass
    if isinstance(change, Name):
        found = change.rename(name)
        if found is None:
            return None
        if not _is_name(found):
            raise NoAnswer(f"invalid name after rewrite: {found}")
        name = found
    elif change.field == "type":
        kind = change.after if kind == change.before else kind
    else:
        klass = change.after if klass == change.before else klass
    if (name, kind, klass) == (query.name, query.type, query.klass):
        return None
    return replace(query, name=name, type=kind, klass=klass, question=_question(name, kind, klass))


def _is_name(text: str) -> bool:
    try:
        return bool(encode_name(text))
    except ValueError:
        return False


def _restored(reply: Reply, change: Name, asked: str, original: str) -> Reply:
    """The reply under the name that the client has used."""

    def restored(record: Record) -> Record:
        owner = original if record.name == asked else _first(change.owners, record.name)
        data = record.data
        if change.values:
            data = decode.rename_data(record.type, data, lambda name: _first(change.values, name))
        return replace(record, name=record.name if owner is None else owner, data=data)

    try:
        answers, additional = (tuple(map(restored, section)) for section in (reply.answers, reply.additional))
    except ValueError as error:
        raise NoAnswer(f"rewriting an answer: {error}") from error
    return replace(reply, answers=answers, additional=additional)


def _first(renames: tuple[Rename, ...], name: str) -> str | None:
    return next((found for rename in renames if (found := rename(name)) is not None), None)


def _question(name: str, kind: int, klass: int) -> bytes:
    return encode_name(name) + kind.to_bytes(2, "big") + klass.to_bytes(2, "big")


# --- reading


def parse(directive: Directive, zones: tuple[str, ...]) -> Rule:
    """From one line, or from a block that has a line for the query and lines for the answer."""
    words = list(directive.arguments)
    for option in directive.options:
        words += (option.name, *option.arguments)
    goes_on = words[:1] == ["continue"]
    if words[:1] in (["continue"], ["stop"]):
        words.pop(0)
    if len(words) < 2:
        raise directive.error("expected: rewrite [continue|stop] FIELD FROM TO")
    if words[0] not in FIELDS and len(words) == 2 and zones_of(words[0]):
        words.insert(0, "name")
    field, *rest = words
    if field not in FIELDS:
        raise directive.error(f"cannot rewrite {field!r}; there are {', '.join(FIELDS)}")
    return Rule(_READERS[field](directive, rest), goes_on)


def _name(directive: Directive, words: list[str]) -> Change:
    at = words.index("answer") if "answer" in words else len(words)
    question, rest = words[:at], words[at:]
    rename = matcher(directive, question, "name [exact|prefix|suffix|substring|regex] FROM TO")
    owners: list[Rename] = []
    values: list[Rename] = []
    while rest:
        match rest:
            case ["answer", "auto", *rest]:
                owners.append(rename.backwards())
                values.append(rename.backwards())
            case ["answer", "name", before, after, *rest]:
                owners.append(_by_pattern(directive, before, after))
            case ["answer", "value", before, after, *rest]:
                values.append(_by_pattern(directive, before, after))
            case _:
                raise directive.error("expected: answer auto, answer name FROM TO or answer value FROM TO")
    return Name(rename, tuple(owners), tuple(values))


def _by_pattern(directive: Directive, before: str, after: str) -> Rename:
    expression = pattern(directive, before)
    return lambda name: renamed(expression, after, name)


def _type(directive: Directive, words: list[str]) -> Change:
    if len(words) != 2:
        raise directive.error("expected: type FROM TO")
    return Number("type", type_of(directive, words[0]), type_of(directive, words[1]))


def _class(directive: Directive, words: list[str]) -> Change:
    known = {name: number for number, name in wire.CLASS_NAMES.items()}
    if len(words) != 2 or not {word.upper() for word in words} <= known.keys():
        raise directive.error(f"expected: class FROM TO, of {', '.join(known)}")
    return Number("class", known[words[0].upper()], known[words[1].upper()])


def _ttl(directive: Directive, words: list[str]) -> Change:
    usage = "ttl [exact|prefix|suffix|substring|regex] NAME SECONDS|LEAST-MOST"
    match = matcher(directive, [*words[:-1], "."], usage)
    bounds = re.fullmatch(r"(\d+)|(\d*)-(\d*)", words[-1])
    if bounds is None or words[-1] == "-":
        raise directive.error("a ttl is a number, or a range such as 30-300, 30- or -300")
    least, most = int(bounds[1] or bounds[2] or 0), int(bounds[1] or bounds[3] or _MOST_TTL)
    if not least <= most <= _MOST_TTL:
        raise directive.error(f"{words[-1]!r} is not a range of ttls")
    return TTL(match, least, most)


def _cname(directive: Directive, words: list[str]) -> Change:
    return Alias(matcher(directive, words, "cname [exact|prefix|suffix|substring|regex] FROM TO"))


def _rcode(directive: Directive, words: list[str]) -> Change:
    known = {name: code for code, name in wire.RCODE_NAMES.items()}
    match = matcher(directive, [*words[:-2], "."], "rcode [exact|prefix|suffix|substring|regex] NAME FROM TO")
    for word in words[-2:]:
        if word.upper() not in known:
            raise directive.error(f"{word!r} is not a response code")
    return RCode(match, known[words[-2].upper()], known[words[-1].upper()])


_READERS: dict[str, Callable[[Directive, list[str]], Change]] = {
    "name": _name,
    "type": _type,
    "class": _class,
    "edns0": rewrite_edns.parse,
    "ttl": _ttl,
    "cname": _cname,
    "rcode": _rcode,
}


def make(rule: Rule, context: PluginContext) -> Plugin:
    return Rewrite(rule, context)


KIND = Kind("rewrite", parse, make, answers=False, any_class=True, changes_class=True)
