"""Values that are a number or a percentage of one (`maxSurge: 25%`), and target ports that are a number or a name."""

import re

IntOrString = int | str

_percent = re.compile(r"[0-9]+%", re.ASCII).fullmatch


def is_percent(value: IntOrString) -> bool:
    return isinstance(value, str) and _percent(value) is not None


def scaled(value: IntOrString, total: int, *, round_up: bool) -> int:
    """The number itself, or that percentage of `total`. Raises ValueError for any other string."""
    if isinstance(value, int):
        return value
    if not is_percent(value):
        raise ValueError(f"invalid value for IntOrString: invalid type: string is not a percentage: {value!r}")
    product = int(value[:-1]) * total
    return -(-product // 100) if round_up else product // 100
