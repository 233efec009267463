"""`errors`: log why a query could not be answered; `consolidate DURATION REGEX` counts what repeats."""

import asyncio
import logging
import re
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, Request, Surroundings
from sampan.dns.wire import Reply

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Errors that match are only counted, and the count is logged every so many seconds."""

    seconds: float
    pattern: re.Pattern[str]


class Errors(Plugin):
    def __init__(self, rules: tuple[Consolidation, ...]) -> None:
        self._rules = rules
        self._counts: dict[Consolidation, int] = {}
        self._timers: dict[Consolidation, asyncio.TimerHandle] = {}

    async def serve(self, request: Request, next: Next) -> Reply:
        try:
            return await next(request)
        except NoAnswer as error:
            query = request.query
            kind = wire.TYPE_NAMES.get(query.type, f"TYPE{query.type}")
            self._tell(f"{wire.SERVFAIL} {query.name}. {kind}: {error}")
            raise

    def _tell(self, text: str) -> None:
        rule = next((rule for rule in self._rules if rule.pattern.search(text)), None)
        if rule is None:
            log.error("plugin/errors: %s", text)
            return
        self._counts[rule] = self._counts.get(rule, 0) + 1
        if rule not in self._timers:
            self._timers[rule] = asyncio.get_running_loop().call_later(rule.seconds, self._summarise, rule)

    def _summarise(self, rule: Consolidation) -> None:
        self._timers.pop(rule).cancel()
        pattern, count = rule.pattern.pattern, self._counts.pop(rule)
        log.error("plugin/errors: %d errors like '%s' occurred in last %gs", count, pattern, rule.seconds)

    async def stop(self) -> None:
        for rule in list(self._timers):
            self._summarise(rule)


def parse(directive: Directive, zones: tuple[str, ...]) -> tuple[Consolidation, ...]:
    directive.expect(0, 1)
    rules: list[Consolidation] = []
    for option in directive.options:
        if option.name not in ("consolidate", "stacktrace"):
            raise option.unknown()
        if option.name == "consolidate":
            option.expect(2, 3)
            rules.append(Consolidation(option.seconds(0), _pattern(option)))
    return tuple(rules)


def _pattern(option: Directive) -> re.Pattern[str]:
    try:
        return re.compile(option.arguments[1])
    except re.error as error:
        raise option.error(f"{option.arguments[1]!r} is not a regular expression: {error}") from error


def make(rules: tuple[Consolidation, ...], around: Surroundings) -> Plugin:
    return Errors(rules)


KIND = Kind("errors", parse, make)
