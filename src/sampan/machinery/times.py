"""Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or microseconds (`MicroTime`)."""

from datetime import UTC, datetime

_GO_ZERO = datetime(1, 1, 1, tzinfo=UTC)


def now() -> str:
    """The current time as a `metav1.Time`, for instance `2026-01-02T03:04:05Z`."""
    return format_time(datetime.now(UTC))


def now_micro() -> str:
    """The current time as a `metav1.MicroTime`, for instance `2026-01-02T03:04:05.123456Z`."""
    return format_micro_time(datetime.now(UTC))


def format_time(moment: datetime) -> str:
    """The year has four digits, unlike `strftime`'s. Raises ValueError for what UTC cannot hold."""
    return _utc(moment).isoformat(timespec="seconds") + "Z"


def format_micro_time(moment: datetime) -> str:
    """Raises ValueError for what UTC cannot hold."""
    return _utc(moment).isoformat(timespec="microseconds") + "Z"


def is_zero(moment: datetime) -> bool:
    """Whether this is Go's zero time, which upstream's JSON shows as null."""
    return moment == _GO_ZERO


def from_epoch(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def parse(text: str) -> datetime:
    """Read either form, with any offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("the time is not between the years 1 and 9999") from None


def epoch(text: str) -> float:
    """Seconds since 1970 of a `Time` or `MicroTime`. Raises ValueError."""
    return parse(text).timestamp()
