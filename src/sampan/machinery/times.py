"""Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or microseconds (`MicroTime`)."""

from datetime import UTC, datetime


def now() -> str:
    """The current time as a `metav1.Time`, for instance `2026-01-02T03:04:05Z`."""
    return format_time(datetime.now(UTC))


def now_micro() -> str:
    """The current time as a `metav1.MicroTime`, for instance `2026-01-02T03:04:05.123456Z`."""
    return format_micro_time(datetime.now(UTC))


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_epoch(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def parse(text: str) -> datetime:
    """Read either form, with any offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def epoch(text: str) -> float:
    """Seconds since 1970 of a `Time` or `MicroTime`. Raises ValueError."""
    return parse(text).timestamp()
