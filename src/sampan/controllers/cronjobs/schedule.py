"""Crontab lines: five fields, names of months and days, steps, ranges, lists and `@hourly` and its like. Pure.

As in cron(8), when both the day of the month and the day of the week are restricted, either is enough.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(_DAY_NAMES)}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 7, _DAYS),
)
_HORIZON = timedelta(days=5 * 366)


@dataclass(frozen=True)
class Schedule:
    """The minutes at which something is due, in one time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """The first due time after `moment`; None when there is none in the next five years."""
        local = moment.astimezone(self.zone).replace(second=0, microsecond=0, tzinfo=None) + timedelta(minutes=1)
        end = local + _HORIZON
        while local < end:
            if local.month not in self.months or not self._is_day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                found = local.replace(tzinfo=self.zone)
                if found > moment:
                    return found
                local += timedelta(minutes=1)
        return None

    def _is_day(self, local: datetime) -> bool:
        by_month, by_week = local.day in self.days, (local.weekday() + 1) % 7 in self.weekdays
        return (by_month and by_week) if self.any_day else (by_month or by_week)


def parse(text: str, zone: tzinfo) -> Schedule:
    """Read a crontab line. Raises ValueError."""
    fields = _ALIASES.get(text.strip(), text).lower().split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{text}]")
    sets = [_field(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = sets
    any_day = fields[2][0] in "*?" or fields[4][0] in "*?"
    return Schedule(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), any_day, zone)


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _part(part, low, high, names))


def _part(text: str, low: int, high: int, names: dict[str, int]) -> range:
    span, _, step = text.partition("/")
    first, dash, last = span.partition("-")
    if span in ("*", "?"):
        start, end = low, high
    else:
        start = _number(first, names)
        end = _number(last, names) if dash else (high if step else start)
    every = _number(step, {}) if step else 1
    if not low <= start <= end <= high or every < 1:
        raise ValueError(f"value out of range: {text}")
    return range(start, end + 1, every)


def _number(text: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit():
        raise ValueError(f"failed to parse number: {text}")
    return int(text)
