"""Checks of a CronJob's schedule: five fields, or one of the `@` words."""

import re

from sampan.apiserver.registry.validation.rules import Errors
from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

_WORDS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_RANGES = (("minute", 0, 59), ("hour", 0, 23), ("dom", 1, 31), ("month", 1, 12), ("dow", 0, 6))
_every = re.compile(r"@every ([0-9.]+(ns|us|µs|ms|s|m|h))+").fullmatch


def schedule_errors(spec: Object) -> Errors:
    schedule, path = spec.get("schedule") or "", "spec.schedule"
    if not schedule:
        return [FieldError.required(path)]
    errors: Errors = []
    if "TZ" in schedule:
        message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(FieldError.invalid(path, schedule, message))
    elif wrong := _wrong(schedule):
        errors.append(FieldError.invalid(path, schedule, wrong))
    return errors


def _wrong(schedule: str) -> str:
    if schedule.startswith("@"):
        return "" if schedule in _WORDS or _every(schedule) else f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != len(_RANGES):
        shown = " ".join(fields)
        return f"expected exactly 5 fields, found {len(fields)}: [{shown}]"
    for field, (name, low, high) in zip(fields, _RANGES, strict=True):
        for part in field.split(","):
            if wrong := _part_wrong(part, name, low, high):
                return wrong
    return ""


def _part_wrong(part: str, name: str, low: int, high: int) -> str:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return f"failed to parse int from {step}: {part}"
    if span in ("*", "?"):
        return ""
    first, dash, last = span.partition("-")
    numbers = [_number(word, name) for word in ((first, last) if dash else (first,))]
    if any(number is None for number in numbers):
        return f"failed to parse int from {span}: {part}"
    known = [number for number in numbers if number is not None]
    if known[0] < low:
        return f"beginning of range ({known[0]}) below minimum ({low}): {part}"
    if known[-1] > high:
        return f"end of range ({known[-1]}) above maximum ({high}): {part}"
    if known[0] > known[-1]:
        return f"beginning of range ({known[0]}) beyond end of range ({known[-1]}): {part}"
    return ""


def _number(word: str, name: str) -> int | None:
    if word.isdecimal():
        return int(word)
    words = {"month": _MONTHS, "dow": _DAYS}.get(name, ())
    lower = word.lower()
    return words.index(lower) + (name == "month") if lower in words else None
