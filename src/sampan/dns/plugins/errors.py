"""`errors`: log why a query could not be answered; `consolidate DURATION REGEX` counts what repeats."""

import asyncio
import logging
import re
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Kind, Next, NoAnswer, Plugin, PluginContext, Request
from sampan.dns.wire import Reply

log = logging.getLogger(__name__)


LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Errors that match are only counted, and the count is logged every so many seconds."""

    seconds: float
    pattern: re.Pattern[str]
    level: int = logging.ERROR
    show_first: bool = False
    """The first of them is logged at once as well."""


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
            self._tell(f"{wire.SERVFAIL} {wire.presentation(query.name)} {kind}: {error}")
            raise

    def _tell(self, text: str) -> None:
        rule = next((rule for rule in self._rules if rule.pattern.search(text)), None)
        if rule is None:
            log.error("plugin/errors: %s", text)
            return
        if rule.show_first and rule not in self._counts:
            log.log(rule.level, "plugin/errors: %s", text)
        self._counts[rule] = self._counts.get(rule, 0) + 1
        if rule not in self._timers:
            self._timers[rule] = asyncio.get_running_loop().call_later(rule.seconds, self._summarise, rule)

    def _summarise(self, rule: Consolidation) -> None:
        self._timers.pop(rule).cancel()
        pattern, count = rule.pattern.pattern, self._counts.pop(rule)
        told = "plugin/errors: %d errors like '%s' occurred in last %gs"
        log.log(rule.level, told, count, pattern, rule.seconds)

    async def stop(self) -> None:
        for rule in list(self._timers):
            self._summarise(rule)


def parse(directive: Directive, zones: tuple[str, ...]) -> tuple[Consolidation, ...]:
    directive.expect(0, 1)
    rules: list[Consolidation] = []
    for option in directive.options:
        if option.name == "consolidate":
            rules.append(_consolidation(option))
        elif option.name not in ("stacktrace", "panicRecoveryStacktrace"):
            raise option.unknown(("consolidate", "stacktrace"))
    return tuple(rules)


def _consolidation(option: Directive) -> Consolidation:
    words = option.expect(2, 4)[2:]
    levels = [word for word in words if word != "show_first"]
    for word in levels:
        if word not in LEVELS:
            raise option.error(f"unknown level {word!r}; there are {', '.join(LEVELS)}, and show_first")
    level = LEVELS[levels[0]] if levels else logging.ERROR
    return Consolidation(option.seconds(0), _pattern(option), level, "show_first" in words)


def _pattern(option: Directive) -> re.Pattern[str]:
    try:
        return re.compile(option.arguments[1])
    except re.error as error:
        raise option.error(f"{option.arguments[1]!r} is not a regular expression: {error}") from error


def make(rules: tuple[Consolidation, ...], context: PluginContext) -> Plugin:
    return Errors(rules)


KIND = Kind("errors", parse, make, answers=False, any_class=True)
