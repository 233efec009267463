"""`rewrite [continue|stop] FIELD …`: ask for something else than the client did, and answer under the name it used."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from sampan.dns import wire
from sampan.dns.corefile import Directive, zones_of
from sampan.dns.plugins.base import Kind, Next, Plugin, Request, Surroundings
from sampan.dns.wire import Query, Record, Reply, encode_name

Rename = Callable[[str], str | None]
"""The name to ask instead, or None where a rule does not apply."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line. Exactly one of `rename`, `types` and `ttl` is set."""

    goes_on: bool = False
    rename: Rename | None = None
    answers: tuple[tuple[re.Pattern[str], str], ...] = ()
    """How other names in the answer are rewritten."""
    types: tuple[int, int] | None = None
    ttl: tuple[Rename, int, int] | None = None


class Rewrite(Plugin):
    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    async def serve(self, request: Request, next: Next) -> Reply:
        rule, query = self._rule, request.query
        if rule.ttl is not None and rule.ttl[0](query.name) is not None:
            return _with_ttl(await next(request), *rule.ttl[1:])
        if rule.types is not None and query.type == rule.types[0]:
            changed = replace(query, type=rule.types[1], question=_question(query.name, rule.types[1]))
            return await self._ask(request, changed, next)
        name = rule.rename(query.name) if rule.rename is not None else None
        if name is None or name == query.name or not zones_of(name):
            return await next(request)
        reply = await self._ask(request, replace(query, name=name, question=_question(name, query.type)), next)
        return self._rename_back(reply, name, query.name)

    async def _ask(self, request: Request, query: Query, next: Next) -> Reply:
        """Let the rest of the chain see another question, then restore the client's."""
        asked, request.query = request.query, query
        try:
            return await next(request)
        finally:
            request.query = asked

    def _rename_back(self, reply: Reply, asked: str, original: str) -> Reply:
        def renamed(record: Record) -> Record:
            if record.name == asked:
                return replace(record, name=original)
            for pattern, template in self._rule.answers:
                if (found := pattern.search(f"{record.name}.")) is not None:
                    return replace(record, name=_fill(template, found).rstrip("."))
            return record

        return replace(
            reply, answers=tuple(map(renamed, reply.answers)), additional=tuple(map(renamed, reply.additional))
        )


def _question(name: str, kind: int) -> bytes:
    return encode_name(name) + kind.to_bytes(2, "big") + b"\0\1"


def _with_ttl(reply: Reply, least: int, most: int) -> Reply:
    answers = tuple(replace(record, ttl=min(max(record.ttl, least), most)) for record in reply.answers)
    return replace(reply, answers=answers)


def parse(directive: Directive, zones: tuple[str, ...]) -> Rule:
    words = list(directive.expect(2, 999))
    goes_on = words[0] == "continue"
    if words[0] in ("continue", "stop"):
        words.pop(0)
    field = words.pop(0)
    match field:
        case "name":
            answers = _answer_rules(directive, words)
            return replace(_name_rule(directive, words), goes_on=goes_on, answers=answers)
        case "type" if len(words) == 2:
            return Rule(goes_on, types=(_type(directive, words[0]), _type(directive, words[1])))
        case "ttl":
            least, _, most = (words.pop() if words else "").partition("-")
            most = most or least
            if not (least.isdecimal() and most.isdecimal()):
                raise directive.error("a ttl is a number, or a range such as 30-300")
            rename = _name_rule(directive, [*words, "."] if len(words) < 3 else words).rename
            return Rule(goes_on, ttl=(rename or (lambda name: None), int(least), int(most)))
        case _ if zones_of(field) and not words[1:] and words:
            return replace(_name_rule(directive, [field, *words]), goes_on=goes_on)
    raise directive.error(f"cannot rewrite {field!r}; name, type and ttl can be")


def _answer_rules(directive: Directive, words: list[str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Take `answer auto` and `answer name FROM TO` off the end of a rule. Names asked for are restored in any case."""
    if "answer" not in words:
        return ()
    at = words.index("answer")
    given = words[at + 1 :]
    del words[at:]
    if given == ["auto"]:
        return ()
    if len(given) != 3 or given[0] != "name":
        raise directive.error("expected 'answer auto' or 'answer name FROM TO'")
    return ((_pattern(directive, given[1]), given[2]),)


def _name_rule(directive: Directive, words: list[str]) -> Rule:
    how, *given = words if len(words) > 2 else ["exact", *words]
    if len(given) != 2:
        raise directive.error("expected: name [exact|prefix|suffix|substring|regex] FROM TO")
    before, after = given
    plain, new = before.lower().rstrip("."), after.lower().rstrip(".")
    match how:
        case "exact":
            return Rule(rename=lambda name: new if name == plain else None)
        case "prefix":
            start = before.lower()
            return Rule(rename=lambda name: after.lower() + name[len(start) :] if name.startswith(start) else None)
        case "suffix":
            return Rule(rename=lambda name: name[: len(name) - len(plain)] + new if name.endswith(plain) else None)
        case "substring":
            return Rule(rename=lambda name: name.replace(before.lower(), after.lower()) if before in name else None)
        case "regex":
            pattern = _pattern(directive, before)
            return Rule(rename=lambda name: _renamed(pattern, after, name))
    raise directive.error(f"unknown way to match {how!r}; there are exact, prefix, suffix, substring, regex")


def _renamed(pattern: re.Pattern[str], template: str, name: str) -> str | None:
    found = pattern.search(f"{name}.") or pattern.search(name)
    return _fill(template, found).lower().rstrip(".") if found is not None else None


def _fill(template: str, found: re.Match[str]) -> str:
    """`{1}` is the first group."""
    return re.sub(r"\{(\d+)\}", lambda at: found[int(at[1])] if int(at[1]) <= len(found.groups()) else "", template)


def _pattern(directive: Directive, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise directive.error(f"{text!r} is not a regular expression: {error}") from error


def _type(directive: Directive, name: str) -> int:
    for number, known in wire.TYPE_NAMES.items():
        if known == name.upper():
            return number
    raise directive.error(f"{name!r} is not a type of records")


def make(rule: Rule, around: Surroundings) -> Plugin:
    return Rewrite(rule)


KIND = Kind("rewrite", parse, make)
