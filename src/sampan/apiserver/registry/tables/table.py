"""What a table is, and the cells that many kinds share: names, ages, selectors, the first few of a list."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.apiserver.strategy import Column
from sampan.machinery import times
from sampan.machinery.objects import Object

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"
_SHOWN = 3

Cells = list[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a kind, and the cells of one object at a time given in seconds since 1970."""

    columns: tuple[Column, ...]
    cells: Callable[[Object, float], Cells]


def columns(names: Iterable[str], wide: Iterable[str] = ()) -> tuple[Column, ...]:
    """Column definitions; `#` in front marks an integer, and `wide` ones need `-o wide`."""
    return tuple(_column(name, 0) for name in names) + tuple(_column(name, 1) for name in wide)


def _column(name: str, priority: int) -> Column:
    kind = "integer" if name.startswith("#") else "string"
    return Column(name.lstrip("#"), kind, "name" if name == "Name" else "", priority)


# --- cells


def name(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def age(obj: Object, now: float) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def since(moment: str | None, now: float) -> str:
    """How long ago, in the two most significant units."""
    return human_duration(now - times.epoch(moment)) if moment else UNKNOWN


def human_duration(seconds: float) -> str:
    """A length of time for people: precise while short, then ever coarser (upstream's `duration.HumanDuration`)."""
    total = int(seconds)
    if total < 0:
        return "<invalid>" if total < -1 else "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def labels(selected: Mapping[str, str] | None) -> str:
    """`app=web,tier=front`, sorted by key."""
    return ",".join(f"{key}={value}" for key, value in sorted(selected.items())) if selected else NONE


def label_selector(selector: Object | None) -> str:
    """A selector with expressions, as `kubectl -l` would take it."""
    if selector is None:
        return NONE
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    terms += map(_expression, selector.get("matchExpressions") or ())
    return ",".join(sorted(terms)) or NONE


def containers(pod_spec: Object) -> Cells:
    """The two cells of container names and images."""
    held = pod_spec.get("containers") or ()
    return [",".join(one.get("name", "") for one in held), ",".join(one.get("image", "") for one in held)]


def first_few(items: Sequence[str], empty: str = NONE) -> str:
    """At most three items, and how many more there are."""
    if not items:
        return empty
    shown = ",".join(items[:_SHOWN])
    more = len(items) - _SHOWN
    return f"{shown} + {more} more..." if more > 0 else shown


def or_none(value: Any) -> Any:
    return NONE if value in (None, "") else value


def boolean(value: bool | None, unset: str = UNSET) -> str:
    return unset if value is None else ("true" if value else "false")


def title_boolean(value: bool | None, unset: str = UNSET) -> str:
    return unset if value is None else str(value)


def condition(obj: Object, kind: str) -> Object | None:
    """The status condition of a type."""
    found = ((obj.get("status") or {}).get("conditions")) or ()
    return next((one for one in found if one.get("type") == kind), None)


def is_true(obj: Object, kind: str) -> bool:
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def _expression(expression: Object) -> str:
    key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
    match expression.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "Exists":
            return str(key)
    return f"!{key}"
